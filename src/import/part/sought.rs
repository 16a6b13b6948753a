//! One part of a latent diffusion model in a file or folder of several: where it is, and its weights under official names.

use crate::Error;
use crate::container::{Checkpoint, shard};
use crate::import::{foreign, setting};
use crate::parameter::{Named, compare, replace};
use burn::tensor::{Device, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the `config.json` beside a part says.
#[derive(Debug)]
pub(super) struct Settings {
    /// Null if there is none.
    pub(super) values: Value,
    /// Where it is, for messages.
    pub(super) path: PathBuf,
}

impl Settings {
    /// Those of a file without any.
    pub(super) fn null(&self) -> Self {
        Self {
            values: Value::Null,
            path: self.path.clone(),
        }
    }
}

/// What is looked for.
#[derive(Debug)]
pub(super) struct Sought {
    /// `autoencoder` or `text encoder`.
    pub(super) part: &'static str,
    /// Its folder in a diffusers model.
    pub(super) folder: &'static str,
    /// Names of files with weights in that folder, the best first.
    pub(super) files: &'static [&'static str],
    /// The end of a name that tells that it is there.
    pub(super) landmark: &'static str,
    /// What comes before the names of the part in official files of the whole.
    pub(super) prefix: &'static str,
}

impl Sought {
    /// Opens a file, or the file in a folder of this part or of a diffusers model, and the folder's `config.json`.
    pub(super) fn open(&self, path: &Path) -> Result<(Checkpoint, Settings), Error> {
        let mut path = path.to_path_buf();
        if path.is_dir() {
            let folders = [path.join(self.folder), path.clone()];
            let mut inside = folders.iter();
            path = match inside.find_map(|folder| shard::find(folder, self.files)) {
                Some(file) => file,
                None => {
                    let sought = format!("{0}/{1} and no {1}", self.folder, self.files.join(", "));
                    return Err(self.missing(&path, sought));
                }
            };
        }
        let beside = path.with_file_name("config.json");
        let settings = Settings {
            values: match shard::is_named(&path, self.files) {
                true => setting::read(&beside)?,
                false => Value::Null,
            },
            path: beside,
        };
        Ok((Checkpoint::read(&path)?, settings))
    }

    /// The error for a file or folder without this part.
    pub(super) fn missing(&self, path: &Path, sought: String) -> Error {
        Error::MissingPart {
            path: path.to_path_buf(),
            part: self.part,
            sought,
            remedy: format!(
                "give it separately: a file that has it, or the `{}` folder of a diffusers model",
                self.folder
            ),
        }
    }

    /// What comes before the part's names in a checkpoint.
    pub(super) fn prefix<'a>(&self, checkpoint: &'a Checkpoint) -> Result<&'a str, Error> {
        let names = checkpoint.tensors().keys();
        let starts = names.filter_map(|name| name.strip_suffix(self.landmark));
        let whole = starts.filter(|start| start.is_empty() || start.ends_with('.'));
        // The official one, else the shortest.
        let best = whole.min_by_key(|start| (*start != self.prefix, start.len()));
        best.ok_or_else(|| {
            let tensor = format!("tensor {}{}", self.prefix, self.landmark);
            let sought = match foreign::weights(checkpoint.tensors()) {
                Some(what) => format!("{tensor}: {what}"),
                None => tensor,
            };
            self.missing(checkpoint.path(), sought)
        })
    }
}

/// The tensors of a part.
#[derive(Debug)]
pub(super) struct PartTensors {
    pub(super) checkpoint: Checkpoint,
    /// The file's name of each tensor, by official name.
    pub(super) names: BTreeMap<String, String>,
}

impl PartTensors {
    /// Dimensions by official name.
    pub(super) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let tensors = self.checkpoint.tensors();
        let pairs = self.names.iter();
        pairs
            .filter_map(|(name, from)| Some((name.clone(), tensors.get(from)?.shape.clone())))
            .collect()
    }

    /// Compares with what a module has, and with the size of the file.
    pub(super) fn check(&self, keys: &[(String, Vec<usize>)]) -> Result<(), Error> {
        // Diffusers has matrices where official files have 1x1 kernels.
        let fits = |ours: &[usize], file: &[usize]| {
            ours == file || matches!(ours, [_, _, 1, 1]) && file == &ours[..2]
        };
        compare(keys, self.shapes(), self.checkpoint.path(), fits)?;
        let mut bytes = 0u64;
        for from in self.names.values() {
            bytes = bytes.saturating_add(self.checkpoint.info(from)?.bytes());
        }
        let source = &self.checkpoint.source;
        let size = self.checkpoint.size();
        if bytes > size {
            let reason = format!("its weights are {bytes} bytes in a file of {size}");
            return Err(source.broken("model file", reason));
        }
        Ok(())
    }

    /// The module with these weights, one tensor in memory at a time besides it.
    pub(super) fn fill<M: Named>(&self, module: M, device: &Device) -> Result<M, Error> {
        let mut failure = None;
        let module = replace(module, &mut |_, name, _| {
            let from = self.names.get(name)?;
            match self.checkpoint.values(from) {
                Ok(values) if failure.is_none() => {
                    Some(Tensor::from_data(values.as_slice(), device))
                }
                Ok(_) => None,
                Err(error) => {
                    failure.get_or_insert(error);
                    None
                }
            }
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(module),
        }
    }
}
