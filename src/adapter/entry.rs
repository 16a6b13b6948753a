//! The tensors of an adapter file, sorted by the layers that they are for.

use super::name::{Other, Part, Role, read};
use crate::Error;
use crate::container::Checkpoint;
use std::collections::BTreeMap;

/// The tensors of one layer, by the names that the file gives them.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) down: Option<String>,
    pub(super) up: Option<String>,
    pub(super) alpha: Option<String>,
}

/// By network, and by layer with `_` for every dot.
pub(super) type Entries = BTreeMap<Part, BTreeMap<String, Entry>>;

/// Whether a file looks like one of adapters, of whatever kind.
pub(super) fn looks_like(file: &Checkpoint) -> bool {
    let mut names = file.tensors().keys();
    names.any(|name| match read(name) {
        Ok(said) => said.role != Role::Alpha,
        Err(Other::Kind(_)) => true,
        Err(Other::Unknown) => false,
    })
}

/// Sorts the tensors of a file.
///
/// # Errors
/// [`Error::Malformed`] for a file of another kind of adapters, or with anything else in it.
pub(super) fn sort(file: &Checkpoint, skip: &dyn Fn(&str) -> bool) -> Result<Entries, Error> {
    let refused = |reason: String| Error::malformed(file.path(), "low-rank adapter", reason);
    let mut entries = Entries::new();
    for name in file.tensors().keys().filter(|name| !skip(name)) {
        let said = read(name).map_err(|other| match other {
            Other::Kind(kind) => refused(format!(
                "it is of the kind {kind} ({name}); of adapters only plain LoRA, two factors a layer, is read: merge it into \
                 its model with the tool that made it, and give that"
            )),
            Other::Unknown => refused(format!("nothing is known of its tensor {name}")),
        })?;
        let layers = entries.entry(said.part).or_default();
        let entry = layers.entry(said.layer).or_default();
        let place = match said.role {
            Role::Down => &mut entry.down,
            Role::Up => &mut entry.up,
            Role::Alpha => &mut entry.alpha,
        };
        if let Some(before) = place.replace(name.clone()) {
            return Err(refused(format!(
                "{before} and {name} are for the same layer"
            )));
        }
    }
    let pairs = entries.values().flatten();
    let single = pairs.filter(|(_, entry)| entry.down.is_none() != entry.up.is_none());
    if let Some((layer, entry)) = single.into_iter().next() {
        let there = entry.down.iter().chain(&entry.up);
        let there: Vec<&str> = there.map(String::as_str).collect();
        return Err(refused(format!(
            "{layer} has {} and no second factor",
            there.join("")
        )));
    }
    // A lone alpha changes nothing.
    for layers in entries.values_mut() {
        layers.retain(|_, entry| entry.down.is_some());
    }
    entries.retain(|_, layers| !layers.is_empty());
    Ok(entries)
}
