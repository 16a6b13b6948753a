//! Files that come with the program: in the folder `assets`, or inside the binary.

use crate::bundle::embedded;
use crate::screen::failure::wrong;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// The teacher of the demo.
pub const TEACHER: &str = "fashion-mnist-teacher.safetensors";
/// What is known about it.
pub const TEACHER_FIGURES: &str = "fashion-mnist-teacher.json";
/// The feature network that distances are measured in.
pub const FEATURES: &str = "fashion-mnist-features.safetensors";
/// Moments of the 60,000 training images.
pub const STATISTICS: &str = "fashion-mnist-statistics.safetensors";

/// A file on disk; one that came out of the binary goes away with this value.
pub struct Asset {
    path: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Asset {
    /// What the user named, or `assets/NAME`; if there is no such file, the embedded one of that name.
    pub fn find(typed: Option<&Path>, name: &str) -> anyhow::Result<Self> {
        let path = typed.map_or_else(|| Path::new("assets").join(name), Path::to_path_buf);
        let name = path
            .strip_prefix("assets")
            .ok()
            .and_then(Path::to_str)
            .unwrap_or_default();
        let embedded = embedded::find(embedded::ASSETS, name);
        match embedded {
            _ if path.exists() => Ok(Self {
                path,
                _folder: None,
            }),
            Some(bytes) => {
                let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
                let path = folder.path().join(name);
                fs_err::write(&path, bytes)?;
                Ok(Self {
                    path,
                    _folder: Some(folder),
                })
            }
            None => Err(wrong(format!("there is no file {}", path.display()))),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
