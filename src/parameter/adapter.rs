//! Which layers have low-rank adapters.

use std::collections::BTreeMap;

/// The adapters that a network is built with, by the official name of the layer (that of its weight, without `.weight`);
/// none for a plain network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapters {
    layers: BTreeMap<String, Adapter>,
    /// Whether all other numbers are put in one by one, so that no memory is to be taken for them before.
    bare: bool,
}

/// The size of a layer's adapter: the layer adds `scale` times B A x, where A has `rank` rows and B as many columns.
/// [Hu et al. 2022, Eq. 3]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adapter {
    /// Rows of A, positive.
    pub rank: usize,
    /// What the product is multiplied by; alpha / rank elsewhere.
    pub scale: f64,
}

impl Adapters {
    /// None, of a network whose numbers are put in one by one.
    pub(crate) fn none_yet() -> Self {
        Self {
            layers: BTreeMap::new(),
            bare: true,
        }
    }

    /// Whether memory for numbers is taken only when they are there.
    pub(crate) fn bare(&self) -> bool {
        self.bare || !self.is_empty()
    }

    /// That of a layer.
    pub fn of(&self, layer: &str) -> Option<Adapter> {
        self.layers.get(layer).copied()
    }

    /// Layers and their adapters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Adapter)> {
        self.layers
            .iter()
            .map(|(layer, adapter)| (layer.as_str(), *adapter))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl FromIterator<(String, Adapter)> for Adapters {
    fn from_iter<I: IntoIterator<Item = (String, Adapter)>>(all: I) -> Self {
        Self {
            layers: all.into_iter().collect(),
            bare: false,
        }
    }
}
