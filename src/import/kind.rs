//! What a kind of foreign file is: how its names become official ones, and what it says of its network.

use crate::Error;
use crate::container::Checkpoint;
use crate::model::Card;
use crate::network::NetworkConfig;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Tensor shapes by official name.
pub(super) struct Named<'a> {
    /// Official name to the file's name and its shape.
    pub(super) tensors: BTreeMap<String, (&'a str, &'a [usize])>,
}

/// A way in which networks are written by others. A new one is a folder of its own, and an entry in the list of `known.rs`.
pub(super) trait Kind: Debug + Sync {
    /// The file's tensors by official name; `None` in a file of another kind.
    fn named<'a>(&self, file: &'a Checkpoint) -> Option<Named<'a>>;

    /// The network that a file of this kind is for; `None` if its names and shapes do not tell.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is one that is not built here.
    fn network(&self, file: &Checkpoint, named: &Named<'_>)
    -> Result<Option<NetworkConfig>, Error>;

    /// The card of a file whose names, shapes and constants are those of this network.
    ///
    /// # Errors
    /// [`Error::Malformed`] for settings that are not built here.
    fn card(&self, file: &Checkpoint, network: NetworkConfig) -> Result<Card, Error>;
}
