//! Folders that are whole or not there.

use crate::Error;
use std::path::{Path, PathBuf};

/// Lets `fill` fill a folder beside `path`, and gives it that name when it is full. What had the name before is then gone.
///
/// # Errors
/// Those of `fill`, and [`Error::File`]; what was at `path` is then untouched.
pub(crate) fn replace_folder(
    path: &Path,
    fill: &mut dyn FnMut(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    // Of a symbolic link, what it leads to.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
    let fresh = || -> Result<tempfile::TempDir, Error> {
        let mut builder = tempfile::Builder::new();
        let made = builder
            .prefix(".fewstep-")
            .suffix(".tmp")
            .tempdir_in(parent);
        made.map_err(Error::file("create a folder in", parent))
    };
    let new = fresh()?;
    fill(new.path())?;
    #[cfg(unix)]
    {
        // A temporary folder is private; this one should be as the old one was.
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).map_or(0o755, |m| m.permissions().mode());
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(new.path(), mode).map_err(Error::file("write", &path))?;
    }
    let renamed = |from: &Path, to: &Path| {
        std::fs::rename(from, to).map_err(Error::file("rename a folder to", to))
    };
    let old: Option<(tempfile::TempDir, PathBuf)> = match path.exists() {
        false => None,
        true => {
            let home = fresh()?;
            let aside = home.path().join("old");
            renamed(&path, &aside)?;
            Some((home, aside))
        }
    };
    if let Err(error) = renamed(new.path(), &path) {
        if let Some((_, aside)) = &old {
            renamed(aside, &path)?;
        }
        return Err(error);
    }
    // It has another name now.
    let _ = new.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_replaced_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        let put = |text: &'static str| {
            move |folder: &Path| {
                std::fs::write(folder.join(text), text).map_err(Error::file("write", folder))
            }
        };
        replace_folder(&path, &mut put("first")).unwrap();
        assert!(path.join("first").is_file());
        let failed = replace_folder(&path, &mut |folder| {
            put("second")(folder)?;
            Err(Error::invalid("x", 1, "2"))
        });
        assert!(failed.is_err() && path.join("first").is_file() && !path.join("second").exists());
        replace_folder(&path, &mut put("third")).unwrap();
        assert!(path.join("third").is_file() && !path.join("first").exists());
        // Nothing is left beside it.
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
