//! The exact denoiser of Gaussian data.

use super::{Condition, Denoiser};
use crate::{Error, Images};

/// Data distributed as N(mean, std^2 I): D(x; sigma) = (std^2 x + sigma^2 mean) / (std^2 + sigma^2). Needs no weights,
/// and the ODE has a closed form, so solvers can be tested against the truth.
#[derive(Clone, Debug)]
pub struct Gaussian {
    mean: Images,
    std: f64,
}

impl Gaussian {
    /// `mean` is `[1, channels, height, width]`; its device and float type must be those of the images.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if `std` is negative or not finite, or `mean` is more than one image.
    pub fn new(mean: Images, std: f64) -> Result<Self, Error> {
        if !(std >= 0.0 && std.is_finite()) {
            return Err(Error::invalid("std", std, "at least 0 and finite"));
        }
        if mean.dims()[0] != 1 {
            return Err(Error::invalid("mean", mean.dims()[0], "one image"));
        }
        Ok(Self { mean, std })
    }

    /// Where the ODE takes `images` from noise level `from` to `to`, exactly:
    /// mean + (x - mean) sqrt((std^2 + to^2) / (std^2 + from^2)).
    pub fn flow(&self, images: Images, from: f64, to: f64) -> Images {
        let shrink = self.std.hypot(to) / self.std.hypot(from);
        images.mul_scalar(shrink) + self.mean.clone().mul_scalar(1.0 - shrink)
    }
}

impl Denoiser for Gaussian {
    fn denoise(&self, noisy: Images, sigma: f64, _condition: &Condition) -> Images {
        let (signal, noise) = (self.std * self.std, sigma * sigma);
        let total = signal + noise;
        noisy.mul_scalar(signal / total) + self.mean.clone().mul_scalar(noise / total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solver::conformance::Case;
    use burn::tensor::{Device, Tensor};

    #[test]
    fn the_flow_is_the_golden_one() {
        let Some(case) = Case::open("solver_analytic_gauss") else {
            return;
        };
        let std = case.config()["s"].as_f64().unwrap();
        let mean = case.tensor::<3>("in/mean").unsqueeze();
        let start = case.tensor::<4>("in/latents").mul_scalar(80.0);
        let end = Gaussian::new(mean, std).unwrap().flow(start, 80.0, 0.006);
        let error = crate::solver::conformance::nmax(&end, &case.tensor("out/exact_final"));
        assert!(error < 1e-12, "{error}");
    }

    #[test]
    fn bad_distributions_are_refused() {
        let image = |batch| Tensor::zeros([batch, 1, 2, 2], &Device::flex());
        assert!(Gaussian::new(image(1), -1.0).is_err());
        assert!(Gaussian::new(image(1), f64::NAN).is_err());
        assert!(Gaussian::new(image(2), 1.0).is_err());
        assert!(Gaussian::new(image(1), 0.0).is_ok());
    }
}
