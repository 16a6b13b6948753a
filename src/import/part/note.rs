//! The file beside a model that says where its parts are.

use crate::Error;
use crate::file::write_atomically;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file beside a student that says where the parts of its teacher are.
pub const NOTE: &str = "parts.toml";
const NOTE_HEAD: &str = "# Where `fewstep` finds what the model beside this file lacks; paths of the machine that it was \
                         trained on.\n";
/// What a note is called in messages.
const NOTE_NAME: &str = "note of a model's parts";

/// Where the parts of a model are, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Note {
    /// A file or folder with the autoencoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoencoder: Option<PathBuf>,
    /// A file or folder with the text encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_encoder: Option<PathBuf>,
    /// The file or folder of the model that a student of low-rank adapters is a change of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// A file or folder with the text encoder's vocabulary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<PathBuf>,
}

impl Note {
    /// The note beside a model file; an empty one if there is none.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Malformed`] if it is none.
    pub fn beside(model: &Path) -> Result<Self, Error> {
        let path = model.with_file_name(NOTE);
        if model.is_dir() || !path.is_file() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let note = toml::from_str(&text);
        note.map_err(|e: toml::de::Error| Error::malformed(path, NOTE_NAME, e.message()))
    }

    /// Writes the note into a folder, if there is something to note.
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::InvalidValue`] for a path that TOML cannot hold.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        if *self == Self::default() {
            return Ok(());
        }
        let text = toml::to_string(self);
        let text = text.map_err(|e| Error::invalid(NOTE, e, "paths of plain text"))?;
        write_atomically(&folder.join(NOTE), format!("{NOTE_HEAD}{text}").as_bytes())
    }
}
