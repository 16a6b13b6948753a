//! Which kind a file is of, and so which network it is for.

use super::compvis::Compvis;
use super::diffusers::Diffusers;
use super::edm::Edm;
use super::foreign;
use super::kind::{Kind, Named};
use crate::Error;
use crate::container::Checkpoint;
use crate::file::CARD;
use crate::model::card_of_state;
use crate::network::NetworkConfig;

/// Kinds that are told by their names; the first that is there is it. Any other file is EDM's, or says why not.
const KINDS: [&dyn Kind; 2] = [&Compvis, &Diffusers];

/// How the groups of tensors in a training state begin.
const WEIGHT: &str = "weight/";
const AVERAGE: &str = "average/";

impl Checkpoint {
    /// The file's tensors by official name.
    pub(super) fn named(&self) -> Named<'_> {
        self.named_state().unwrap_or_else(|| self.kind().1)
    }

    fn kind(&self) -> (&'static dyn Kind, Named<'_>) {
        let mut known = KINDS.into_iter();
        let found = known.find_map(|kind| Some((kind, kind.named(self)?)));
        found.unwrap_or_else(|| (&Edm, Edm::named(self)))
    }

    /// The weights in a training state, averaged if it averages them; `None` in another file.
    fn named_state(&self) -> Option<Named<'_>> {
        card_of_state(self.metadata.get(CARD)?)?;
        let averaged = !self.raw && self.tensors().keys().any(|name| name.starts_with(AVERAGE));
        let group = if averaged { AVERAGE } else { WEIGHT };
        let tensors = self.tensors().iter().filter_map(|(name, info)| {
            let official = name.strip_prefix(group)?;
            // Averages are stored flat.
            let weight = self.tensors().get(&format!("{WEIGHT}{official}"));
            let weight = weight.filter(|weight| weight.count() == info.count());
            let shape = weight.unwrap_or(info).shape.as_slice();
            Some((official.to_string(), (name.as_str(), shape)))
        });
        Some(Named {
            tensors: tensors.collect(),
        })
    }

    /// The averaged weights are left aside, so that the network is loaded with those that training ended with.
    #[must_use]
    pub fn without_average(mut self) -> Self {
        self.raw = true;
        self
    }

    /// The network that the file is for.
    ///
    /// # Errors
    /// [`Error::Malformed`] if that cannot be told, or if it is one of another kind.
    pub fn network_config(&self) -> Result<NetworkConfig, Error> {
        if self.has_card() {
            return Ok(self.card()?.network);
        }
        Ok(self.foreign_network()?.1)
    }

    /// The network of a file without a card, and the kind that told.
    pub(super) fn foreign_network(&self) -> Result<(&'static dyn Kind, NetworkConfig), Error> {
        // First: of a network that is not built, a part may look like one that is.
        if let Some(what) = foreign::weights(self.tensors()) {
            return Err(self.source.broken("model", what));
        }
        self.check_quantised()?;
        let (kind, named) = self.kind();
        match kind.network(self, &named)? {
            Some(network) => Ok((kind, network)),
            None => Ok((&Edm, Edm::network(self, &named)?)),
        }
    }
}
