//! Opening weights that may be in several files.

use super::original::with_originals;
use super::{Shards, WHAT, index_of, is_plain, weight_map};
use crate::Error;
use crate::container::checkpoint::Checkpoint;
use crate::container::format::Format;
use crate::container::source::LazyFile;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Most files that an index may name.
const MOST: usize = 1024;

impl Checkpoint {
    /// Opens a file. Of weights in several files any of them, or their index (`*.index.json`), stands for all.
    ///
    /// # Errors
    /// As [`Checkpoint::read`], which also takes folders.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let whole = match index_of(path)? {
            Some(index) => read(&index)?,
            None => with_originals(Self::parse(LazyFile::open(path)?)?)?,
        };
        // A factor may lie in another shard than its weight.
        whole.with_scales()
    }
}

/// The weights of all shards of an index.
///
/// # Errors
/// [`Error::Malformed`] that names the shard that is missing or that does not hold what the index says, or the tensor that
/// is in two of them; and as [`Checkpoint::open`].
fn read(path: &Path) -> Result<Checkpoint, Error> {
    let source = LazyFile::open(path)?;
    let broken = |reason: String| source.broken(WHAT, reason);
    let map = weight_map(&source)?;
    let mut listed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (tensor, file) in &map {
        let file = file.as_str().filter(|file| is_plain(file));
        let file =
            file.ok_or_else(|| broken(format!("of {tensor} it says no name of a file beside it")))?;
        listed.entry(file).or_default().insert(tensor);
    }
    if listed.is_empty() || listed.len() > MOST {
        return Err(broken(format!("it names {} files", listed.len())));
    }
    // Before any is opened: all that is missing is said at once.
    let missing: Vec<&str> = listed
        .keys()
        .filter(|file| !path.with_file_name(file).is_file())
        .copied()
        .collect();
    if let [first, ..] = missing.as_slice() {
        let tensor = listed[first].iter().next().unwrap_or(&"");
        let reason = format!(
            "of its {} files {} not beside it: {} (with {tensor}...); put all of them into one folder",
            listed.len(),
            if missing.len() == 1 {
                "one is"
            } else {
                "some are"
            },
            missing.join(", ")
        );
        return Err(broken(reason));
    }
    let mut shards = Shards::default();
    let mut first = None;
    let mut globals = Vec::new();
    let mut tensors = BTreeMap::new();
    for (index, (file, wanted)) in listed.iter().enumerate() {
        let mut shard = Checkpoint::parse(LazyFile::open(&path.with_file_name(file))?)?;
        for (name, info) in std::mem::take(&mut shard.tensors) {
            if let Some(other) = shards.owners.get(&name) {
                let other: &LazyFile = &shards.files[*other];
                let reason = format!("{name} is in {file} and in {}", other.path().display());
                return Err(broken(reason));
            }
            if !wanted.contains(name.as_str()) {
                let said = match map.get(&name).and_then(Value::as_str) {
                    Some(said) => format!("the index says that it is in {said}"),
                    None => "the index does not name it".into(),
                };
                return Err(broken(format!("{name} is in {file}, but {said}")));
            }
            shards.owners.insert(name.clone(), index);
            tensors.insert(name, info);
        }
        if let Some(name) = wanted.iter().find(|name| !tensors.contains_key(**name)) {
            return Err(broken(format!(
                "{name} is said to be in {file}, which has no such tensor"
            )));
        }
        globals.append(&mut shard.globals);
        first.get_or_insert((shard.format, shard.metadata));
        shards.files.push(shard.source);
    }
    let (format, metadata) = first.unwrap_or((Format::Safetensors, BTreeMap::new()));
    Ok(Checkpoint {
        metadata,
        globals,
        tensors,
        shards,
        ..Checkpoint::empty(format, source)
    })
}
