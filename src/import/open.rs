//! From a file to a model.

use crate::Error;
use crate::container::Checkpoint;
use crate::model::{IN_MEMORY, Model};
use burn::tensor::Device;
use std::path::Path;

/// As [`open`], of a file in memory.
///
/// # Errors
/// As [`open`], with `model in memory` for a path.
pub fn open_bytes(bytes: Vec<u8>, device: &Device) -> Result<(Model, String), Error> {
    let checkpoint = Checkpoint::from_bytes(bytes, Path::new(IN_MEMORY))?;
    let (card, hash) = checkpoint.described()?;
    Ok((checkpoint.model(card, device)?, hash))
}

/// Reads a model file of any kind, and its SHA-256: ours as it is, others as [`Checkpoint::card`] says.
///
/// # Errors
/// As [`Checkpoint::read`] and [`Checkpoint::model`].
pub fn open(path: &Path, device: &Device) -> Result<(Model, String), Error> {
    let checkpoint = Checkpoint::read(path)?;
    let (card, hash) = checkpoint.described()?;
    Ok((checkpoint.model(card, device)?, hash))
}
