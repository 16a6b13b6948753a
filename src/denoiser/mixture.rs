//! The exact denoiser of a mixture of Gaussians.

use super::{Condition, Denoiser};
use crate::{Error, Images};
use burn::tensor::{Tensor, activation::softmax};

/// Data drawn from K Gaussians N(mean_k, std_k^2 I) with probabilities weight_k: the mean of their denoisers,
/// weighted by how likely each made the noisy image. With one Gaussian of width 0 per picture of a set it is the
/// denoiser that knows the set by heart.
#[derive(Clone, Debug)]
pub struct Mixture {
    log_weights: Vec<f64>,
    means: Images,
    stds: Vec<f64>,
}

impl Mixture {
    /// `means` is `[K, channels, height, width]`; its device and float type must be those of the images. The weights
    /// need not sum to 1.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if there are not K of each, a weight is not positive, or a width is negative.
    pub fn new(weights: &[f64], means: Images, stds: &[f64]) -> Result<Self, Error> {
        let components = means.dims()[0];
        for (name, values) in [("weights", weights), ("stds", stds)] {
            if values.len() != components {
                return Err(Error::invalid(
                    name,
                    format!("{} values", values.len()),
                    format!("one for each of the {components} means"),
                ));
            }
        }
        if let Some(weight) = weights.iter().find(|w| !(**w > 0.0 && w.is_finite())) {
            return Err(Error::invalid("weight", weight, "positive and finite"));
        }
        if let Some(std) = stds.iter().find(|s| !(**s >= 0.0 && s.is_finite())) {
            return Err(Error::invalid("std", std, "at least 0 and finite"));
        }
        Ok(Self {
            log_weights: weights.iter().map(|w| w.ln()).collect(),
            means,
            stds: stds.to_vec(),
        })
    }
}

impl Denoiser for Mixture {
    fn denoise(&self, noisy: Images, sigma: f64, _condition: &Condition) -> Images {
        let [batch, channels, height, width] = noisy.dims();
        let pixels = (channels * height * width) as f64;
        let noise = sigma * sigma;
        let means = || self.means.clone().iter_dim(0);
        let totals: Vec<f64> = self.stds.iter().map(|std| std * std + noise).collect();
        let likelihoods = means()
            .zip(&self.log_weights)
            .zip(&totals)
            .map(|((mean, log_weight), total)| {
                let distance = (noisy.clone() - mean).square().sum_dims(&[1, 2, 3]);
                distance
                    .div_scalar(-2.0 * total)
                    .add_scalar(log_weight - 0.5 * pixels * total.ln())
            })
            .collect();
        let shares: Tensor<4> = softmax(Tensor::cat(likelihoods, 1), 1);
        let mut keep: Tensor<4> = shares.clone().narrow(1, 0, 1).zeros_like();
        let mut pull = noisy.zeros_like();
        for (k, mean) in means().enumerate() {
            let share = shares.clone().narrow(1, k, 1);
            let signal = self.stds[k] * self.stds[k];
            keep = keep + share.clone().mul_scalar(signal / totals[k]);
            pull = pull + share.mul_scalar(noise / totals[k]) * mean;
        }
        debug_assert_eq!(keep.dims(), [batch, 1, 1, 1]);
        noisy * keep + pull
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoiser::Gaussian;
    use burn::tensor::{DType, Device};

    fn images(values: &[f64]) -> Images {
        let options = (&Device::flex(), DType::F64);
        Tensor::<1>::from_data(values, options).reshape([-1, 1, 1, 2])
    }

    fn denoise(denoiser: &dyn Denoiser, noisy: Images, sigma: f64) -> Vec<f64> {
        let denoised = denoiser.denoise(noisy, sigma, &Condition::default());
        denoised.to_data().try_to_vec().unwrap()
    }

    #[test]
    fn one_component_is_a_gaussian() {
        let mean = images(&[0.5, -0.25]);
        let mixture = Mixture::new(&[3.0], mean.clone(), &[0.7]).unwrap();
        let gaussian = Gaussian::new(mean, 0.7).unwrap();
        let noisy = images(&[1.0, 2.0, -3.0, 0.1]);
        let got = denoise(&mixture, noisy.clone(), 1.3);
        let want = denoise(&gaussian, noisy, 1.3);
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-15));
    }

    #[test]
    fn points_are_recalled_at_small_noise_and_averaged_at_large() {
        let means = images(&[1.0, 1.0, -1.0, 0.0]);
        let points = Mixture::new(&[1.0, 3.0], means, &[0.0, 0.0]).unwrap();
        let noisy = images(&[0.9, 1.2]);
        let near = denoise(&points, noisy.clone(), 0.1);
        assert!((near[0] - 1.0).abs() < 1e-12 && (near[1] - 1.0).abs() < 1e-12);
        let far = denoise(&points, noisy, 1e6);
        assert!((far[0] + 0.5).abs() < 1e-9 && (far[1] - 0.25).abs() < 1e-9);
    }

    #[test]
    fn bad_distributions_are_refused() {
        let make = |weights: &[f64], stds: &[f64]| {
            Mixture::new(weights, images(&[0.0, 0.0, 1.0, 1.0]), stds).is_err()
        };
        assert!(!make(&[0.5, 0.5], &[1.0, 0.0]));
        assert!(make(&[0.5], &[1.0, 1.0]));
        assert!(make(&[0.5, 0.5], &[1.0]));
        assert!(make(&[0.5, 0.0], &[1.0, 1.0]));
        assert!(make(&[0.5, 0.5], &[1.0, -1.0]));
    }
}
