//! A file of weights, whatever wrote it: tensors by name, and what else it says.

use super::content::{self, Content};
use super::format::{Format, Sniffed, sniff};
use super::pickle::{Arena, Global, Id, Policy};
use super::safetensors;
use super::scalar::Scalar;
use super::shard::{ORIGINALS, Shards};
use super::source::LazyFile;
use super::tensor::TensorInfo;
use super::torch::{stream, zip};
use crate::Error;
use crate::file::CARD;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// A file of weights, opened but not loaded.
#[derive(Debug)]
pub struct Checkpoint {
    /// How it is written.
    pub format: Format,
    /// Under which key of the file the weights are, such as `ema`; empty if they are the file.
    pub root: String,
    /// Class of the object that holds the weights, such as `EDMPrecond`.
    pub class: Option<String>,
    /// Class of the network inside it, such as `SongUNet`.
    pub network: Option<String>,
    /// Scalars beside the weights: `sigma_min`, `img_resolution`, `global_step`...
    pub attributes: Map<String, Value>,
    /// The arguments that the object was made with, where the file says them (`_init_kwargs`).
    pub init: Map<String, Value>,
    /// The settings of its distillation, where the file says them (`training_kwargs`).
    pub training: Map<String, Value>,
    /// Free texts in a safetensors header.
    pub metadata: BTreeMap<String, String>,
    /// Every name of Python's that the file mentions.
    pub globals: Vec<Global>,
    /// Dropout rate by class of module, where the modules say it.
    pub(crate) dropout: BTreeMap<String, f64>,
    /// Whether averaged weights are left aside.
    pub(crate) raw: bool,
    /// Whether its network predicts the velocity, where that is known better than the file says.
    pub(crate) velocity: Option<bool>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    /// Factors of weights that are stored without them, by the weight's name: the name of the tensor that holds them, which is no
    /// weight itself, and where it is.
    pub(super) scales: BTreeMap<String, (String, TensorInfo)>,
    /// Why its weights cannot be read, where they are quantised in another way.
    pub(super) quantised: Option<String>,
    /// The file, or the index of its shards.
    pub(crate) source: LazyFile,
    pub(super) shards: Shards,
}

impl Checkpoint {
    /// Nothing known and no tensors.
    pub(super) fn empty(format: Format, source: LazyFile) -> Self {
        Self {
            format,
            root: String::new(),
            class: None,
            network: None,
            attributes: Map::new(),
            init: Map::new(),
            training: Map::new(),
            metadata: BTreeMap::new(),
            globals: Vec::new(),
            dropout: BTreeMap::new(),
            raw: false,
            velocity: None,
            tensors: BTreeMap::new(),
            scales: BTreeMap::new(),
            quantised: None,
            source,
            shards: Shards::default(),
        }
    }

    /// As [`read`](Self::read), of a file in memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, Error> {
        let checkpoint = Self::parse(LazyFile::memory(bytes, path))?;
        if let Some(name) = checkpoint.metadata.get(ORIGINALS) {
            let reason = format!(
                "some of its tensors are written for diffusers, and as they were in {name} beside it: read it from its folder"
            );
            return Err(checkpoint.source.broken("model in memory", reason));
        }
        checkpoint.with_scales()
    }

    pub(super) fn parse(source: LazyFile) -> Result<Self, Error> {
        match sniff(&source)? {
            Sniffed::Safetensors => Self::safetensors(source),
            Sniffed::Zip => Self::pickled(source, zip::read),
            Sniffed::Pickle => Self::pickled(source, stream::read),
        }
    }

    fn safetensors(source: LazyFile) -> Result<Self, Error> {
        let (header, metadata) = safetensors::header(&source)?;
        let data = safetensors::header_end(&source)?;
        let mut tensors = BTreeMap::new();
        for (name, info) in header.tensors() {
            let scalar = Scalar::of_safetensors(info.dtype).ok_or_else(|| {
                let reason = format!("tensor {name} is of type {:?}", info.dtype);
                source.broken("safetensors file", reason)
            })?;
            let (from, to) = info.data_offsets;
            // Validated by the crate: the sizes fit, and the last tensor ends with the file.
            let span = source.span(data.saturating_add(from as u64), (to - from) as u64);
            let span = span.ok_or_else(|| source.broken("safetensors file", "it is cut off"))?;
            tensors.insert(
                name,
                TensorInfo::contiguous(scalar, info.shape.clone(), span),
            );
        }
        Ok(Self {
            metadata,
            tensors,
            ..Self::empty(Format::Safetensors, source)
        })
    }

    fn pickled(
        source: LazyFile,
        read: impl FnOnce(&mut Arena<'_>) -> Result<(Format, Id), Error>,
    ) -> Result<Self, Error> {
        let mut arena = Arena::new(&source, Policy::Refuse);
        let (format, top) = read(&mut arena)?;
        let content = content::read(&arena, top)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in &content.tensors {
            let view = &arena.views[*view];
            let span = arena.storages[view.storage].span;
            let span = span.ok_or_else(|| {
                source.broken("checkpoint", format!("the bytes of {name} are missing"))
            })?;
            tensors.insert(name.clone(), TensorInfo::of(view, span));
        }
        let globals = arena.globals;
        let Content {
            root,
            class,
            persistent,
            network,
            attributes,
            init,
            training,
            dropout,
            ..
        } = content;
        let format = match format {
            Format::EdmPersistent if !persistent => Format::SfdPlain,
            other => other,
        };
        Ok(Self {
            root,
            class,
            network,
            attributes,
            init,
            training,
            globals,
            dropout,
            tensors,
            ..Self::empty(format, source)
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// Every tensor, by the name the file gives it.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// Whether the file is one of ours: its header holds a card.
    pub fn has_card(&self) -> bool {
        self.metadata.contains_key(CARD)
    }

    /// The numbers of a tensor as they are stored, row-major, little-endian: those of a weight of eight bits may have a
    /// [factor](Self::scaled) besides.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::InvalidValue`] for a name that the file does not have.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.info(name)?.read(self.holder(name))
    }

    /// The file that holds a tensor.
    pub(super) fn holder(&self, name: &str) -> &LazyFile {
        self.shards.holder(name).unwrap_or(&self.source)
    }

    /// Bytes of the file, or of all its shards.
    pub fn size(&self) -> u64 {
        self.shards.size().unwrap_or(self.source.len())
    }

    /// SHA-256 of the file, in hexadecimal; of shards one of their names and hashes.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn hash(&self) -> Result<String, Error> {
        match self.shards.hash() {
            Some(hash) => hash,
            None => self.source.hash(),
        }
    }

    /// The numbers of a tensor, row-major, in single precision, with their factor if they are stored without it.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`Error::Malformed`] if they are not floating-point numbers.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, Error> {
        let info = self.info(name)?;
        let values = info.scalar.to_f32(&self.bytes(name)?);
        let values = values.ok_or_else(|| {
            let reason = format!(
                "{name} is {}; weights are f8, f16, bf16, f32 or f64",
                info.scalar
            );
            self.source.broken("checkpoint", reason)
        })?;
        self.scaled_values(name, values)
    }

    pub(crate) fn info(&self, name: &str) -> Result<&TensorInfo, Error> {
        let info = self.tensors.get(name);
        info.ok_or_else(|| Error::invalid("tensor", name, "the name of a tensor in the file"))
    }
}
