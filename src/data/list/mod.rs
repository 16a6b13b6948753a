//! What is at a path: IDX files, a folder or an archive; which pictures of it are taken, and of which class.

mod archive;
mod entry;
mod folder;
mod labels;
pub(super) mod layout;
pub(super) mod listing;
mod order;
mod part;

use super::{Split, foreign, idx};
use crate::Error;
use listing::Found;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What images are read from.
const ACCEPTED: &str = "Images are read from IDX files (as MNIST has them), from a folder of pictures, or from a zip archive of one";

/// Looks at what is at a path.
pub(super) fn find(path: &Path, split: Split) -> Result<Found, Error> {
    let metadata = std::fs::metadata(path).map_err(Error::file("read", path))?;
    let idx = |images: PathBuf| Found::Idx {
        images,
        taken: PathBuf::new(),
    };
    if metadata.is_dir() {
        return match idx::find(path, split) {
            Some(images) => Ok(idx(images)),
            None => folder::find(path, split),
        };
    }
    if let Some(kind) = foreign::kind(path) {
        let reason = format!("it is {kind}. {ACCEPTED}");
        return Err(Error::malformed(path, "image data set", reason));
    }
    match is_zip(path)? {
        true => archive::find(path, split),
        false => Ok(idx(path.to_owned())),
    }
}

/// Whether a file is a zip archive, by its name or its content.
fn is_zip(path: &Path) -> Result<bool, Error> {
    if path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("zip"))
    {
        return Ok(true);
    }
    let mut head = Vec::new();
    let file = File::open(path).map_err(Error::file("read", path))?;
    file.take(4)
        .read_to_end(&mut head)
        .map_err(Error::file("read", path))?;
    Ok(head == *b"PK\x03\x04")
}
