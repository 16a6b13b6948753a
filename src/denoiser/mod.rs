//! The contract between samplers and models: noisy images in, denoised images out.

mod counted;
mod gaussian;
mod guidance;
mod mixture;
mod precondition;
pub mod threshold;

pub use counted::Counted;
pub use gaussian::Gaussian;
pub use guidance::Guided;
pub use mixture::Mixture;
pub use precondition::Preconditioned;
pub use threshold::Thresholded;

use crate::Images;
use burn::tensor::{Device, Tensor, TensorData};

/// What the model is told besides image and noise level.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// One-hot class labels `[batch, classes]`; `None` is the unconditional input (zeros).
    pub labels: Option<Tensor<2>>,
    /// Augmentation labels `[batch, 9]`; `None` leaves the branch out.
    pub augment: Option<Tensor<2>>,
    /// The step condition: the number of *timestamps* N (steps + 1), as in the official weights. `None` leaves
    /// the step branch out. [SFD Sec. 3.3]
    pub steps: Option<usize>,
}

impl Condition {
    /// The condition of some of the samples.
    pub fn samples(&self, samples: &std::ops::Range<usize>) -> Self {
        let rows = |t: &Tensor<2>| {
            let columns = t.dims()[1];
            t.clone().slice([samples.clone(), 0..columns])
        };
        Self {
            labels: self.labels.as_ref().map(rows),
            augment: self.augment.as_ref().map(rows),
            steps: self.steps,
        }
    }
}

/// Class numbers as rows of `[labels, classes]` with a single one.
///
/// # Panics
/// If a label is not below `classes`.
pub fn one_hot(labels: &[usize], classes: usize, device: &Device) -> Tensor<2> {
    let mut rows = vec![0f32; labels.len() * classes];
    for (row, label) in labels.iter().enumerate() {
        assert!(*label < classes, "label {label} of {classes} classes");
        rows[row * classes + label] = 1.0;
    }
    Tensor::from_data(TensorData::new(rows, [labels.len(), classes]), device)
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
