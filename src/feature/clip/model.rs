//! Both halves with their projections.

use super::config::ClipConfig;
use super::picture::Preparation;
use super::vision::VisionEncoder;
use crate::layer::Linear;
use crate::parameter::{Draw, Keys, Named, Site, build, replace, shapes};
use crate::text::TextEncoder;
use crate::{Error, Images};
use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Added to the length that embeddings are divided by.
const SHORTEST: f64 = 1e-12;

/// A CLIP model.
#[derive(Clone, Debug)]
pub struct Clip {
    towers: Towers,
    config: ClipConfig,
    even_centre: bool,
    device: Device,
}

/// The weights, under the names of transformers.
#[derive(Module, Debug)]
struct Towers {
    text: TextEncoder,
    text_projection: Linear,
    vision: VisionEncoder,
    visual_projection: Linear,
    #[module(skip)]
    keys: Keys,
}

impl Named for Towers {
    fn keys(&self) -> &Keys {
        &self.keys
    }
}

/// What gives the values of a parameter by its name and dimensions, if there are any.
type Weight<'a> = &'a mut dyn FnMut(&str, &[usize]) -> Option<Vec<f32>>;

impl Clip {
    /// With weights that `weight` gives by the names of transformers.
    pub(super) fn new(
        config: ClipConfig,
        even_centre: bool,
        device: &Device,
        weight: Weight<'_>,
    ) -> Result<Self, Error> {
        let device = device.clone().inner();
        let towers = Towers::blank(&config, &device)?;
        let towers = replace(towers, &mut |_, name, dims| {
            let values = weight(name, dims)?;
            Some(Tensor::from_data(values.as_slice(), &device))
        });
        Ok(Self {
            towers,
            config,
            even_centre,
            device,
        })
    }

    /// Name and dimensions of every parameter, as transformers has them.
    pub(super) fn keys(config: &ClipConfig) -> Result<Vec<(String, Vec<usize>)>, Error> {
        Ok(shapes(&Towers::blank(config, &Device::flex())?))
    }

    /// Its sizes.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// How it wants its pictures made ready.
    pub fn preparation(&self) -> Preparation {
        Preparation {
            size: self.config.vision.size,
            even_centre: self.even_centre,
        }
    }

    /// Embeddings of prepared pictures, `[batch, 3, size, size]` to `[batch, embedding]`, each of length 1.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for pictures of another size.
    pub fn see(&self, pictures: Images) -> Result<Tensor<2>, Error> {
        let (size, dims) = (self.config.vision.size, pictures.dims());
        if dims[1..] != [3, size, size] {
            return Err(Error::Incompatible {
                first: format!("pictures of {:?}", &dims[1..]),
                second: format!("a CLIP model for 3 x {size} x {size}"),
                remedy: "prepare them as the model says".into(),
            });
        }
        let class = self.towers.vision.forward(pictures.to_device(&self.device));
        Ok(unit(self.towers.visual_projection.forward(class)))
    }

    /// Embeddings of texts of equally many ids, `[batch, embedding]`, each of length 1. A text ends at the first of its
    /// largest ids.
    ///
    /// # Errors
    /// As [`TextEncoder::embed`].
    pub fn read_texts(&self, rows: &[&[u32]]) -> Result<Tensor<2>, Error> {
        let hidden = self.towers.text.embed(rows)?;
        let [batch, tokens, width] = hidden.dims();
        let end = |row: &&[u32]| {
            let largest = row.iter().max();
            row.iter().position(|id| Some(id) == largest).unwrap_or(0)
        };
        let ends = rows.iter().enumerate();
        let ends: Vec<i64> = ends
            .map(|(i, row)| (i * tokens + end(row)) as i64)
            .collect();
        let ends = Tensor::<1, Int>::from_data(TensorData::new(ends, [batch]), &self.device);
        let last = hidden.reshape([batch * tokens, width]).select(0, ends);
        Ok(unit(self.towers.text_projection.forward(last)))
    }

    /// Embeddings of pictures of bytes, `[height, width, 3]` each with its height and width, row by row.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for bytes that are no picture.
    pub fn see_bytes(&self, pictures: &[(&[u8], usize, usize)]) -> Result<Vec<f32>, Error> {
        let how = self.preparation();
        let mut values = Vec::new();
        for (pixels, height, width) in pictures {
            if pixels.is_empty() || pixels.len() != 3 * height * width {
                let expected = format!("{height} x {width} pixels of three bytes");
                return Err(Error::invalid("bytes", pixels.len(), expected));
            }
            values.extend(how.apply(pixels, *height, *width));
        }
        let shape = [pictures.len(), 3, how.size, how.size];
        let prepared = Tensor::from_data(TensorData::new(values, shape), &self.device);
        let seen = self.see(prepared)?.into_data_dtype(DType::F32);
        Ok(seen.iter::<f32>().collect())
    }
}

impl Towers {
    fn blank(config: &ClipConfig, device: &Device) -> Result<Self, Error> {
        config.check()?;
        config.text.check()?;
        let (towers, keys) = build("", Draw::Normal, device, |site| Self::at(config, site));
        Ok(Self { keys, ..towers })
    }

    fn at(config: &ClipConfig, site: &Site<'_>) -> Self {
        let projection =
            |width, name| Linear::without_bias(width, config.embedding, &site.at(name));
        let text = TextEncoder::at(&config.text, site);
        Self {
            text: text.with_activation(config.text_activation),
            text_projection: projection(config.text.width, "text_projection"),
            vision: VisionEncoder::new(&config.vision, site),
            visual_projection: projection(config.vision.width, "visual_projection"),
            keys: Keys::default(),
        }
    }
}

/// Rows of length 1.
fn unit(rows: Tensor<2>) -> Tensor<2> {
    let length = rows.clone().square().sum_dim(1).sqrt();
    rows / length.clamp_min(SHORTEST)
}
