//! Embeddings of prompts on disk: computed once, and read a few at a time after that.

use crate::Error;
use crate::denoiser::ContextSource;
use crate::file::hash_bytes;
use crate::import::TextEncoderFile;
use crate::model::File;
use crate::text::{TextReader, Tokenizer, Truncation};
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// To how many digits embeddings are rounded before anything is done with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EmbeddingType {
    /// Not at all: single precision, 237 kB for a prompt of Stable Diffusion.
    #[default]
    F32,
    /// Half precision.
    F16,
}

impl EmbeddingType {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
        }
    }
}

/// A folder of embeddings, a file for each prompt, in a sub-folder for each text encoder and tokenizer.
///
/// A file's name is the hash of prompt, text encoder and tokenizer. Files that are broken are computed and written again.
/// Several processes may use one folder, since files appear whole or not at all. Nothing is ever deleted: remove the
/// folder, or a part of it, at any time.
#[derive(Clone, Debug)]
pub struct EmbeddingCache {
    folder: PathBuf,
    kind: EmbeddingType,
}

/// What a cache has been used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompts that were there.
    pub read: u64,
    /// Prompts that were computed and written.
    pub written: u64,
    /// Files that were broken, and are mended.
    pub broken: u64,
}

/// The text in a file's header.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Of what.
    key: String,
    /// SHA-256 of the numbers.
    embedding: String,
}

/// Tells programs that make backups to leave the folder out (bford.info/cachedir).
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# Embeddings of prompts, made by `fewstep`. May be deleted.\n";
/// The tensor in a file.
const TENSOR: &str = "embedding";
/// Digits of a hash in the name of a folder.
const SHORT: usize = 16;

impl EmbeddingCache {
    /// Uses, and if need be creates, a folder.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be created.
    pub fn open(folder: &Path, kind: EmbeddingType) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        let tag = folder.join("CACHEDIR.TAG");
        if !tag.exists() {
            std::fs::write(&tag, TAG).map_err(Error::file("write", &tag))?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            kind,
        })
    }

    /// Embeds prompts, those that are not there yet with the text encoder, which is loaded only if there are any, and
    /// dropped at the end. `progress` is called with the number of prompts that are done. An interrupted run goes on
    /// where it stopped.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if there are no prompts, [`Error::Incompatible`] if the tokenizer is another text
    /// encoder's, and what loading and writing gives.
    pub fn embed(
        &self,
        prompts: &[String],
        tokenizer: &Tokenizer,
        encoder: &TextEncoderFile,
        device: &Device,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Embeddings, Error> {
        if prompts.is_empty() {
            return Err(Error::invalid("number of prompts", 0, "at least 1"));
        }
        let config = encoder.config();
        if tokenizer.length() > config.positions {
            return Err(Error::Incompatible {
                first: format!("a tokenizer of {} ids", tokenizer.length()),
                second: format!("a text encoder of {} positions", config.positions),
                remedy: "use the tokenizer of the same model".into(),
            });
        }
        let digest = encoder.digest()?;
        let model = hash_bytes(format!("{digest} {}", tokenizer.digest()).as_bytes());
        let mut all = Embeddings {
            folder: self.folder.join(model.get(..SHORT).unwrap_or(&model)),
            keys: Vec::new(),
            shape: encoder.shape(tokenizer.length()),
            kind: self.kind,
            truncated: Vec::new(),
            usage: Usage::default(),
        };
        let mut loaded: Option<TextReader> = None;
        for (index, prompt) in prompts.iter().enumerate() {
            let tokens = tokenizer.encode(prompt);
            all.truncated
                .extend(tokens.truncation.map(|cut| (index, cut)));
            let key = serde_json::json!({
                "format": 1,
                "version": env!("CARGO_PKG_VERSION"),
                "encoder": digest,
                "tokenizer": tokenizer.digest(),
                "length": tokenizer.length(),
                "type": self.kind,
                "prompt": prompt,
            });
            let key = key.to_string();
            let path = all.path(&key);
            all.keys.push(key);
            let there = path.exists();
            if there && all.data(index).is_ok() {
                all.usage.read += 1;
            } else {
                let encoder = match &mut loaded {
                    Some(encoder) => encoder,
                    none => none.insert(encoder.load(device)?),
                };
                // One by one: the result may not depend on the other prompts.
                let embedding = encoder.read(tokenizer, &tokens)?;
                all.write(index, embedding)?;
                all.usage.written += 1;
                all.usage.broken += u64::from(there);
            }
            progress(index + 1);
        }
        Ok(all)
    }
}

/// The embeddings of a list of prompts, on disk.
#[derive(Clone, Debug)]
pub struct Embeddings {
    folder: PathBuf,
    keys: Vec<String>,
    shape: [usize; 2],
    kind: EmbeddingType,
    truncated: Vec<(usize, Truncation)>,
    usage: Usage,
}

impl Embeddings {
    /// How many prompts there are.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// `[tokens and what is behind them, width]` of each.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The prompts that were cut off, by index, and where.
    pub fn truncated(&self) -> &[(usize, Truncation)] {
        &self.truncated
    }

    /// How many of the whole list were there already.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// SHA-256 of what all of them depend on, in their order: it tells whether a run that goes on has the same prompts.
    pub fn digest(&self) -> String {
        let names: Vec<String> = self
            .keys
            .iter()
            .map(|key| hash_bytes(key.as_bytes()))
            .collect();
        hash_bytes(names.join("\n").as_bytes())
    }

    /// Some of the prompts, as a list of their own.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for an empty range, or one that goes beyond the end.
    pub fn part(&self, range: Range<usize>) -> Result<Self, Error> {
        let keys = self.keys.get(range.clone()).filter(|keys| !keys.is_empty());
        let keys = keys.ok_or_else(|| {
            let expected = format!("within 0..{}, and not empty", self.keys.len());
            Error::invalid("range of prompts", format!("{range:?}"), expected)
        })?;
        let inside = self.truncated.iter().filter(|(i, _)| range.contains(i));
        Ok(Self {
            keys: keys.to_vec(),
            truncated: inside.map(|(i, cut)| (i - range.start, *cut)).collect(),
            ..self.clone()
        })
    }

    /// The embeddings of some prompts, `[indices, tokens, width]` in f32.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for no index or one that does not exist, [`Error::File`] or [`Error::Malformed`] if a file
    /// was removed or changed since.
    pub fn batch(&self, indices: &[usize], device: &Device) -> Result<Tensor<3>, Error> {
        let mut values = Vec::with_capacity(indices.len() * self.shape[0] * self.shape[1]);
        for index in indices {
            values.extend(self.data(*index)?.convert::<f32>().iter::<f32>());
        }
        if indices.is_empty() {
            return Err(Error::invalid("number of prompts", 0, "at least 1"));
        }
        let shape = [indices.len(), self.shape[0], self.shape[1]];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    fn path(&self, key: &str) -> PathBuf {
        let name = hash_bytes(key.as_bytes());
        self.folder.join(format!("{name}.safetensors"))
    }

    /// The numbers of one prompt, checked.
    fn data(&self, index: usize) -> Result<TensorData, Error> {
        let key = self
            .keys
            .get(index)
            .ok_or_else(|| Error::invalid("prompt", index, format!("below {}", self.keys.len())))?;
        let path = self.path(key);
        let mut file = File::read(&path)?;
        let header = file.json.as_deref().map(serde_json::from_str::<Header>);
        let data = file.tensors.remove(TENSOR);
        let (Some(Ok(header)), Some(data)) = (header, data) else {
            return Err(broken(&path, "it has no header or no embedding"));
        };
        let fits = data.shape().as_slice() == self.shape && data.dtype() == self.kind.dtype();
        if header.key != *key || !fits || header.embedding != hash_bytes(data.as_bytes()) {
            return Err(broken(&path, "its content is not what its header says"));
        }
        Ok(data)
    }

    fn write(&self, index: usize, embedding: Tensor<3>) -> Result<(), Error> {
        let key = &self.keys[index];
        let path = self.path(key);
        let [rows, width] = self.shape;
        let data = embedding
            .reshape([rows, width])
            .into_data_dtype(self.kind.dtype());
        let header = Header {
            key: key.clone(),
            embedding: hash_bytes(data.as_bytes()),
        };
        let json = serde_json::to_string(&header);
        let file = File {
            tensors: BTreeMap::from([(TENSOR.to_string(), data)]),
            json: Some(json.map_err(|e| Error::invalid("key", e, "representable as JSON"))?),
            metadata: BTreeMap::new(),
        };
        let bytes = file.to_bytes()?;
        std::fs::create_dir_all(&self.folder).map_err(Error::file("create", &self.folder))?;
        // Not synced: what a power cut leaves is found out by its hash.
        let mut out = tempfile::Builder::new()
            .prefix(".fewstep-")
            .tempfile_in(&self.folder)
            .map_err(Error::file("create a file in", &self.folder))?;
        out.write_all(&bytes).map_err(Error::file("write", &path))?;
        out.persist(&path)
            .map_err(|e| Error::file("rename a file to", &path)(e.error))?;
        Ok(())
    }
}

/// Read anew each time, so that a list of any length takes no memory.
impl ContextSource for Embeddings {
    fn dims(&self) -> [usize; 3] {
        [self.keys.len(), self.shape[0], self.shape[1]]
    }

    fn digest(&self) -> String {
        Self::digest(self)
    }

    fn rows(&self, indices: &[usize], device: &Device) -> Result<Tensor<3>, Error> {
        self.batch(indices, device)
    }
}

fn broken(path: &Path, reason: &str) -> Error {
    let reason = format!("{reason}; remove it, and it is computed again");
    Error::malformed(path, "embedding of a prompt", reason)
}
