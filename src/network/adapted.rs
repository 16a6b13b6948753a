//! Networks with low-rank adapters: attached, frozen around them, and merged. [Hu et al. 2022]

use super::{Adapters, Network, NetworkConfig};
use crate::Error;
use crate::parameter::{Key, Named, by_name, device, draw, freeze, replace, update};
use burn::tensor::{DType, Tensor};

/// A layer that may have an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptedLayer {
    /// Its official name: that of its weight, without `.weight`.
    pub name: String,
    /// Dimensions of its weight, `[out, in, ...]`.
    pub shape: Vec<usize>,
    /// Whether it belongs to attention.
    pub attention: bool,
}

impl AdaptedLayer {
    /// The largest rank that is of use: with more, the factors can do no more than the matrix that they make.
    pub fn full_rank(&self) -> usize {
        let inputs = self.shape[1..].iter().product::<usize>();
        self.shape[0].min(inputs).max(1)
    }

    /// Numbers in the factors of an adapter of this rank.
    pub fn numbers(&self, rank: usize) -> u64 {
        let inputs = self.shape[1..].iter().product::<usize>();
        rank as u64 * (self.shape[0] + inputs) as u64
    }
}

/// Factors of a layer's adapter: A `[rank, in x k x k]`, B `[out, rank]`, and what their product is multiplied by.
pub(crate) type Product = (Tensor<2>, Tensor<2>, f64);

impl NetworkConfig {
    /// All layers that may have an adapter: linear ones and convolutions, but not those of the step branch.
    pub fn adapted_layers(&self) -> Vec<AdaptedLayer> {
        let keys = self.keys().into_iter().filter(|key| key.layer);
        let layers = keys.map(|key| AdaptedLayer {
            name: layer_of(&key.name).to_string(),
            shape: key.shape,
            attention: key.attention,
        });
        layers.collect()
    }
}

/// The name of a weight's layer.
fn layer_of(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

impl Network {
    /// The network with adapters, which share the memory of its weights. Each starts so that it changes nothing: B is
    /// zero, and A a function of `seed` and the parameter's name. `config` is the network's.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a layer that the network does not have, or a rank of 0.
    pub fn with_adapters(
        self,
        config: &NetworkConfig,
        adapters: &Adapters,
        seed: u64,
    ) -> Result<Self, Error> {
        let layers = config.adapted_layers();
        for (layer, adapter) in adapters.iter() {
            if !layers.iter().any(|known| known.name == layer) {
                let expected =
                    "a linear layer or convolution of the network, none of its step branch";
                return Err(Error::invalid("layer", layer, expected));
            }
            if adapter.rank == 0 {
                return Err(Error::invalid("rank", 0, "positive"));
            }
        }
        let device = device(&self);
        let mut old = by_name(&self);
        drop(self);
        // The base first: what is drawn before would take memory for all of it.
        let new = config.blank_adapted(adapters, &device)?;
        let new = replace(new, &mut |_, name, _| old.remove(name));
        Ok(draw(new, seed, &|key| key.adapter))
    }

    /// Whether it has adapters.
    pub fn is_adapted(&self) -> bool {
        self.keys().all().iter().any(|key| key.adapter)
    }

    /// Which of its parameters, in their order, are its own: all, or of one with adapters those that [learn](learns); the
    /// others are its base's.
    pub(crate) fn own(&self) -> Vec<bool> {
        let (keys, adapted) = (self.keys().all(), self.is_adapted());
        keys.iter().map(|key| !adapted || learns(key)).collect()
    }

    /// The network with all that does not [learn](learns) left alone by autodiff; what learns is in single precision, whatever the
    /// rest is held in.
    pub(crate) fn with_frozen_base(self) -> Self {
        let keys = self.keys().clone();
        let widened = update(
            self,
            &mut |position, old| match learns(&keys.all()[position]) && old.dtype() != DType::F32 {
                true => old.cast(DType::F32),
                false => old,
            },
        );
        freeze(widened, &|key| !learns(key))
    }

    /// A network without adapters with some multiplied out: each weight W becomes W + scale B A, in its own type.
    pub(crate) fn merged(self, product: &mut dyn FnMut(&str) -> Option<Product>) -> Self {
        let keys = self.keys().clone();
        update(self, &mut |position, old| {
            let key = &keys.all()[position];
            let found = match key.layer {
                true => product(layer_of(&key.name)),
                false => None,
            };
            let Some((down, up, scale)) = found else {
                return old;
            };
            let dtype = old.dtype();
            let change = up.matmul(down).mul_scalar(scale).flatten(0, 1);
            (old.cast(DType::F32) + change).cast(dtype)
        })
    }

    /// The same network without its adapters, sharing the memory of its other weights; `config` is the network's.
    ///
    /// # Errors
    /// None for the network's own configuration.
    pub(crate) fn without_adapters(&self, config: &NetworkConfig) -> Result<Self, Error> {
        let mut old = by_name(self);
        let plain = config.blank(&device(self))?;
        Ok(replace(plain, &mut |_, name, _| old.remove(name)))
    }
}

/// Whether a parameter of a network with adapters learns: their factors, and the step branch.
pub(crate) fn learns(key: &Key) -> bool {
    (key.adapter || key.step) && !key.fixed
}
