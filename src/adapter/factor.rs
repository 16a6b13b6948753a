//! The factors of adapters, for the layers of one network.

use crate::Error;
use crate::layer::{DOWN, UP};
use crate::network::{Adapter, Adapters, Named, Network, NetworkConfig, gather, replace};
use burn::tensor::{DType, Device, Tensor, TensorData};
use std::collections::BTreeMap;
use std::path::Path;

/// The adapter of one layer: it adds `scale` B A x.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    /// Rows of A, columns of B.
    pub rank: usize,
    /// A, row-major, `[rank, in x k x k]`.
    pub down: Vec<f32>,
    /// B, row-major, `[out, rank]`.
    pub up: Vec<f32>,
    /// What the product is multiplied by.
    pub scale: f64,
}

/// The adapters of a network's layers, by official name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Factors(pub(super) BTreeMap<String, Factor>);

/// The layer of a factor, by the factor's official name.
fn layer_of<'a>(name: &'a str, factor: &str) -> Option<&'a str> {
    name.strip_suffix(factor)?.strip_suffix('.')
}

/// Two factors of which one may not be found yet.
#[derive(Default)]
struct Pair {
    rank: usize,
    down: Option<Vec<f32>>,
    up: Option<Vec<f32>>,
}

impl Factors {
    /// Those of a network that has adapters of this scale, if it has any.
    pub fn of(network: &Network, scale: f64) -> Self {
        let mut found: BTreeMap<String, Pair> = BTreeMap::new();
        let keys = network.keys().all();
        for (key, g) in keys.iter().zip(gather(network)) {
            let Some(tensor) = g.tensor.filter(|_| key.adapter) else {
                continue;
            };
            let values = || tensor.into_data_dtype(DType::F32).iter::<f32>().collect();
            if let Some(layer) = layer_of(&key.name, DOWN) {
                let entry = found.entry(layer.to_string()).or_default();
                (entry.down, entry.rank) = (Some(values()), key.shape[0]);
            } else if let Some(layer) = layer_of(&key.name, UP) {
                found.entry(layer.to_string()).or_default().up = Some(values());
            }
        }
        let factors = found.into_iter().filter_map(|(layer, pair)| {
            let factor = Factor {
                rank: pair.rank,
                down: pair.down?,
                up: pair.up?,
                scale,
            };
            Some((layer, factor))
        });
        Self(factors.collect())
    }

    /// Layers and their factors, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Factor)> {
        self.0
            .iter()
            .map(|(layer, factor)| (layer.as_str(), factor))
    }

    /// How many layers have one.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with `by` times their effect.
    #[must_use]
    pub fn scaled(mut self, by: f64) -> Self {
        self.0.values_mut().for_each(|factor| factor.scale *= by);
        self
    }

    /// Their sizes.
    pub fn adapters(&self) -> Adapters {
        let all = self.0.iter().map(|(layer, factor)| {
            let Factor { rank, scale, .. } = *factor;
            (layer.clone(), Adapter { rank, scale })
        });
        all.collect()
    }

    /// Smallest and largest rank.
    pub fn ranks(&self) -> Option<(usize, usize)> {
        let ranks = || self.0.values().map(|factor| factor.rank);
        Some((ranks().min()?, ranks().max()?))
    }

    /// The network with these adapters beside its weights, whose memory it shares; nothing is multiplied out. `config` is
    /// the network's.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a layer that the network does not have.
    pub fn attach(&self, network: Network, config: &NetworkConfig) -> Result<Network, Error> {
        let device = crate::network::device(&network);
        let network = network.with_adapters(config, &self.adapters(), 0)?;
        Ok(replace(network, &mut |_, name, _| {
            let values = match layer_of(name, DOWN) {
                Some(layer) => &self.0.get(layer)?.down,
                None => &self.0.get(layer_of(name, UP)?)?.up,
            };
            Some(tensor(values, [values.len()], &device))
        }))
    }

    /// The network with these adapters multiplied out into its weights, one layer at a time.
    pub fn merge(&self, network: Network) -> Network {
        let device = crate::network::device(&network);
        network.merged(&mut |layer| {
            let Factor {
                rank,
                down,
                up,
                scale,
            } = self.0.get(layer)?;
            let down = tensor(down, [*rank, down.len() / rank], &device);
            let up = tensor(up, [up.len() / rank, *rank], &device);
            Some((down, up, *scale))
        })
    }

    /// An error that names the file if a number is not finite.
    pub(super) fn check(&self, path: &Path) -> Result<(), Error> {
        let broken = self.0.iter().find(|(_, factor)| {
            let numbers = factor.down.iter().chain(&factor.up);
            !factor.scale.is_finite() || !numbers.fold(0.0, |sum, n| sum + n.abs()).is_finite()
        });
        match broken {
            None => Ok(()),
            Some((layer, _)) => Err(Error::malformed(
                path,
                "low-rank adapter",
                format!("{layer} has numbers that are not finite"),
            )),
        }
    }
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}
