//! The pictures of a folder or an archive by their names: which are taken, and how to get at them.

use super::super::Skipped;
use super::super::kind::Kind;
use super::super::report::{Report, left_out};
use super::entry::{self, Archive};
use super::layout::Layout;
use crate::Error;
use crate::file::hash_bytes;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What was found at a path.
pub(in crate::data) enum Found {
    /// The image file of IDX, and its folder inside the path where that is deeper.
    Idx {
        images: PathBuf,
        taken: PathBuf,
    },
    Files(Box<Listing>),
}

/// All files, sorted into pictures and others with their kinds.
#[derive(Debug, Default)]
pub(in crate::data) struct Names {
    pub(in crate::data) pictures: Vec<PathBuf>,
    pub(in crate::data) others: Vec<(PathBuf, String)>,
}

impl Names {
    pub(super) fn sort(files: impl Iterator<Item = (PathBuf, Kind)>) -> Self {
        let mut names = Self::default();
        for (name, kind) in files {
            match kind {
                Kind::Picture(_) | Kind::Damaged => names.pictures.push(name),
                Kind::Other(kind) => names.others.push((name, kind)),
            }
        }
        names
    }
}

/// Where the files are.
#[derive(Debug)]
pub(in crate::data) enum Place {
    Folder(PathBuf),
    Archive {
        path: PathBuf,
        archive: Mutex<Archive>,
        entries: BTreeMap<PathBuf, usize>,
    },
}

/// The pictures that are taken, and after them what could not be followed.
#[derive(Debug)]
pub(in crate::data) struct Listing {
    place: Place,
    names: Names,
    layout: Layout,
    broken: Vec<Skipped>,
}

/// What is made of a file, by its name and its content.
type Decode<'a, T> = dyn Fn(&Path, &[u8]) -> Result<T, String> + Sync + 'a;

impl Listing {
    pub(super) fn new(place: Place, names: Names, layout: Layout, broken: Vec<Skipped>) -> Self {
        Self {
            place,
            names,
            layout,
            broken,
        }
    }

    /// How many there are, those that could not be followed counted.
    pub(in crate::data) fn len(&self) -> usize {
        self.layout.items.len() + self.broken.len()
    }

    /// What is known before a picture is read.
    pub(in crate::data) fn report(&self) -> Report {
        Report {
            taken: self.layout.taken.clone(),
            is_part: self.layout.is_part,
            labels: self.layout.labels,
            unused_labels: self.layout.unused_labels,
            left_out: left_out(&self.names.others, &self.layout),
            ..Report::default()
        }
    }

    pub(in crate::data) fn into_layout(self) -> Layout {
        self.layout
    }

    /// The name of a picture.
    pub(in crate::data) fn name(&self, index: usize) -> Option<&Path> {
        let (place, _) = self.layout.items.get(index)?;
        Some(&self.names.pictures[*place])
    }

    /// What tells it from others: the names that are taken, with the size and the time of each file, or of the archive.
    pub(in crate::data) fn fingerprint(&self) -> Result<String, Error> {
        let mut text = String::new();
        let mut add = |path: &Path, name: &Path| -> Result<(), Error> {
            let about = std::fs::metadata(path).map_err(Error::file("read", path))?;
            let time = about.modified().ok();
            let time = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            text += &format!("{name:?} {} {time:?}\n", about.len());
            Ok(())
        };
        let names = self.layout.items.iter();
        let names = names.map(|(index, _)| &self.names.pictures[*index]);
        match &self.place {
            Place::Folder(folder) => {
                for name in names {
                    add(&folder.join(name), name)?;
                }
            }
            Place::Archive { path, .. } => {
                add(path, Path::new(""))?;
                names.for_each(|name| text += &format!("{name:?}\n"));
            }
        }
        Ok(hash_bytes(text.as_bytes()))
    }

    /// Reads some files, in parallel, by a function of name and content.
    pub(in crate::data) fn read<T: Send>(
        &self,
        indices: &[usize],
        decode: &Decode<'_, T>,
    ) -> Vec<Result<T, Skipped>> {
        let read = |name: PathBuf, file: Result<Vec<u8>, String>| {
            let decoded = file.and_then(|file| decode(&name, &file));
            decoded.map_err(|reason| Skipped { name, reason })
        };
        let name = |index: usize| Some(&self.names.pictures[self.layout.items.get(index)?.0]);
        let broken = |index: usize| Err(self.broken[index - self.layout.items.len()].clone());
        match &self.place {
            Place::Folder(folder) => {
                let each = indices.par_iter().map(|index| match name(*index) {
                    Some(name) => {
                        let name = folder.join(name);
                        let file = std::fs::read(&name).map_err(|error| error.to_string());
                        read(name, file)
                    }
                    None => broken(*index),
                });
                each.collect()
            }
            Place::Archive {
                path,
                archive,
                entries,
            } => {
                // A thread that panicked leaves an archive that can still be read from the start of any entry.
                let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
                let file = |index: &usize| {
                    let name = name(*index)?;
                    Some((path.join(name), entry::whole(&mut archive, entries[name])))
                };
                let files: Vec<_> = indices.iter().map(file).collect();
                let each = files
                    .into_par_iter()
                    .zip(indices)
                    .map(|(file, index)| match file {
                        Some((name, file)) => read(name, file),
                        None => broken(*index),
                    });
                each.collect()
            }
        }
    }
}
