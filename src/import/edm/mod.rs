//! Files of EDM and SFD: pickles and state dicts of `EDMPrecond`, whole or of the bare network.

mod card;
mod infer;
mod said;

use super::kind::{Kind, Named};
use crate::Error;
use crate::container::Checkpoint;
use crate::model::Card;
use crate::network::NetworkConfig;
use infer::LANDMARK;
use said::Arguments;
use serde_json::Value;

/// The class whose modules say how much is dropped.
const BLOCK: &str = "UNetBlock";

/// What any file is taken for that is of no other kind.
#[derive(Debug)]
pub(super) struct Edm;

impl Edm {
    /// The file's tensors by official name. Files of the bare network, or of one wrapped for several GPUs, have another
    /// start.
    pub(super) fn named(file: &Checkpoint) -> Named<'_> {
        let found = file
            .tensors()
            .keys()
            .find_map(|name| name.strip_suffix(LANDMARK));
        let prefix = found.unwrap_or("model.");
        let tensors = file.tensors().iter().map(|(name, info)| {
            let official = match name.strip_prefix(prefix) {
                Some(rest) => format!("model.{rest}"),
                None => name.clone(),
            };
            (official, (name.as_str(), info.shape.as_slice()))
        });
        Named {
            tensors: tensors.collect(),
        }
    }

    /// The network that the file is for.
    ///
    /// # Errors
    /// [`Error::Malformed`] if that cannot be told, or if it is one of another kind.
    pub(super) fn network(file: &Checkpoint, named: &Named<'_>) -> Result<NetworkConfig, Error> {
        if let Some(class) = file.class.as_deref()
            && !["EDMPrecond", "SongUNet", "DhariwalUNet"].contains(&class)
        {
            let reason = format!(
                "its weights are those of a {class}; only EDMPrecond is preconditioned as here"
            );
            return Err(file.source.broken("EDM or SFD model", reason));
        }
        let arguments = Arguments(file);
        arguments.check_widths()?;
        let network = match (named.infer(), file.init.is_empty()) {
            (Some(inferred), true) => inferred,
            (inferred, false) => arguments.network(inferred.as_ref())?,
            (None, true) => return Err(unknown(file, named)),
        };
        let told = file.init.get("dropout").and_then(Value::as_f64);
        let network = match told.or(file.dropout.get(BLOCK).copied()) {
            Some(dropout) => network.with_dropout(dropout),
            None => network,
        };
        let wrong = |e| file.source.broken("EDM or SFD model", e);
        network.check().map_err(wrong)?;
        Ok(network)
    }
}

/// An error that says what was looked for.
fn unknown(file: &Checkpoint, named: &Named<'_>) -> Error {
    let some: Vec<&str> = named.tensors.keys().take(3).map(String::as_str).collect();
    let reason = format!(
        "the names of its tensors ({}, ...) are not all of those of an EDM network, so it cannot be told which one \
         it is",
        some.join(", ")
    );
    file.source.broken("EDM or SFD model", reason)
}

impl Kind for Edm {
    fn named<'a>(&self, file: &'a Checkpoint) -> Option<Named<'a>> {
        Some(Self::named(file))
    }

    fn network(
        &self,
        file: &Checkpoint,
        named: &Named<'_>,
    ) -> Result<Option<NetworkConfig>, Error> {
        Self::network(file, named).map(Some)
    }

    fn card(&self, file: &Checkpoint, network: NetworkConfig) -> Result<Card, Error> {
        card::card(file, network)
    }
}
