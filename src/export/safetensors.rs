//! Tensors into a safetensors file, one after the other: nothing but one of them is in memory.

use crate::Error;
use crate::container::{Checkpoint, Scalar};
use crate::file::write_in_parts;
use safetensors::tensor::{Metadata, TensorInfo as Header};
use std::collections::BTreeMap;
use std::path::Path;

/// Free texts of a header.
pub(super) type Texts = BTreeMap<String, String>;

/// A tensor to be written: under which name, and where it comes from.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) scalar: Scalar,
    pub(super) from: From,
}

pub(super) enum From {
    /// The file's tensor of this name.
    File(String),
    /// These numbers.
    Values(Vec<f32>),
    /// Numbers that are made when they are written, of another file.
    Made(Box<dyn Fn() -> Result<Vec<f32>, Error>>),
    /// Nothing but zeros; made when they are written, because a step branch is large.
    Zeros,
}

/// What libraries around diffusers ask for in a header.
pub(super) fn pytorch() -> (String, String) {
    ("format".to_string(), "pt".to_string())
}

/// Writes the entries, those of a file from `checkpoint`, with these texts in the header.
pub(super) fn write(
    checkpoint: &Checkpoint,
    mut entries: Vec<Entry>,
    texts: &Texts,
    path: &Path,
) -> Result<(), Error> {
    // As the safetensors crate writes them: largest type first, then by name.
    entries.sort_by(|a, b| {
        let (left, right) = (a.scalar.to_safetensors(), b.scalar.to_safetensors());
        right.cmp(&left).then_with(|| a.name.cmp(&b.name))
    });
    let header = header(&entries, texts)?;
    write_in_parts(path, &mut |put| {
        put(&(header.len() as u64).to_le_bytes())?;
        put(&header)?;
        entries
            .iter()
            .try_for_each(|entry| put(&entry.bytes(checkpoint)?))
    })
}

impl Entry {
    fn len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.scalar.size()
    }

    fn bytes(&self, checkpoint: &Checkpoint) -> Result<Vec<u8>, Error> {
        let unknown = || Error::invalid("dtype", self.scalar, "f32, f16 or bf16");
        let values = match &self.from {
            From::File(name)
                if checkpoint.info(name)?.scalar == self.scalar && !checkpoint.is_scaled(name) =>
            {
                return checkpoint.bytes(name);
            }
            From::File(name) => checkpoint.values(name)?,
            From::Values(values) => return self.scalar.of_f32(values).ok_or_else(unknown),
            From::Made(make) => make()?,
            // In all floating-point types zero is zero bytes.
            From::Zeros => return Ok(vec![0; self.len()]),
        };
        if self.scalar == Scalar::F16
            && let Some(value) = values
                .iter()
                .find(|v| v.is_finite() && v.abs() >= F16_LIMIT)
        {
            let name = match &self.from {
                From::File(name) => name,
                _ => &self.name,
            };
            return Err(Error::invalid(
                name.clone(),
                value,
                "below 65520 for f16; write bf16 or f32 instead",
            ));
        }
        self.scalar.of_f32(&values).ok_or_else(unknown)
    }
}

/// From here on half precision rounds to infinity.
const F16_LIMIT: f32 = 65520.0;

/// The JSON header, padded to 8 bytes: the texts first, in the order of their keys.
fn header(entries: &[Entry], texts: &Texts) -> Result<Vec<u8>, Error> {
    let mut end = 0;
    let infos = entries.iter().map(|entry| {
        let start = end;
        end += entry.len();
        let info = Header {
            dtype: entry.scalar.to_safetensors(),
            shape: entry.shape.clone(),
            data_offsets: (start, end),
        };
        (entry.name.clone(), info)
    });
    let infos = infos.collect();
    let unserialisable = |e: String| Error::invalid("tensors", e, "serialisable tensors");
    let metadata = Metadata::new(None, infos).map_err(|e| unserialisable(e.to_string()))?;
    let mut bytes = serde_json::to_vec(&metadata).map_err(|e| unserialisable(e.to_string()))?;
    if !texts.is_empty() {
        // The crate keeps texts in a table without an order, and equal models are to be equal files.
        let texts = serde_json::to_string(texts).map_err(|e| unserialisable(e.to_string()))?;
        let comma = if entries.is_empty() { "" } else { "," };
        let start = format!("{{\"__metadata__\":{texts}{comma}");
        bytes.splice(..1, start.into_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}
