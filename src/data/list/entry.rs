//! The files in a zip archive.

use super::super::kind::is_visible;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};
use zip::ZipArchive;

/// A file is not read beyond this size, in bytes, whatever the archive promises.
const LARGEST: u64 = 1 << 28;

/// An archive that is open.
pub(super) type Archive = ZipArchive<BufReader<File>>;

/// The content of a file.
pub(super) fn whole(archive: &mut Archive, index: usize) -> Result<Vec<u8>, String> {
    read(archive, index, LARGEST)
}

/// The files in an archive that are not hidden, by name.
pub(super) fn entries(archive: &mut Archive) -> Result<BTreeMap<PathBuf, usize>, String> {
    let mut names = Vec::new();
    for index in 0..archive.len() {
        let entry = archive
            .by_index_raw(index)
            .map_err(|error| error.to_string())?;
        if entry.is_file() {
            let name = entry.name();
            let name = name.unwrap_or_else(|_| String::from_utf8_lossy(entry.name_raw()));
            names.push((name.into_owned(), index));
        }
    }
    // Some programs of Windows separate folders by backslashes.
    let backslashes = names.iter().any(|(name, _)| name.contains('\\'))
        && !names.iter().any(|(name, _)| name.contains('/'));
    let entries = names.into_iter().map(|(name, index)| match backslashes {
        true => (PathBuf::from(name.replace('\\', "/")), index),
        false => (PathBuf::from(name), index),
    });
    // Names that lead out of the archive are nobody's pictures.
    let inside = |name: &Path| {
        name.components()
            .all(|part| matches!(part, Component::Normal(_)))
    };
    Ok(entries
        .filter(|(name, _)| inside(name) && is_visible(name))
        .collect())
}

/// The first bytes of a file, `most` of them at most.
pub(super) fn read(archive: &mut Archive, index: usize, most: u64) -> Result<Vec<u8>, String> {
    let entry = archive.by_index(index).map_err(|error| error.to_string())?;
    let mut file = Vec::new();
    let read = entry.take(most).read_to_end(&mut file);
    read.map_err(|error| error.to_string())?;
    Ok(file)
}
