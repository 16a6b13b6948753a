//! Adam and the exponential moving average, over flattened parameters, with a state that can be saved.

use crate::Error;
use crate::error::positive;
use crate::network::{Gathered, Network, gather, replace, update};
use crate::transfer;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Settings of [`Adam`]; the learning rate is given with every step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AdamConfig {
    /// Decay of the mean, in [0, 1).
    pub beta1: f64,
    /// Decay of the mean square, in [0, 1).
    pub beta2: f64,
    /// Added to the root mean square, positive.
    pub epsilon: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        }
    }
}

/// Adam with bias correction, as in PyTorch: a parameter without a gradient keeps its value and its moments.
/// [Kingma & Ba 2015, Alg. 1]
#[derive(Clone, Debug)]
pub struct Adam {
    config: AdamConfig,
    /// One entry per parameter, in the network's order.
    moments: Vec<Option<Moments>>,
}

/// The running moments of one parameter.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) time: u32,
    pub(crate) mean: Tensor<1>,
    pub(crate) square: Tensor<1>,
}

impl Adam {
    /// An optimizer that has seen nothing yet.
    pub fn new(config: AdamConfig) -> Self {
        Self {
            config,
            moments: Vec::new(),
        }
    }

    /// Takes other constants for the updates to come; the moments stay.
    pub(crate) fn configure(&mut self, config: AdamConfig) {
        self.config = config;
    }

    /// One update; returns the network with new parameters. Where nothing else holds the old ones it needs memory for one
    /// parameter, besides the moments: twice the network's, in f32.
    pub(crate) fn step(
        &mut self,
        network: Network,
        gradients: Vec<Gathered>,
        learning_rate: f64,
    ) -> Network {
        self.moments.resize(gradients.len(), None);
        let AdamConfig {
            beta1,
            beta2,
            epsilon,
        } = self.config;
        let mut gradients = gradients.into_iter();
        let moments = &mut self.moments;
        update(network, &mut |i, old| {
            let Some(gradient) = gradients.next().and_then(|g| g.tensor) else {
                return old;
            };
            let state = &mut moments[i];
            let mean = gradient.clone().mul_scalar(1.0 - beta1);
            let square = gradient.square().mul_scalar(1.0 - beta2);
            let next = match state.take() {
                Some(m) => Moments {
                    time: m.time + 1,
                    mean: m.mean.mul_scalar(beta1) + mean,
                    square: m.square.mul_scalar(beta2) + square,
                },
                None => Moments {
                    time: 1,
                    mean,
                    square,
                },
            };
            let correct1 = 1.0 - beta1.powf(f64::from(next.time));
            let correct2 = 1.0 - beta2.powf(f64::from(next.time));
            let root = next.square.clone().sqrt();
            let scale = root.div_scalar(correct2.sqrt()).add_scalar(epsilon);
            let change = (next.mean.clone() / scale).mul_scalar(learning_rate / correct1);
            *state = Some(next);
            old - change
        })
    }

    /// The moments by parameter position, for saving.
    pub(crate) fn moments(&self) -> &[Option<Moments>] {
        &self.moments
    }

    /// Puts saved moments back.
    pub(crate) fn restore(&mut self, moments: Vec<Option<Moments>>) {
        self.moments = moments;
    }
}

/// An exponential moving average of a network's parameters.
#[derive(Clone, Debug)]
pub struct Average {
    /// `None` for what is not the network's own.
    values: Vec<Option<Tensor<1>>>,
}

impl Average {
    /// Starts at the network's present parameters.
    pub(crate) fn new(network: &Network) -> Self {
        let values = gather(network).into_iter().zip(network.own());
        Self {
            values: values.map(|(g, own)| g.tensor.filter(|_| own)).collect(),
        }
    }

    /// Moves towards the network: average = decay * average + (1 - decay) * parameters.
    pub(crate) fn update(&mut self, network: &Network, decay: f64) {
        let now = gather(network).into_iter().map(|g| g.tensor);
        for (value, now) in self.values.iter_mut().zip(now) {
            if let (Some(value), Some(now)) = (value, now) {
                let old = value.clone();
                *value = old.clone() + (now - old).mul_scalar(1.0 - decay);
            }
        }
    }

    /// A copy of `network` with the averaged parameters.
    pub(crate) fn apply(&self, network: Network) -> Network {
        replace(network, &mut |i, _, _| {
            self.values.get(i).cloned().flatten()
        })
    }

    /// The averaged values, for saving.
    pub(crate) fn values(&self) -> &[Option<Tensor<1>>] {
        &self.values
    }

    /// Puts saved values back.
    pub(crate) fn restore(&mut self, values: Vec<Option<Tensor<1>>>) {
        self.values = values;
    }
}

/// How much of an average one update keeps, `counted` of `seen` samples being its own, when an old weight is to count
/// half after `half_life` samples. Early on the half-life is at most a twentieth of `seen`, so that the first weights
/// are soon forgotten.
pub(crate) fn average_decay(half_life: f64, counted: f64, seen: f64) -> f64 {
    libm::exp2(-counted / half_life.min(seen / 20.0).max(1e-9))
}

/// Whether every gradient is finite: a broken one must not reach the weights, nor the moments.
pub(crate) fn finite(gradients: &[Gathered]) -> bool {
    let tensors = gradients.iter().filter_map(|g| g.tensor.as_ref());
    let sums: Vec<_> = tensors.map(|t| t.clone().abs().sum()).collect();
    sums.is_empty() || transfer::number(Tensor::cat(sums, 0).sum()).is_finite()
}

impl AdamConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the constant.
    pub fn check(&self) -> Result<(), Error> {
        for (name, value) in [("adam.beta1", self.beta1), ("adam.beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::invalid(name, value, "in [0, 1)"));
            }
        }
        positive("adam.epsilon", self.epsilon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn gathered(values: &[f32]) -> Gathered {
        Gathered {
            name: "w".into(),
            shape: vec![values.len()],
            tensor: Some(Tensor::from_floats(values, &Device::flex())),
        }
    }

    #[test]
    fn one_broken_gradient_is_found() {
        let none = Gathered {
            tensor: None,
            ..gathered(&[])
        };
        assert!(finite(std::slice::from_ref(&none)));
        assert!(finite(&[
            gathered(&[1.0, -2.0]),
            none.clone(),
            gathered(&[0.0])
        ]));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!finite(&[
                gathered(&[1.0]),
                none.clone(),
                gathered(&[0.0, bad])
            ]));
        }
    }
}
