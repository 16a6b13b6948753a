//! Places to write to, tried before there is anything to write.

use crate::screen::failure::wrong;
use fewstep::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

/// As much as tells a full disk from one with room.
const TRIAL: usize = 16 << 10;

/// The outputs of a verb. Each is tried when it is named: its folder is made, and a file beside it written and removed. Folders
/// that were made for it and are empty in the end go away with this value.
#[derive(Debug, Default)]
pub struct Outputs {
    made: Vec<PathBuf>,
}

impl Outputs {
    /// A folder that files are written into.
    ///
    /// # Errors
    /// [`Error::File`] if that is impossible.
    pub fn folder(&mut self, path: &Path) -> anyhow::Result<()> {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        self.make(path)
            .and_then(|()| trial(path))
            .map_err(Error::file("write into", path))?;
        Ok(())
    }

    /// A file that is written, or replaced, in the end.
    ///
    /// # Errors
    /// What was typed is no file; [`Error::File`] if it cannot be written.
    pub fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        if let Ok(there) = std::fs::metadata(path)
            && !there.is_file()
        {
            let what = match there.is_dir() {
                true => "is a folder: name a file in it",
                // What is written comes under a name of its own first, and takes the place of what was there.
                false => "is no file but a device or a pipe, which would be replaced: name a file",
            };
            return Err(wrong(format!("{} {what}", path.display())));
        }
        if path.file_name().is_none() {
            return Err(wrong(format!("{} is no name of a file", path.display())));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let folder = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        self.make(folder)
            .and_then(|()| trial(folder))
            .map_err(Error::file("write", path))?;
        Ok(())
    }

    /// The same, where a file is wanted at all.
    pub fn file_if(&mut self, path: Option<&Path>) -> anyhow::Result<()> {
        path.map_or(Ok(()), |path| self.file(path))
    }

    /// Makes a folder and those above it that are not there yet.
    fn make(&mut self, path: &Path) -> std::io::Result<()> {
        let missing = path
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let mut missing: Vec<_> = missing.map(Path::to_path_buf).collect();
        std::fs::create_dir_all(path)?;
        missing.reverse();
        self.made.extend(missing);
        Ok(())
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        for folder in self.made.iter().rev() {
            // One that holds something stays.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Writes a file into a folder and removes it again. Its name is that of files that are not finished yet.
fn trial(folder: &Path) -> std::io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".fewstep-").suffix(".tmp");
    let mut file = builder.tempfile_in(folder).map_err(plain)?;
    file.write_all(&[0; TRIAL]).map_err(plain)?;
    file.as_file().sync_all()?;
    file.close().map_err(plain)
}

/// An error without the name of a file that nobody has asked for.
fn plain(error: std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        // `tempfile` names the file, and keeps what the system said as its cause.
        None => std::io::Error::new(error.kind(), error.kind().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::failure::{exit_code, one_line};

    #[test]
    fn what_can_be_written_leaves_no_trace() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        let file = root.path().join("c/d.txt");
        let kept = root.path().join("e");
        let mut outputs = Outputs::default();
        outputs.folder(&deep).unwrap();
        outputs.file(&file).unwrap();
        outputs.folder(&kept).unwrap();
        assert!(deep.is_dir() && file.parent().unwrap().is_dir() && !file.exists());
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0);
        std::fs::write(kept.join("x"), "x").unwrap();
        drop(outputs);
        let left: Vec<_> = std::fs::read_dir(root.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert!(kept.join("x").exists());
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        let mut outputs = Outputs::default();
        let below = file.join("below/it");
        for (result, status, word) in [
            (outputs.folder(&below), 1, "below"),
            (outputs.folder(&file), 1, "file"),
            (outputs.file(&below), 1, "below/it"),
            (outputs.file(root.path()), 2, "is a folder"),
            (outputs.file(Path::new("..")), 2, ".."),
        ] {
            let error = result.unwrap_err();
            assert_eq!(exit_code(&error), status, "{error}");
            assert!(one_line(&error).contains(word), "{error}");
            assert!(!one_line(&error).contains(".fewstep-"), "{error}");
        }
        #[cfg(unix)]
        {
            let error = outputs.file(Path::new("/dev/full")).unwrap_err();
            assert!(error.to_string().contains("a device"), "{error}");
            assert!(outputs.folder(Path::new("/proc/fewstep")).is_err());
        }
        // One that is there is replaced later, not now.
        outputs.file(&file).unwrap();
        drop(outputs);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    }
}
