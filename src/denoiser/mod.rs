//! The contract between samplers and models: noisy images in, denoised images out.

mod context;
mod counted;
mod gaussian;
mod guidance;
mod mixture;
mod precondition;
pub mod threshold;

pub use context::{ContextSource, Contexts};
pub use counted::Counted;
pub use gaussian::Gaussian;
pub use guidance::Guided;
pub use mixture::Mixture;
pub(crate) use precondition::Call;
pub use precondition::{Preconditioned, Preconditioning};
pub use threshold::Thresholded;

use crate::{Error, Images, noise};
use burn::tensor::{Device, Tensor, TensorData};
use std::ops::Range;

/// What the model is told besides image and noise level.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// One-hot class labels `[batch, classes]`; `None` is the unconditional input (zeros).
    pub labels: Option<Tensor<2>>,
    /// Augmentation labels `[batch, 9]`; `None` leaves the branch out.
    pub augment: Option<Tensor<2>>,
    /// The tokens of each image's text, `[batch or 1, tokens, width]`; `None` where the model takes none.
    pub context: Option<Tensor<3>>,
    /// The tokens of the text that guidance moves away from, of the same size; `None` for no guidance by text.
    pub negative: Option<Tensor<3>>,
    /// The step condition: the number of *timestamps* N (steps + 1), as in the official weights. `None` leaves
    /// the step branch out. [SFD Sec. 3.3]
    pub steps: Option<usize>,
}

impl Condition {
    /// The condition of some of the samples.
    pub fn samples(&self, samples: &Range<usize>) -> Self {
        let rows = |t: &Tensor<2>| {
            let columns = t.dims()[1];
            t.clone().slice([samples.clone(), 0..columns])
        };
        let texts = |t: &Tensor<3>| match t.dims() {
            [1, _, _] => t.clone(),
            [_, tokens, width] => t.clone().slice([samples.clone(), 0..tokens, 0..width]),
        };
        Self {
            labels: self.labels.as_ref().map(rows),
            augment: self.augment.as_ref().map(rows),
            context: self.context.as_ref().map(texts),
            negative: self.negative.as_ref().map(texts),
            steps: self.steps,
        }
    }
}

/// What samples of a round of a run start from: standard normal noise `[samples, channels, height, width]`, and random
/// classes unless there are none. Each sample's are a function of the seed, the round and its own number alone.
pub(crate) fn draw_round(
    seed: u64,
    round: u64,
    samples: Range<u64>,
    shape: [usize; 3],
    classes: usize,
    device: &Device,
) -> Result<(Images, Condition), Error> {
    let labels = (classes > 0).then(|| {
        let drawn = noise::labels_keyed(seed, round, samples.clone(), classes)?;
        one_hot(&drawn, classes, device)
    });
    let condition = Condition {
        labels: labels.transpose()?,
        ..Condition::default()
    };
    let noise = noise::latents_keyed(seed, round, samples, shape, device);
    Ok((noise, condition))
}

/// Class numbers as rows of `[labels, classes]` with a single one.
///
/// # Errors
/// [`Error::InvalidValue`] if a label is not below `classes`, or there are no classes: a model without them is told none.
pub fn one_hot(labels: &[usize], classes: usize, device: &Device) -> Result<Tensor<2>, Error> {
    if classes == 0 {
        let expected =
            "at least 1; a model without classes is told none (`Condition::labels` is `None`)";
        return Err(Error::invalid("classes", classes, expected));
    }
    let mut rows = vec![0f32; labels.len() * classes];
    for (row, label) in labels.iter().enumerate() {
        if *label >= classes {
            let expected = format!("below {classes}, the number of classes");
            return Err(Error::invalid("label", label, expected));
        }
        rows[row * classes + label] = 1.0;
    }
    let data = TensorData::new(rows, [labels.len(), classes]);
    Ok(Tensor::from_data(data, device))
}

/// A denoiser D(x; sigma): the expected clean images, given noisy ones. [EDM Eq. 2]
pub trait Denoiser {
    /// Denoises a batch at one noise level.
    ///
    /// # Shapes
    /// `noisy` and the result: `[batch, channels, height, width]`, the noise *added* with standard deviation
    /// `sigma` (variance exploding form).
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images;
}

impl<D: Denoiser + ?Sized> Denoiser for &D {
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images {
        (**self).denoise(noisy, sigma, condition)
    }
}

impl<D: Denoiser + ?Sized> Denoiser for Box<D> {
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images {
        (**self).denoise(noisy, sigma, condition)
    }
}
