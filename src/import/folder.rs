//! What stands for a model: a file, or a folder that it is in.

use super::diffusers::FILES;
use super::foreign;
use crate::Error;
use crate::container::Checkpoint;
use crate::container::shard::find;
use crate::model::Kind;
use std::path::Path;

impl Checkpoint {
    /// Opens a file, or the U-Net of a folder that the diffusers library wrote. Of weights in several files any of them, or
    /// their index (`*.index.json`), stands for all.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Malformed`] if it is of no format that we read, or broken,
    /// [`Error::ForeignCode`] if it mentions names that have nothing to do with weights.
    pub fn read(path: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            let folders = [path.join("unet"), path.to_path_buf()];
            let mut inside = folders.iter();
            let found = inside.find_map(|folder| find(folder, &FILES));
            let mut products = [Kind::Student, Kind::Teacher]
                .map(|kind| path.join(kind.file_name()))
                .into_iter();
            if found.is_none()
                && let Some(model) = products.find(|file| file.is_file())
            {
                let reason = format!(
                    "it is the folder of a run; give the model in it, {}",
                    model.display()
                );
                return Err(Error::malformed(path, "folder of diffusers", reason));
            }
            if found.is_none()
                && let Some(what) = foreign::folder(path)
            {
                return Err(Error::malformed(path, "model", what));
            }
            let missing = || folders[0].join(FILES[0]);
            return Self::read(&found.unwrap_or_else(missing));
        }
        Self::open(path)
    }
}
