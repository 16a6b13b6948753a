//! Dynamic thresholding.

use super::{Condition, Denoiser};
use crate::Images;
use burn::tensor::Tensor;

/// The quantile that the official code uses.
pub const QUANTILE: f64 = 0.995;

/// Bounds each sample by s, the larger of 1 and the `quantile` of its absolute values, then divides it by s, so that
/// pixels pushed out of -1..1 come back without all saturating. [Imagen Sec. 2.3]
///
/// The quantile is interpolated linearly between the two nearest values. `quantile` is from 0 to 1. Right for pixels
/// only: latents have no fixed range.
///
/// # Shapes
/// `denoised` and the result: `[batch, channels, height, width]`.
pub fn dynamic_threshold(denoised: Images, quantile: f64) -> Images {
    let [batch, channels, height, width] = denoised.dims();
    let count = channels * height * width;
    let rank = quantile.clamp(0.0, 1.0) * (count - 1) as f64;
    let below = rank.floor() as usize;
    let above = rank.ceil() as usize;
    let sorted: Tensor<2> = denoised.clone().abs().reshape([batch, count]).sort(1);
    let low = sorted.clone().narrow(1, below, 1);
    let high = sorted.narrow(1, above, 1);
    let bound = low.clone() + (high - low).mul_scalar(rank - below as f64);
    let bound = bound.clamp_min(1.0).reshape([batch, 1, 1, 1]);
    (denoised / bound).clamp(-1.0, 1.0)
}

/// A denoiser whose every answer passes through [`dynamic_threshold`].
#[derive(Clone, Debug)]
pub struct Thresholded<D> {
    /// The denoiser.
    pub denoiser: D,
    /// From 0 to 1, usually [`QUANTILE`].
    pub quantile: f64,
}

impl<D: Denoiser> Thresholded<D> {
    /// Wraps a denoiser, with the usual [`QUANTILE`].
    pub fn new(denoiser: D) -> Self {
        Self {
            denoiser,
            quantile: QUANTILE,
        }
    }
}

impl<D: Denoiser> Denoiser for Thresholded<D> {
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images {
        dynamic_threshold(
            self.denoiser.denoise(noisy, sigma, condition),
            self.quantile,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// Doubles what it is given.
    struct Double;

    impl Denoiser for Double {
        fn denoise(&self, noisy: Images, _sigma: f64, _condition: &Condition) -> Images {
            noisy.mul_scalar(2.0)
        }
    }

    fn values(images: Images) -> Vec<f32> {
        images.to_data().try_to_vec().unwrap()
    }

    #[test]
    fn each_sample_has_its_own_bound() {
        // Doubled: 0, 1, 2, -4, 8 and 0.2, ..., 1. At 0.6 the rank is 2.4: between 2 and 4, and below 1.
        let noisy = Tensor::<1>::from_floats(
            [0.0, 0.5, 1.0, -2.0, 4.0, 0.1, 0.2, -0.3, 0.4, 0.5],
            &Device::flex(),
        )
        .reshape([2, 1, 1, 5]);
        let wrapped = Thresholded {
            denoiser: Double,
            quantile: 0.6,
        };
        let got = values(wrapped.denoise(noisy, 1.0, &Condition::default()));
        let bound = 2.0 + 0.4 * 2.0;
        let want = [
            0.0,
            1.0 / bound,
            2.0 / bound,
            -1.0,
            1.0,
            0.2,
            0.4,
            -0.6,
            0.8,
            1.0,
        ];
        assert!(
            got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6),
            "{got:?}"
        );
    }

    #[test]
    fn images_in_range_are_untouched() {
        let fine = Tensor::<1>::from_floats([-1.0, 0.3, 0.9, 1.0], &Device::flex());
        let fine: Images = fine.reshape([1, 1, 2, 2]);
        let got = dynamic_threshold(fine.clone(), QUANTILE);
        assert_eq!(values(got), values(fine));
        // One pixel alone is its own quantile.
        let pixel = Tensor::<4>::full([1, 1, 1, 1], -7.0, &Device::flex());
        assert_eq!(values(dynamic_threshold(pixel, QUANTILE)), [-1.0]);
    }
}
