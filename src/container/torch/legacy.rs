//! torch's format before version 1.6: five pickles (a magic number, a version, the writer's machine, the object, the keys
//! of its storages), then the storages one after the other.

use crate::Error;
use crate::container::pickle::{self, Arena, FALSE, Id, Node, Persistent};
use crate::container::source::{Cursor, LazyFile, Span};
use std::collections::HashMap;

/// The number that the first pickle is.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The only version there ever was.
const VERSION: i64 = 1001;

/// An object whose storages have been found.
pub(in crate::container) struct Legacy {
    pub(in crate::container) root: Id,
}

/// Whether a first pickle is the magic number.
pub(in crate::container) fn is_magic(arena: &Arena<'_>, id: Id) -> bool {
    matches!(arena.get(id), Node::Big(bytes) if bytes.iter().eq(&MAGIC))
}

/// Whether bytes start with the pickle of the magic number, as torch writes it.
pub(in crate::container) fn starts(source: &LazyFile, span: Span) -> Result<bool, Error> {
    let mut start = [0; 14];
    if span.len < start.len() as u64 {
        return Ok(false);
    }
    source.read_at(span.start, &mut start)?;
    // PROTO and any version, then LONG1 with ten bytes.
    Ok(start[0] == 0x80 && start[2..4] == [0x8a, 10] && start[4..] == MAGIC)
}

/// Reads a stream; `nested` inside a byte string of another pickle.
pub(in crate::container) fn read(
    arena: &mut Arena<'_>,
    span: Span,
    nested: bool,
) -> Result<Legacy, Error> {
    let source = arena.source;
    let mut cursor = Cursor::new(source, span);
    let wrong = |reason: String| source.broken("legacy torch file", reason);
    let persistent = Persistent::Torch { nested };
    let mut next = |arena: &mut Arena<'_>| pickle::read(&mut cursor, arena, persistent);

    let magic = next(arena)?;
    if !is_magic(arena, magic) {
        let at = span.start;
        return Err(wrong(format!("at byte {at} there is no torch stream")));
    }
    let version = next(arena)?;
    if arena.int(version) != Some(VERSION) {
        return Err(wrong(format!("its version is not {VERSION}")));
    }
    let machine = next(arena)?;
    match arena.field(machine, "little_endian") {
        Some(FALSE) => {
            return Err(wrong(
                "it was written on a big-endian machine; load and save it on a little-endian one"
                    .into(),
            ));
        }
        None => return Err(wrong("it does not say in which byte order it is".into())),
        _ => {}
    }
    // Only storages of this stream's own objects belong to its keys.
    let before = arena.storages.len();
    let root = next(arena)?;
    let keys = next(arena)?;
    let keys = arena.items(keys).map(<[Id]>::to_vec);
    let keys = keys.ok_or_else(|| wrong("the keys of its storages are no list".into()))?;

    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, storage) in arena.storages.iter().enumerate().skip(before) {
        places.entry(storage.key.clone()).or_default().push(index);
    }
    for key in keys {
        let key = match arena.get(key) {
            Node::Text(text) => text.to_string(),
            Node::Int(number) => number.to_string(),
            _ => return Err(wrong("the key of a storage is no text".into())),
        };
        let Some(indices) = places.get(&key) else {
            return Err(wrong(format!("storage {key} is not used by any tensor")));
        };
        let count = u64::from_le_bytes(cursor.array()?);
        let storage = &arena.storages[indices[0]];
        let (scalar, said) = (storage.scalar, storage.count);
        if count != said {
            return Err(wrong(format!(
                "storage {key} holds {count} numbers where {said} were announced"
            )));
        }
        let span = cursor.span(count.saturating_mul(scalar.size() as u64))?;
        for index in indices {
            let storage = &mut arena.storages[*index];
            if (storage.scalar, storage.count) != (scalar, count) {
                return Err(wrong(format!("storage {key} is described in two ways")));
            }
            storage.span = Some(span);
        }
    }
    if let Some(storage) = arena.storages[before..].iter().find(|s| s.span.is_none()) {
        return Err(wrong(format!(
            "the bytes of storage {} are missing",
            storage.key
        )));
    }
    Ok(Legacy { root })
}

/// Notes the names in a stream.
pub(in crate::container) fn survey(arena: &mut Arena<'_>, span: Span) -> Result<(), Error> {
    let mut cursor = Cursor::new(arena.source, span);
    for _ in 0..5 {
        pickle::read(&mut cursor, arena, Persistent::Torch { nested: true })?;
    }
    Ok(())
}
