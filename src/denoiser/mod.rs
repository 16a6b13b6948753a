//! The contract between samplers and models: noisy images in, denoised images out.

mod counted;
mod gaussian;
mod guidance;
mod mixture;
pub mod threshold;

pub use counted::Counted;
pub use gaussian::Gaussian;
pub use guidance::Guided;
pub use mixture::Mixture;
pub use threshold::Thresholded;

use crate::Images;
use burn::tensor::Tensor;

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
