//! Files that are whole or not there: what is written replaces what was there in one step.

use crate::Error;
use std::io::Write;
use std::path::Path;
use tempfile::NamedTempFile;

/// Writes to a temporary file in the same folder, syncs it, and renames it over `path`.
///
/// # Errors
/// [`Error::File`] for a full disk or an unwritable folder; what was at `path` is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_in_parts(path, &mut |put| put(bytes))
}

/// Takes the next part of a file.
pub(crate) type Put<'a> = dyn FnMut(&[u8]) -> Result<(), Error> + 'a;

/// As [`write_atomically`], of a file whose bytes `parts` gives one after the other.
pub(crate) fn write_in_parts(
    path: &Path,
    parts: &mut dyn FnMut(&mut Put<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    replace_file(path, &mut |file| {
        parts(&mut |bytes| file.write_all(bytes).map_err(Error::file("write", path)))
    })
}

/// As [`write_atomically`], of a file that `fill` writes, by its handle or by its name.
pub(crate) fn replace_file(
    path: &Path,
    fill: &mut dyn FnMut(&mut NamedTempFile) -> Result<(), Error>,
) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".fewstep-").suffix(".tmp");
    let mut file = builder
        .tempfile_in(folder)
        .map_err(Error::file("create a file in", folder))?;
    fill(&mut file)?;
    // By its name: what has it now need not be what was opened.
    std::fs::File::open(file.path())
        .and_then(|file| file.sync_all())
        .map_err(Error::file("write", path))?;
    #[cfg(unix)]
    {
        // A temporary file is private; what replaces a model file should be readable as the old one was.
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_or(0o644, |m| m.permissions().mode());
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), mode).map_err(Error::file("write", path))?;
    }
    file.persist(path)
        .map_err(|e| Error::file("rename a file to", path)(e.error))?;
    // The rename itself must survive a power cut as well.
    #[cfg(unix)]
    std::fs::File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(Error::file("write", folder))?;
    Ok(())
}
