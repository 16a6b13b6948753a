//! Zip archives of torch 1.6 and newer.

use super::archive::Archive;
use crate::Error;
use crate::container::format::Format;
use crate::container::pickle::{self, Arena, Id, Persistent};
use crate::container::source::{Cursor, LazyFile, Span};

/// A torch zip archive.
pub(in crate::container) fn read(arena: &mut Arena<'_>) -> Result<(Format, Id), Error> {
    let source = arena.source;
    let (archive, folder, span) = open(source)?;
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
pub(in crate::container) fn open(source: &LazyFile) -> Result<(Archive, String, Span), Error> {
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
