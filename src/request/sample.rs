//! The shortest way from a model and seeds to images.

use super::fault;
use super::plan::Plan;
use super::setting::Request;
use crate::autoencoder::{Autoencoder, Tiling};
use crate::model::Model;
use crate::{Error, Images};
use burn::tensor::Tensor;

impl Request<'_> {
    /// Pictures of latents that [`Model::latents`] made of some seeds, with this request's autoencoder: the model is not needed
    /// any more.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] without an autoencoder, [`Error::NotFinite`] for pixels that are NaN or infinite.
    pub fn decode(&self, seeds: &[u64], latents: Images) -> Result<Images, Error> {
        let autoencoder = self
            .autoencoder
            .ok_or_else(|| Error::invalid("autoencoder", "none", "one that takes these latents"))?;
        pictures(autoencoder, seeds, latents)
    }
}

/// Finite pictures of the latents of some seeds.
fn pictures(autoencoder: &Autoencoder, seeds: &[u64], latents: Images) -> Result<Images, Error> {
    let images = autoencoder.decode_tiled(latents, &Tiling::default())?;
    if fault::sound(&images) {
        return Ok(images);
    }
    let place = |_| Ok("in what the autoencoder makes of finite latents".into());
    let remedy = "its weights are broken: take another";
    Err(fault::error(seeds, &images, place, remedy))
}

impl Model {
    /// The pictures of some seeds, `[seeds, channels, height, width]` in about [-1, 1];
    /// [`Picture::all`](crate::image::Picture::all) makes bytes of them. All of them are in memory.
    ///
    /// # Errors
    /// As [`latents`](Self::latents), and [`Error::Incompatible`] for a model of latents without its autoencoder, with that
    /// of another, or for a model of pixels with one.
    pub fn sample(&self, seeds: &[u64], request: &Request<'_>) -> Result<Images, Error> {
        let Some(autoencoder) = self.decoder(request)? else {
            return self.latents(seeds, request);
        };
        let plan = Plan::new(self, seeds, request)?;
        let decode = |seeds: &[u64], latents| pictures(autoencoder, seeds, latents);
        let pictures = plan.batches(seeds, decode)?;
        Ok(Tensor::cat(pictures, 0))
    }

    /// What the network makes of some seeds, `[seeds, channels, height, width]`: pictures, or the latents that an
    /// autoencoder turns into pictures.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for no seeds, settings out of range, a class that the model does not have or a shape that the
    /// network does not take; [`Error::Incompatible`] for a model of texts that is given none, one that takes none and is
    /// given some, texts of another text encoder, or a guidance with nothing to follow or to move away from;
    /// [`Error::NotFinite`] for numbers that are NaN or infinite, with the step; and what reading the texts gives.
    pub fn latents(&self, seeds: &[u64], request: &Request<'_>) -> Result<Images, Error> {
        let plan = Plan::new(self, seeds, request)?;
        let images = plan.batches(seeds, |_, images| Ok(images))?;
        Ok(Tensor::cat(images, 0))
    }

    /// The class of each seed's image; `None` for a model without classes.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a class that the model does not have.
    pub fn classes_of(
        &self,
        seeds: &[u64],
        request: &Request<'_>,
    ) -> Result<Option<Vec<usize>>, Error> {
        let classes = self.card.network.classes();
        let shape = request.shape.unwrap_or(self.card.network.image_shape());
        match (request.class, classes) {
            (None, 0) => Ok(None),
            (Some(class), 0) => {
                let expected = "left out: the model knows no classes";
                Err(Error::invalid("class", class, expected))
            }
            (Some(class), _) if class >= classes => {
                let expected = format!("0 to {}, as the model's", classes - 1);
                Err(Error::invalid("class", class, expected))
            }
            (Some(class), _) => Ok(Some(vec![class; seeds.len()])),
            (None, _) => request.noise.labels(seeds, shape, classes).map(Some),
        }
    }

    /// What turns the network's answers into pictures, where they are none yet.
    fn decoder<'a>(&self, request: &Request<'a>) -> Result<Option<&'a Autoencoder>, Error> {
        let refuse = |first: String, second: &str, remedy: &str| {
            Err(Error::Incompatible {
                first,
                second: second.into(),
                remedy: remedy.into(),
            })
        };
        match (request.autoencoder, self.card.is_latent()) {
            (None, false) => Ok(None),
            (None, true) => refuse(
                "a model of latents".into(),
                "a request for pictures without an autoencoder",
                "give it one (`import::Parts` finds it), or take `Model::latents`",
            ),
            (Some(_), false) => refuse(
                "an autoencoder".into(),
                "a model that makes pictures itself",
                "leave it out",
            ),
            (Some(autoencoder), true) => {
                let (makes, takes) = (
                    self.card.network.image_shape()[0],
                    autoencoder.config().latent_channels,
                );
                let scale = autoencoder.config().scale;
                let said = self.card.answer.latent.unwrap_or_default();
                let [other, shift] = [said.scale.unwrap_or(scale), said.shift.unwrap_or(0.0)];
                match makes == takes {
                    true if (other / scale - 1.0).abs() > 1e-6 || shift != 0.0 => refuse(
                        format!(
                            "a model of latents that were scaled by {other} and shifted by {shift}"
                        ),
                        &format!("an autoencoder that scales by {scale} and shifts by 0"),
                        "take the model's own",
                    ),
                    true => Ok(Some(autoencoder)),
                    false => refuse(
                        format!("a model of latents of {makes} channels"),
                        &format!("an autoencoder of {takes}"),
                        "take the model's own",
                    ),
                }
            }
        }
    }
}
