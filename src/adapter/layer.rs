//! Which layer of a network a name from elsewhere means.

use super::name::plain;
use crate::import::diffusers;
use crate::network::{AdaptedLayer, NetworkConfig};
use std::collections::BTreeMap;

/// The layers of a network, by all names that files have for them.
pub(super) struct Known {
    layers: Vec<Layer>,
    /// Position by name, with `_` for every dot.
    positions: BTreeMap<String, usize>,
}

/// A layer and the name that diffusers has for it, if any.
pub(super) struct Layer {
    pub(super) own: AdaptedLayer,
    pub(super) diffusers: Option<String>,
}

/// What stands before the names of whole networks.
const STARTS: [&str; 2] = ["model.diffusion_model.", "model."];

/// A layer's official name without what stands before all of its network's.
pub(super) fn inside(official: &str) -> &str {
    let start = STARTS.iter().find_map(|start| official.strip_prefix(start));
    start.unwrap_or(official)
}

impl Known {
    pub(super) fn of(network: &NetworkConfig) -> Self {
        let mut theirs: BTreeMap<String, String> = match network {
            NetworkConfig::LatentUnet(config) => {
                let weights = diffusers::names(config).into_iter();
                let layer = |name: String| name.strip_suffix(".weight").map(str::to_string);
                weights
                    .filter_map(|(ours, theirs)| Some((layer(ours)?, layer(theirs)?)))
                    .collect()
            }
            _ => BTreeMap::new(),
        };
        let layers = network.adapted_layers().into_iter();
        let layers: Vec<_> = layers
            .map(|own| Layer {
                diffusers: theirs.remove(&own.name),
                own,
            })
            .collect();
        let mut positions = BTreeMap::new();
        for (i, layer) in layers.iter().enumerate() {
            let official = layer.own.name.as_str();
            for name in [
                Some(official),
                Some(inside(official)),
                layer.diffusers.as_deref(),
            ] {
                positions.extend(name.map(|name| (plain(name), i)));
            }
        }
        Self { layers, positions }
    }

    pub(super) fn all(&self) -> &[Layer] {
        &self.layers
    }

    /// The layer of this name, given with `_` for every dot.
    pub(super) fn named(&self, plain: &str) -> Option<&Layer> {
        Some(&self.layers[*self.positions.get(plain)?])
    }

    /// The layer of this official name.
    pub(super) fn official(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.own.name == name)
    }
}
