//! Folders and their names.

use std::path::{Path, PathBuf};

/// The folders inside a folder, by name.
pub fn folders(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(path)? {
        let inside = entry?.path();
        if inside.is_dir() {
            found.push(inside);
        }
    }
    found.sort();
    Ok(found)
}

/// What a folder or file is called.
pub fn name(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    match whole.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => path.display().to_string(),
    }
}
