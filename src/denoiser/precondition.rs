//! Preconditioning: a raw network becomes a denoiser.

use super::{Condition, Denoiser};
use crate::Images;
use crate::grid::LogAlphaTable;
use crate::network::{Dropout, Inputs, Network};
use burn::tensor::{DType, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// How a network's output relates to the clean images. In a card, `"sigma-data": 0.5` or
/// `"noise-table": { "beta-start": 0.00085, "beta-end": 0.012 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Preconditioning {
    /// EDM's, for input, output and target of unit variance; the standard deviation of the training images, 0.5 in all
    /// published models. [EDM Eq. 7]
    #[serde(rename = "sigma-data")]
    Edm(f64),
    /// That of discrete-time models, whose network predicts the noise: its input is scaled to the variance that it was
    /// trained with, and told the position in this table of noise levels, fractions allowed. [LDM Sec. 3.2]
    #[serde(rename = "noise-table")]
    Discrete(LogAlphaTable),
}

impl From<f64> for Preconditioning {
    fn from(sigma_data: f64) -> Self {
        Self::Edm(sigma_data)
    }
}

impl From<LogAlphaTable> for Preconditioning {
    fn from(table: LogAlphaTable) -> Self {
        Self::Discrete(table)
    }
}

/// The four coefficients at one noise level.
struct Coefficients {
    skip: f64,
    out: f64,
    input: f64,
    noise: f64,
}

impl Preconditioning {
    /// c_skip, c_out, c_in and c_noise. [EDM Eq. 7]
    fn coefficients(&self, sigma: f64) -> Coefficients {
        match self {
            Self::Edm(data) => {
                let total = sigma * sigma + data * data;
                Coefficients {
                    skip: data * data / total,
                    out: sigma * data / total.sqrt(),
                    input: 1.0 / total.sqrt(),
                    noise: sigma.ln() / 4.0,
                }
            }
            Self::Discrete(table) => Coefficients {
                skip: 1.0,
                out: -sigma,
                input: 1.0 / (sigma * sigma + 1.0).sqrt(),
                noise: table.position_of_sigma(sigma),
            },
        }
    }

    /// The weight of a noise level in training, 1 / c_out^2: (sigma^2 + sigma_data^2) / (sigma sigma_data)^2, or
    /// 1 / sigma^2. [EDM Tab. 1]
    pub fn loss_weight(&self, sigma: f64) -> f64 {
        match self {
            Self::Edm(data) => (sigma * sigma + data * data) / (sigma * data).powi(2),
            Self::Discrete(_) => 1.0 / (sigma * sigma),
        }
    }
}

/// A network as a denoiser. Everything outside the network is in the images' type (f32): only the network itself
/// runs in `compute`. [EDM Tab. 1]
#[derive(Clone, Debug)]
pub struct Preconditioned {
    /// The raw network F.
    pub network: Network,
    /// How its output relates to the clean images.
    pub preconditioning: Preconditioning,
    /// Type of the activations inside the network.
    pub compute: DType,
}

impl Preconditioned {
    /// A denoiser that computes in f32. A number stands for EDM's preconditioning with this sigma_data.
    pub fn new(network: Network, preconditioning: impl Into<Preconditioning>) -> Self {
        Self {
            network,
            preconditioning: preconditioning.into(),
            compute: DType::F32,
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
        let all = sigmas.iter().map(|s| self.preconditioning.coefficients(*s));
        let all: Vec<_> = all.collect();
        let noise: Vec<f64> = all.iter().map(|c| c.noise).collect();
        let inputs = Inputs {
            noise: &noise,
            labels: condition.labels.as_ref(),
            augment: condition.augment.as_ref(),
            context: condition.context.as_ref(),
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
