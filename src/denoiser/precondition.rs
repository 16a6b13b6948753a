//! EDM preconditioning: a raw network becomes a denoiser with unit-variance input, output and target.

use super::{Condition, Denoiser};
use crate::Images;
use crate::network::{Dropout, Inputs, Network};
use burn::tensor::{DType, Tensor, TensorData};

/// A network as a denoiser. Everything outside the network is in the images' type (f32): only the network itself
/// runs in `compute`. [EDM Tab. 1]
#[derive(Clone, Debug)]
pub struct Preconditioned {
    /// The raw network F.
    pub network: Network,
    /// Standard deviation of the training images, 0.5 in all published models.
    pub sigma_data: f64,
    /// Type of the activations inside the network.
    pub compute: DType,
}

/// The four coefficients at one noise level.
struct Coefficients {
    skip: f64,
    out: f64,
    input: f64,
    noise: f64,
}

impl Preconditioned {
    /// A denoiser that computes in f32.
    pub fn new(network: Network, sigma_data: f64) -> Self {
        Self {
            network,
            sigma_data,
            compute: DType::F32,
        }
    }

    /// c_skip, c_out, c_in and c_noise. [EDM Eq. 7]
    fn coefficients(&self, sigma: f64) -> Coefficients {
        let data = self.sigma_data;
        let total = sigma * sigma + data * data;
        Coefficients {
            skip: data * data / total,
            out: sigma * data / total.sqrt(),
            input: 1.0 / total.sqrt(),
            noise: sigma.ln() / 4.0,
        }
    }

    /// D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), with a noise level per image (one entry serves all).
    /// [EDM Eq. 7]
    ///
    /// # Shapes
    /// `noisy` and the result `[batch, channels, height, width]`; `sigmas` 1 or `batch` entries, all positive.
    pub fn denoise_each(
        &self,
        noisy: Images,
        sigmas: &[f64],
        condition: &Condition,
        dropout: Option<&Dropout>,
    ) -> Images {
        let all: Vec<_> = sigmas.iter().map(|s| self.coefficients(*s)).collect();
        let noise: Vec<f64> = all.iter().map(|c| c.noise).collect();
        let inputs = Inputs {
            noise: &noise,
            labels: condition.labels.as_ref(),
            augment: condition.augment.as_ref(),
            steps: condition.steps,
            dropout,
        };
        let dtype = noisy.dtype();
        let run = |scaled: Images| {
            let raw = self.network.forward(scaled.cast(self.compute), inputs);
            raw.cast(dtype)
        };
        if let [only] = all.as_slice() {
            let raw = run(noisy.clone().mul_scalar(only.input));
            return noisy.mul_scalar(only.skip) + raw.mul_scalar(only.out);
        }
        let device = noisy.device();
        let column = |pick: fn(&Coefficients) -> f64| {
            let values: Vec<f32> = all.iter().map(|c| pick(c) as f32).collect();
            let rows = values.len();
            let data = TensorData::new(values, [rows, 1, 1, 1]);
            Tensor::<4>::from_data(data, (&device, dtype))
        };
        let raw = run(noisy.clone() * column(|c| c.input));
        noisy * column(|c| c.skip) + raw * column(|c| c.out)
    }
}

impl Denoiser for Preconditioned {
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images {
        self.denoise_each(noisy, &[sigma], condition, None)
    }
}
