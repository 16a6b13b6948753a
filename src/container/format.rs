//! How files of weights are written, told by how they start.

use super::foreign;
use super::source::LazyFile;
use crate::Error;
use std::fmt;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Our own, or anybody's safetensors.
    Safetensors,
    /// An EDM pickle: objects of `torch_utils.persistence`, storages inline.
    EdmPersistent,
    /// A pickle of plain classes, as the official SFD code writes it.
    SfdPlain,
    /// A zip archive of torch 1.6 or newer.
    TorchZip,
    /// torch before 1.6.
    TorchLegacy,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::EdmPersistent => "EDM pickle",
            Self::SfdPlain => "SFD pickle",
            Self::TorchZip => "torch zip archive",
            Self::TorchLegacy => "legacy torch file",
        })
    }
}

/// What a file is, by its start.
pub(crate) enum Sniffed {
    Safetensors,
    Zip,
    Pickle,
}

/// Tells formats apart by their first bytes. Only what is called safetensors must be: whoever passes a pickle off as
/// that is up to no good.
pub(crate) fn sniff(source: &LazyFile) -> Result<Sniffed, Error> {
    if let Some(what) = foreign::content(source)? {
        return Err(source.broken("model file", what));
    }
    if source
        .path()
        .extension()
        .is_some_and(|e| e == "safetensors")
    {
        return Ok(Sniffed::Safetensors);
    }
    let mut start = [0; 9];
    let len = source.len().min(9);
    source.read_at(0, &mut start[..len as usize])?;
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Ok(Sniffed::Zip);
    }
    // A header's length, then a brace; a pickle of protocol 2 or newer cannot look so.
    if len == 9 && start[8] == b'{' && (start[0] != 0x80 || start[3..8] == [0; 5]) {
        return Ok(Sniffed::Safetensors);
    }
    match start[0] {
        0x80 | b'(' | b')' | b']' | b'}' | b'c' | b'd' | b'l' if len > 1 => Ok(Sniffed::Pickle),
        _ => Err(source.broken(
            "model file",
            "it is neither safetensors, a torch file nor a pickle; if it was downloaded, look whether it is an error \
             page",
        )),
    }
}
