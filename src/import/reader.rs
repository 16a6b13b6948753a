//! The containers: safetensors, zip archives of torch, plain pickles and legacy torch files.

use super::archive::Archive;
use super::pickle::{self, Arena, Id, Persistent};
use super::source::{Cursor, Source, Span};
use super::{Format, foreign, legacy};
use crate::Error;
use safetensors::tensor::Metadata;
use std::collections::BTreeMap;

/// Longest safetensors header: forty thousand tensors.
const LONGEST_HEADER: u64 = 4 << 20;

/// What a file is, by its start.
pub(super) enum Sniffed {
    Safetensors,
    Zip,
    Pickle,
}

/// Tells formats apart by their first bytes. Only what is called safetensors must be: whoever passes a pickle off as
/// that is up to no good.
pub(super) fn sniff(source: &Source) -> Result<Sniffed, Error> {
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

/// The part of a safetensors file before its tensors.
pub(super) fn header_end(source: &Source) -> Result<u64, Error> {
    if source.len() < 9 {
        return Err(source.broken("safetensors file", "it has no header"));
    }
    let mut len = [0; 8];
    source.read_at(0, &mut len)?;
    Ok(u64::from_le_bytes(len).saturating_add(8))
}

/// The header of a safetensors file, checked against its length, and its free texts.
pub(super) fn header(source: &Source) -> Result<(Metadata, BTreeMap<String, String>), Error> {
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

/// A plain pickle, or a legacy torch file, which starts with one.
pub(super) fn read_pickle(arena: &mut Arena<'_>) -> Result<(Format, Id), Error> {
    let source = arena.source;
    let mut cursor = Cursor::new(source, source.whole());
    let first = pickle::read(&mut cursor, arena, Persistent::None)?;
    if legacy::is_magic(arena, first) {
        let root = legacy::read(arena, source.whole(), false)?.root;
        return Ok((Format::TorchLegacy, root));
    }
    // Told apart from plain classes once the objects are looked at.
    Ok((Format::EdmPersistent, first))
}

/// A torch zip archive.
pub(super) fn read_zip(arena: &mut Arena<'_>) -> Result<(Format, Id), Error> {
    let source = arena.source;
    let (archive, folder, span) = open_zip(source)?;
    if let Some(order) = archive.find(&format!("{folder}byteorder")) {
        let order = source.read(Span {
            len: order.len.min(16),
            ..order
        })?;
        if order != b"little" {
            let order = String::from_utf8_lossy(&order).into_owned();
            let reason =
                format!("its byte order is {order:?}; load and save it on a little-endian machine");
            return Err(source.broken("torch zip archive", reason));
        }
    }
    let mut cursor = Cursor::new(source, span);
    let root = pickle::read(&mut cursor, arena, Persistent::Torch { nested: false })?;
    for storage in &mut arena.storages {
        // Storages of byte strings inside the pickle have their place already.
        if storage.span.is_some() {
            continue;
        }
        let name = format!("{folder}data/{}", storage.key);
        let span = archive
            .find(&name)
            .filter(|span| span.len == storage.bytes());
        if span.is_none() {
            let reason = format!("{name} with {} bytes is missing", storage.bytes());
            return Err(source.broken("torch zip archive", reason));
        }
        storage.span = span;
    }
    Ok((Format::TorchZip, root))
}

/// The archive, its one folder (with a slash), and where its pickle is.
pub(super) fn open_zip(source: &Source) -> Result<(Archive, String, Span), Error> {
    let archive = Archive::read(source)?;
    let found = archive
        .names()
        .filter(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
    let mut found: Vec<String> = found.map(str::to_string).collect();
    let (Some(name), true) = (found.pop(), found.is_empty()) else {
        let reason =
            "it is a zip archive without exactly one data.pkl; a folder of images goes to `train`";
        return Err(source.broken("torch file", reason));
    };
    let folder = name.trim_end_matches("data.pkl").to_string();
    if archive.find(&format!("{folder}constants.pkl")).is_some() {
        let reason = "it is a TorchScript program; save the module's state_dict() instead";
        return Err(source.broken("torch file", reason));
    }
    let span = archive.find(&name);
    let span = span.ok_or_else(|| source.broken("torch file", "its pickle is missing"))?;
    Ok((archive, folder, span))
}
