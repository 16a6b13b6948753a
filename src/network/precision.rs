//! In what numbers a network's weights are held, and in what it computes.

use super::Network;
use crate::Error;
use crate::parameter::Named;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor, bf16, f16};
use serde::{Deserialize, Serialize};

/// A floating point type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Precision {
    /// Single precision: 24 bits, up to 3e38.
    #[default]
    F32,
    /// Half precision: 11 bits, up to 65504, nothing below 6e-8.
    F16,
    /// "Brain" half precision: 8 bits, the range of single precision.
    Bf16,
}

impl Precision {
    /// Burn's name for it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Whether a number is finite when it is rounded to the type.
    pub(crate) fn holds(self, value: f32) -> bool {
        match self {
            Self::F32 => value.is_finite(),
            Self::F16 => f16::from_f32(value).is_finite(),
            Self::Bf16 => bf16::from_f32(value).is_finite(),
        }
    }

    /// What numbers it holds, for an error.
    pub(crate) fn range(self) -> &'static str {
        "finite in that type; use bf16 for large weights, or f32"
    }
}

impl Network {
    /// The network with its parameters rounded to `precision` and held in it, for networks that do not learn: half the
    /// memory. Layers widen them where they use them, so that it answers as the f32 network with rounded parameters does, bit
    /// for bit. With [`Precision::F32`] it stays as it is.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming a parameter that is too large for the type.
    pub fn with_precision(self, precision: Precision) -> Result<Self, Error> {
        struct Rounder {
            dtype: DType,
            position: usize,
            /// The first parameter with a number that is not finite any more.
            broken: Option<usize>,
        }
        impl ModuleMapper for Rounder {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let (id, value, mapper) = param.consume();
                let value = value.cast(self.dtype);
                // A sum of magnitudes in f32 is finite if all are: half a type's largest number is far from f32's.
                let sum = value.clone().cast(DType::F32).abs().sum();
                if self.broken.is_none() && !sum.into_scalar::<f32>().is_finite() {
                    self.broken = Some(self.position);
                }
                self.position += 1;
                Param::from_mapped_value(id, value, mapper)
            }
        }
        if precision == Precision::F32 {
            return Ok(self);
        }
        let mut rounder = Rounder {
            dtype: precision.dtype(),
            position: 0,
            broken: None,
        };
        let network = self.map(&mut rounder);
        match rounder.broken {
            None => Ok(network),
            Some(position) => {
                let name = &network.keys().all()[position].name;
                Err(Error::invalid(
                    name,
                    format!("{precision:?}"),
                    precision.range(),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::law::filled;
    use crate::network::{
        Inputs, LatentAttention, LatentUNetConfig, NetworkConfig, gather, replace, shapes,
    };
    use crate::noise::latents;
    use burn::tensor::Device;

    fn config() -> NetworkConfig {
        NetworkConfig::LatentUnet(LatentUNetConfig {
            resolution: 8,
            model_channels: 32,
            channel_multipliers: vec![1, 2],
            blocks: 1,
            attention_factors: vec![2],
            attention: LatentAttention::Text {
                heads: 4.into(),
                width: 6,
                depth: 1.into(),
                linear: false,
            },
            ..LatentUNetConfig::stable_diffusion()
        })
    }

    fn answer(network: &Network) -> Vec<f32> {
        let images = latents(&[1, 2], [4, 8, 8], &Device::flex());
        let inputs = Inputs {
            noise: &[3.5],
            ..Inputs::default()
        };
        let answer = network.forward(images, inputs);
        assert_eq!(answer.dtype(), DType::F32);
        answer.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn half_weights_answer_as_rounded_ones_do() {
        let whole = filled(&config(), 5);
        for precision in [Precision::F16, Precision::Bf16] {
            let half = whole.clone().with_precision(precision).unwrap();
            let all = gather(&half);
            assert!(all.iter().all(|g| {
                let tensor = g.tensor.as_ref().unwrap();
                tensor.dtype() == precision.dtype()
            }));
            let rounded = replace(whole.clone(), &mut |i, _, _| {
                all[i].tensor.clone().map(|t| t.cast(DType::F32))
            });
            assert_eq!(answer(&half), answer(&rounded), "{precision:?}");
            assert_ne!(answer(&half), answer(&whole), "{precision:?}");
            let again = half.clone().with_precision(precision).unwrap();
            assert_eq!(answer(&half), answer(&again));
        }
        let same = whole.clone().with_precision(Precision::F32).unwrap();
        assert_eq!(answer(&same), answer(&whole));
    }

    #[test]
    fn a_weight_that_does_not_fit_is_named() {
        let large = replace(filled(&config(), 5), &mut |i, _, shape| {
            let count = shape.iter().product::<usize>();
            (i == 3).then(|| Tensor::full([count], 1e5, &Device::flex()))
        });
        let name = shapes(&large).swap_remove(3).0;
        let error = large.clone().with_precision(Precision::F16).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
        assert!(large.with_precision(Precision::Bf16).is_ok());
    }
}
