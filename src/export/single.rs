//! One file with everything, under the official names: for ComfyUI, AUTOMATIC1111, stable-diffusion.cpp and all that read such files.

use super::safetensors::{self, Entry, From, Texts};
use super::{Export, Layout};
use crate::Error;
use crate::autoencoder::{SCALE_SD, SCALE_XL};
use crate::container::{Checkpoint, Scalar};
use crate::denoiser::Predicted;
use crate::file::CARD;
use crate::import::part::Family;
use crate::import::{AutoencoderFile, TextEncoderFile};
use crate::model::Card;
use crate::network::{LatentAttention, NetworkConfig};
use std::path::Path;
use std::rc::Rc;

/// A model and its parts, to be written into one file.
#[derive(Debug)]
pub struct SingleFile<'a> {
    /// The U-Net, without a step branch.
    pub checkpoint: &'a Checkpoint,
    /// Its card.
    pub card: &'a Card,
    /// The autoencoder.
    pub autoencoder: AutoencoderFile,
    /// The text encoder, or both of Stable Diffusion XL.
    pub text: TextEncoderFile,
    /// f32, f16 or bf16.
    pub scalar: Scalar,
}

/// Pixels of a latent's side.
const FACTOR: usize = 8;

impl SingleFile<'_> {
    /// Writes the file, atomically. It is our file as well, since the card is in the header.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for a network that is not Stable Diffusion's, has a step branch, or is of another kind than the text
    /// encoders, [`Error::InvalidValue`] for numbers that the type does not hold, [`Error::Malformed`] or [`Error::File`].
    pub fn write(self, path: &Path) -> Result<(), Error> {
        let family = self.family()?;
        let export = Export {
            // Without the constants of official networks, of which this one has none.
            layout: Layout::Model,
            scalar: Some(self.scalar),
        };
        let mut entries = export.network(self.checkpoint, self.card)?;
        let usual = match family {
            Family::Xl => SCALE_XL,
            _ => SCALE_SD,
        };
        let scale = self.autoencoder.config().scale;
        if (scale / usual - 1.0).abs() > 1e-6 {
            entries.push(one("scale_factor", scale as f32));
        }
        let preconditioning = &self.card.answer.preconditioning;
        let velocity = preconditioning.predicted() == Predicted::Velocity;
        if velocity {
            // What programs look for, since nothing else in a file tells.
            entries.push(one("v_pred", 0.0));
        }
        if preconditioning
            .table()
            .is_some_and(|table| table.has_zero_terminal_snr())
        {
            entries.push(one("ztsnr", 0.0));
        }
        let texts = self.texts(family, velocity)?;
        let scalar = self.scalar;
        let keys = self.autoencoder.config().keys()?;
        let autoencoder = Rc::new(self.autoencoder);
        entries.extend(keys.into_iter().map(|(name, shape)| {
            let from = Rc::clone(&autoencoder);
            Entry {
                name: format!("first_stage_model.{name}"),
                shape,
                scalar,
                from: From::Made(Box::new(move || from.values(&name))),
            }
        }));
        let text = Rc::new(self.text);
        entries.extend(text.official(family).into_iter().map(|tensor| {
            let from = Rc::clone(&text);
            Entry {
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
                scalar,
                from: From::Made(Box::new(move || from.values(&tensor))),
            }
        }));
        safetensors::write(self.checkpoint, entries, &texts, path)
    }

    /// Of which kind it is.
    fn family(&self) -> Result<Family, Error> {
        let network = &self.card.network;
        super::diffusers_settings(network)?;
        let linear = matches!(
            network,
            NetworkConfig::LatentUnet(config)
                if matches!(config.attention, LatentAttention::Text { linear: true, .. })
        );
        let family = match (network.added().is_some(), linear) {
            (true, _) => Family::Xl,
            (false, true) => Family::Second,
            (false, false) => Family::First,
        };
        let count = if family == Family::Xl { 2 } else { 1 };
        let (found, width) = (self.text.count(), self.text.width());
        if found != count || Some(width) != network.context_width() {
            return Err(Error::Incompatible {
                first: format!("{found} text encoders whose tokens are {width} wide"),
                second: format!(
                    "a U-Net of {count} with tokens of {:?}",
                    network.context_width()
                ),
                remedy: "name the base of the student with --base".into(),
            });
        }
        Ok(family)
    }

    /// What the header says.
    fn texts(&self, family: Family, velocity: bool) -> Result<Texts, Error> {
        let side = self.card.network.image_shape()[1] * FACTOR;
        let architecture = match (family, velocity) {
            (Family::First, _) => "stable-diffusion-v1",
            (Family::Second, true) => "stable-diffusion-v2-768-v",
            (Family::Second, false) => "stable-diffusion-v2-512",
            (Family::Xl, _) => "stable-diffusion-xl-v1-base",
        };
        let mut texts = Texts::from([safetensors::pytorch()]);
        let mut put = |key: &str, text: String| texts.insert(key.to_string(), text);
        put(CARD, self.card.json()?);
        put("modelspec.sai_model_spec", "1.0.0".into());
        put("modelspec.architecture", architecture.into());
        put(
            "modelspec.prediction_type",
            if velocity { "v" } else { "epsilon" }.into(),
        );
        put("modelspec.resolution", format!("{side}x{side}"));
        put("modelspec.usage_hint", usage(self.card)?);
        let levels = self.card.sampling.grid()?;
        let levels: Vec<String> = levels.levels().iter().map(ToString::to_string).collect();
        put("fewstep.sigmas", levels.join(", "));
        Ok(texts)
    }
}

/// A number as a tensor.
fn one(name: &str, value: f32) -> Entry {
    Entry {
        name: name.to_string(),
        shape: vec![1],
        scalar: Scalar::F32,
        from: From::Values(vec![value]),
    }
}

/// How a model is sampled by other programs, in a line.
///
/// # Errors
/// [`Error::InvalidValue`] for levels that cannot be.
pub fn usage(card: &Card) -> Result<String, Error> {
    let sampling = &card.sampling;
    let levels = sampling.grid()?;
    let list: Vec<String> = levels.levels().iter().map(ToString::to_string).collect();
    let free = match sampling.analytic_first_step {
        true => ", the first of which calls no network",
        false => "",
    };
    let guidance = match sampling.guidance {
        1.0 => "1 (none)".to_string(),
        weight => weight.to_string(),
    };
    Ok(format!(
        "{}, {} steps{free}, sigmas {}, guidance (CFG) {guidance}",
        sampling.solver,
        sampling.steps,
        list.join(", ")
    ))
}
