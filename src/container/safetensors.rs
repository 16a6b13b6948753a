//! The header of a safetensors file.

use super::source::{LazyFile, Span};
use crate::Error;
use safetensors::tensor::Metadata;
use std::collections::BTreeMap;

/// Longest safetensors header: forty thousand tensors.
const LONGEST_HEADER: u64 = 4 << 20;

/// The part of a safetensors file before its tensors.
pub(crate) fn header_end(source: &LazyFile) -> Result<u64, Error> {
    if source.len() < 9 {
        return Err(source.broken("safetensors file", "it has no header"));
    }
    let mut len = [0; 8];
    source.read_at(0, &mut len)?;
    Ok(u64::from_le_bytes(len).saturating_add(8))
}

/// The header of a safetensors file, checked against its length, and its free texts.
pub(crate) fn header(source: &LazyFile) -> Result<(Metadata, BTreeMap<String, String>), Error> {
    let broken = |reason: String| source.broken("safetensors file", reason);
    let end = header_end(source)?;
    if end > source.len() || end > LONGEST_HEADER {
        return Err(broken(match end > LONGEST_HEADER {
            true => format!(
                "by its first bytes its header has {end} bytes, more than {} MB; it is something else",
                LONGEST_HEADER >> 20
            ),
            false => format!(
                "its header has {end} bytes, but the file {}; it is cut off",
                source.len()
            ),
        }));
    }
    let bytes = source.read(Span { start: 0, len: end })?;
    // The crate wants the whole file to check that the last tensor ends with it; the header alone is enough for that.
    let header: Metadata =
        serde_json::from_slice(&bytes[8..]).map_err(|e| broken(e.to_string()))?;
    let len = header.data_len() as u64;
    if end.checked_add(len) != Some(source.len()) {
        let said = end.saturating_add(len);
        return Err(broken(format!(
            "by its header it has {said} bytes, but there are {}; it may be cut off",
            source.len()
        )));
    }
    let texts = header.metadata().iter().flatten();
    let texts = texts.map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((header, texts))
}
