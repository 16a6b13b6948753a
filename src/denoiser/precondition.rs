//! Preconditioning: a raw network becomes a denoiser.

use super::{Condition, Denoiser};
use crate::grid::LogAlphaTable;
use crate::network::{Dropout, Inputs, Network};
use crate::{Images, transfer};
use burn::tensor::{DType, TensorData};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a network's output relates to the clean images. In a card, `"sigma-data": 0.5` or
/// `"noise-table": { "beta-start": 0.00085, "beta-end": 0.012 }`, to which `"prediction": "v"` belongs if the network predicts the
/// velocity.
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
    /// The same for a network that predicts the velocity v = a n - s x of an image x and its noise n, where a x + s n is what
    /// it is given: Stable Diffusion 2.x. [Salimans & Ho 2022, App. D]
    #[serde(rename = "velocity-table")]
    Velocity(LogAlphaTable),
    /// That of rectified flows, whose network is given (1 - t) x + t n of an image x and its noise n at a time t of 0 to 1, and
    /// predicts n - x: sigma = t / (1 - t), and the network is told 1000 t. [Liu et al. 2023, Eq. 1; Esser et al. 2024, Sec. 2]
    #[serde(rename = "flow")]
    Flow,
}

/// What a network of rectified flows is told of a time of 1.
pub(super) const FLOW_TIME: f64 = 1000.0;

/// What a network was trained to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Predicted {
    /// A mixture of image and noise that has unit variance at every level. [EDM Eq. 7]
    #[default]
    Edm,
    /// The noise, of standard deviation 1.
    #[serde(alias = "noise")]
    Epsilon,
    /// The velocity a n - s x of an image x and its noise n, where a x + s n is what is seen and a^2 + s^2 = 1.
    #[serde(rename = "v")]
    Velocity,
    /// The noise less the image.
    Flow,
}

impl fmt::Display for Predicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edm => "edm",
            Self::Epsilon => "epsilon",
            Self::Velocity => "v",
            Self::Flow => "flow",
        })
    }
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
pub(super) struct Coefficients {
    pub(super) skip: f64,
    pub(super) out: f64,
    pub(super) input: f64,
    pub(super) noise: f64,
}

impl Preconditioning {
    /// What the network was trained to answer.
    pub fn predicted(&self) -> Predicted {
        match self {
            Self::Edm(_) => Predicted::Edm,
            Self::Discrete(_) => Predicted::Epsilon,
            Self::Velocity(_) => Predicted::Velocity,
            Self::Flow => Predicted::Flow,
        }
    }

    /// The noise levels of a discrete-time model; `None` for others.
    pub fn table(&self) -> Option<&LogAlphaTable> {
        match self {
            Self::Edm(_) | Self::Flow => None,
            Self::Discrete(table) | Self::Velocity(table) => Some(table),
        }
    }

    /// c_skip, c_out, c_in and c_noise. [EDM Eq. 7]
    pub(super) fn coefficients(&self, sigma: f64) -> Coefficients {
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
            Self::Velocity(table) => {
                let total = sigma * sigma + 1.0;
                Coefficients {
                    skip: 1.0 / total,
                    out: -sigma / total.sqrt(),
                    input: 1.0 / total.sqrt(),
                    noise: table.position_of_sigma(sigma),
                }
            }
            // x + sigma n is (1 + sigma) times what the network is given.
            Self::Flow => {
                let time = sigma / (1.0 + sigma);
                Coefficients {
                    skip: 1.0 - time,
                    out: -time,
                    input: 1.0 - time,
                    noise: FLOW_TIME * time,
                }
            }
        }
    }

    /// The images that follow from what `answer` makes of what a network is given and told.
    #[cfg(test)]
    pub(crate) fn images(
        &self,
        noisy: Images,
        sigma: f64,
        answer: impl FnOnce(Images, f64) -> Images,
    ) -> Images {
        let c = self.coefficients(sigma);
        let raw = answer(noisy.clone().mul_scalar(c.input), c.noise);
        noisy.mul_scalar(c.skip) + raw.mul_scalar(c.out)
    }

    /// The weight of a noise level in training, 1 / c_out^2: (sigma^2 + sigma_data^2) / (sigma sigma_data)^2; 1 / sigma^2
    /// for the noise, (sigma^2 + 1) / sigma^2 for the velocity and ((sigma + 1) / sigma)^2 for flows. [EDM Tab. 1]
    pub fn loss_weight(&self, sigma: f64) -> f64 {
        match self {
            Self::Edm(data) => (sigma * sigma + data * data) / (sigma * data).powi(2),
            Self::Discrete(_) => 1.0 / (sigma * sigma),
            Self::Velocity(_) => (sigma * sigma + 1.0) / (sigma * sigma),
            Self::Flow => ((sigma + 1.0) / sigma).powi(2),
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
        let call = self.call(sigmas);
        let inputs = call.inputs(condition, dropout);
        let raw = self.network.forward(call.enter(noisy.clone()), inputs);
        call.leave(noisy, raw)
    }

    /// What a call of the network at these levels needs before and after it.
    pub(crate) fn call(&self, sigmas: &[f64]) -> Call {
        let levels = sigmas.iter().map(|s| self.preconditioning.coefficients(*s));
        let levels: Vec<_> = levels.collect();
        Call {
            noise: levels.iter().map(|c| c.noise).collect(),
            levels,
            compute: self.compute,
        }
    }
}

/// A call of the network.
pub(crate) struct Call {
    levels: Vec<Coefficients>,
    noise: Vec<f64>,
    compute: DType,
}

impl Call {
    /// What the network is told.
    pub(crate) fn inputs<'a>(
        &'a self,
        condition: &'a Condition,
        dropout: Option<&'a Dropout>,
    ) -> Inputs<'a> {
        Inputs {
            noise: &self.noise,
            labels: condition.labels.as_ref(),
            augment: condition.augment.as_ref(),
            context: condition.context.as_ref(),
            steps: condition.steps,
            dropout,
        }
    }

    /// What the network is given: c_in x, in the type that it computes in.
    pub(crate) fn enter(&self, noisy: Images) -> Images {
        let scaled = match self.levels.as_slice() {
            [only] => noisy.mul_scalar(only.input),
            _ => noisy.clone() * self.column(&noisy, |c| c.input),
        };
        scaled.cast(self.compute)
    }

    /// What its answer F comes to: c_skip x + c_out F, in the type of x.
    pub(crate) fn leave(&self, noisy: Images, raw: Images) -> Images {
        let raw = raw.cast(noisy.dtype());
        if let [only] = self.levels.as_slice() {
            return noisy.mul_scalar(only.skip) + raw.mul_scalar(only.out);
        }
        let [skip, out] =
            [|c: &Coefficients| c.skip, |c: &Coefficients| c.out].map(|f| self.column(&noisy, f));
        noisy * skip + raw * out
    }

    /// A number for each level, `[levels, 1, 1, 1]`, of the type and on the device of `like`.
    fn column(&self, like: &Images, pick: fn(&Coefficients) -> f64) -> Images {
        let values: Vec<f32> = self.levels.iter().map(|c| pick(c) as f32).collect();
        let rows = values.len();
        let data = TensorData::new(values, [rows, 1, 1, 1]);
        transfer::send(data, (&like.device(), like.dtype()))
    }
}

impl Denoiser for Preconditioned {
    fn denoise(&self, noisy: Images, sigma: f64, condition: &Condition) -> Images {
        self.denoise_each(noisy, &[sigma], condition, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> LogAlphaTable {
        LogAlphaTable::scaled_linear(0.00085, 0.012, 1000).unwrap()
    }

    /// Of an image x and its noise n, a network that knows both answers n, or v: in all forms the image comes out.
    #[test]
    fn what_a_network_predicts_leads_to_the_same_image() {
        let (x, n) = (0.7, -1.3);
        for sigma in [0.02f64, 0.9, 14.0] {
            let a = 1.0 / (sigma * sigma + 1.0).sqrt();
            let s = sigma * a;
            for (form, answer) in [
                (Preconditioning::Discrete(table()), n),
                (Preconditioning::Velocity(table()), a * n - s * x),
            ] {
                let c = form.coefficients(sigma);
                let noisy = x + sigma * n;
                let seen = c.input * noisy;
                assert!((seen - (a * x + s * n)).abs() < 1e-12, "{form:?}");
                let image = c.skip * noisy + c.out * answer;
                assert!((image - x).abs() < 1e-9, "{form:?} {sigma}: {image}");
                assert!((form.loss_weight(sigma) * c.out * c.out - 1.0).abs() < 1e-12);
                assert_eq!(c.noise, table().position_of_sigma(sigma));
            }
            let time = sigma / (1.0 + sigma);
            let c = Preconditioning::Flow.coefficients(sigma);
            let noisy = x + sigma * n;
            assert!((c.input * noisy - ((1.0 - time) * x + time * n)).abs() < 1e-12);
            assert!((c.skip * noisy + c.out * (n - x) - x).abs() < 1e-12);
            assert!((c.noise - 1000.0 * time).abs() < 1e-12);
            let weight = Preconditioning::Flow.loss_weight(sigma);
            assert!((weight * c.out * c.out - 1.0).abs() < 1e-12);
        }
    }
}
