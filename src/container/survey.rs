//! Which names of Python's a file mentions, without loading it.

use super::format::{Sniffed, sniff};
use super::pickle::{self, Arena, Global, Persistent, Policy};
use super::shard;
use super::source::{Cursor, LazyFile};
use super::torch::{legacy, zip};
use crate::Error;
use std::path::Path;

/// Every name of Python's that a file mentions, in the order of the file, whether it is on the list of names that
/// weights need or not; none for safetensors. Nothing is loaded and nothing interpreted.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Malformed`] if it is of no format that we read or broken before the
/// first name. What is broken further on ends the list.
pub fn globals(path: &Path) -> Result<Vec<Global>, Error> {
    if let Some(index) = shard::index_of(path)? {
        let files = shard::files(&index)?.into_iter();
        let found: Result<Vec<Vec<Global>>, Error> =
            files.map(|file| survey(&LazyFile::open(&file)?)).collect();
        return Ok(found?.concat());
    }
    survey(&LazyFile::open(path)?)
}

/// As [`globals`], of a file in memory; `path` is for messages.
///
/// # Errors
/// As [`globals`].
pub fn globals_in(bytes: Vec<u8>, path: &Path) -> Result<Vec<Global>, Error> {
    survey(&LazyFile::memory(bytes, path))
}

fn survey(source: &LazyFile) -> Result<Vec<Global>, Error> {
    let mut arena = Arena::new(source, Policy::Survey);
    let outcome = match sniff(source)? {
        Sniffed::Safetensors => Ok(()),
        Sniffed::Zip => {
            let (_, _, span) = zip::open(source)?;
            let mut cursor = Cursor::new(source, span);
            let persistent = Persistent::Torch { nested: false };
            pickle::read(&mut cursor, &mut arena, persistent).map(|_| ())
        }
        Sniffed::Pickle => pickles(&mut arena),
    };
    match outcome {
        Err(error) if arena.globals.is_empty() => Err(error),
        _ => Ok(arena.globals),
    }
}

/// A plain pickle, or the five of a legacy torch file.
fn pickles(arena: &mut Arena<'_>) -> Result<(), Error> {
    let source = arena.source;
    let mut cursor = Cursor::new(source, source.whole());
    let first = pickle::read(&mut cursor, arena, Persistent::None)?;
    if legacy::is_magic(arena, first) {
        legacy::survey(arena, source.whole())?;
    }
    Ok(())
}
