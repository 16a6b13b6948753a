//! Pickles that are no archive.

use super::legacy;
use crate::Error;
use crate::container::format::Format;
use crate::container::pickle::{self, Arena, Id, Persistent};
use crate::container::source::Cursor;

/// A plain pickle, or a legacy torch file, which starts with one.
pub(in crate::container) fn read(arena: &mut Arena<'_>) -> Result<(Format, Id), Error> {
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
