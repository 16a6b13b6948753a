//! Weights that a file has in another form, for a program that wants them so, and as they were in a file beside it: read here as
//! they were.

use super::{ORIGINALS, is_plain};
use crate::Error;
use crate::container::checkpoint::Checkpoint;
use crate::container::source::LazyFile;

const WHAT: &str = "model file";

/// The same checkpoint, whose changed tensors are read from the file beside it.
///
/// # Errors
/// [`Error::Malformed`] if that file is missing or does not fit.
pub(super) fn with_originals(mut checkpoint: Checkpoint) -> Result<Checkpoint, Error> {
    let Some(name) = checkpoint.metadata.get(ORIGINALS).cloned() else {
        return Ok(checkpoint);
    };
    let path = checkpoint.path().to_path_buf();
    let beside = path.with_file_name(&name);
    if !is_plain(&name) || !beside.is_file() {
        let reason = format!(
            "some of its tensors are written for diffusers, and {name}, which has them as they were, is not beside it; put it there"
        );
        return Err(checkpoint.source.broken(WHAT, reason));
    }
    let other = Checkpoint::parse(LazyFile::open(&beside)?)?;
    for (tensor, info) in other.tensors {
        let here = checkpoint.tensors.get(&tensor);
        if here.is_none_or(|here| here.shape != info.shape || here.scalar != info.scalar) {
            let reason = format!("its {tensor} is none of {}", path.display());
            return Err(other.source.broken(WHAT, reason));
        }
        checkpoint.shards.owners.insert(tensor.clone(), 1);
        checkpoint.tensors.insert(tensor, info);
    }
    checkpoint.shards.files = vec![LazyFile::open(&path)?, other.source];
    Ok(checkpoint)
}
