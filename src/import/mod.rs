//! Weights from elsewhere: EDM and SFD pickles, torch files and safetensors, read as data.
//!
//! Python executes whatever a pickle names when it opens one. Here nothing is executed: a small machine
//! builds values, the names that a file mentions must be on a short list, and everything is checked against the size of
//! the file before memory is taken. Tensors stay in the file until they are asked for.
//!
//! [`open`] reads a model file of any kind; [`Checkpoint`] is what is known about one; [`globals`] lists the names that
//! a file mentions without loading it; [`Export`] writes a checkpoint as our file, or for PyTorch. [`AutoencoderFile`] and
//! [`TextEncoderFile`] find the parts of latent diffusion models in a file or folder, [`Parts`] those of a model.

mod archive;
pub(crate) mod autoencoder;
mod card;
mod content;
mod diffusers;
mod export;
mod foreign;
mod infer;
mod json;
mod latent;
mod legacy;
mod network;
mod part;
mod parts;
mod pickle;
mod reader;
mod scalar;
mod setting;
mod shard;
mod source;
mod survey;
mod tensor;
mod text_encoder;

pub use autoencoder::AutoencoderFile;
pub use diffusers::{FILE as DIFFUSERS_FILE, SETTINGS as DIFFUSERS_SETTINGS};
pub use export::{Export, Layout, diffusers_settings};
pub use parts::{NOTE, Note, Parts, places};
pub use pickle::{Array, Global, pickled_arrays};
pub(crate) use pickle::{numbers, row_major};
pub use scalar::Scalar;
pub use survey::{globals, globals_in};
pub use tensor::TensorInfo;
pub use text_encoder::TextEncoderFile;

use crate::Error;
use crate::model::{Card, IN_MEMORY, Model};
use burn::tensor::Device;
use content::Content;
use pickle::{Arena, Id, Policy};
use reader::Sniffed;
use serde_json::{Map, Value};
use shard::Shards;
use source::Source;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Our own, or anybody's safetensors.
    Safetensors,
    /// An EDM pickle: objects of `torch_utils.persistence`, storages inline.
    EdmPersistent,
    /// A pickle of plain classes, as the official SFD code writes it.
    SfdPlain,
    /// A zip archive of torch 1.6 or newer.
    TorchZip,
    /// torch before 1.6.
    TorchLegacy,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::EdmPersistent => "EDM pickle",
            Self::SfdPlain => "SFD pickle",
            Self::TorchZip => "torch zip archive",
            Self::TorchLegacy => "legacy torch file",
        })
    }
}

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
    dropout: Option<f64>,
    /// Whether averaged weights are left aside.
    raw: bool,
    tensors: BTreeMap<String, TensorInfo>,
    /// The file, or the index of its shards.
    source: Source,
    shards: Shards,
}

/// The metadata key of our card.
const CARD: &str = "fewstep";

impl Checkpoint {
    /// Nothing known and no tensors.
    fn empty(format: Format, source: Source) -> Self {
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
            dropout: None,
            raw: false,
            tensors: BTreeMap::new(),
            source,
            shards: Shards::default(),
        }
    }

    /// As [`read`](Self::read), of a file in memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, Error> {
        Self::parse(Source::memory(bytes, path))
    }

    fn parse(source: Source) -> Result<Self, Error> {
        match reader::sniff(&source)? {
            Sniffed::Safetensors => Self::safetensors(source),
            Sniffed::Zip => Self::pickled(source, reader::read_zip),
            Sniffed::Pickle => Self::pickled(source, reader::read_pickle),
        }
    }

    fn safetensors(source: Source) -> Result<Self, Error> {
        let (header, metadata) = reader::header(&source)?;
        let data = reader::header_end(&source)?;
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
        source: Source,
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

    /// The numbers of a tensor, row-major, little-endian.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::InvalidValue`] for a name that the file does not have.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Error> {
        let holder = self.shards.holder(name).unwrap_or(&self.source);
        self.info(name)?.read(holder)
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

    /// The numbers of a tensor, row-major, in single precision.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`Error::Malformed`] if they are not floating-point numbers.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, Error> {
        let info = self.info(name)?;
        let values = info.scalar.to_f32(&self.bytes(name)?);
        values.ok_or_else(|| {
            let reason = format!(
                "{name} is {}; weights are f16, bf16, f32 or f64",
                info.scalar
            );
            self.source.broken("checkpoint", reason)
        })
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, Error> {
        let info = self.tensors.get(name);
        info.ok_or_else(|| Error::invalid("tensor", name, "the name of a tensor in the file"))
    }
}

/// As [`open`], of a file in memory.
///
/// # Errors
/// As [`open`], with `model in memory` for a path.
pub fn open_bytes(bytes: Vec<u8>, device: &Device) -> Result<(Model, String), Error> {
    let checkpoint = Checkpoint::from_bytes(bytes, Path::new(IN_MEMORY))?;
    let (card, hash) = checkpoint.described()?;
    Ok((checkpoint.model(card, device)?, hash))
}

/// Reads a model file of any kind, and its SHA-256: ours as it is, others as [`Checkpoint::card`] says.
///
/// # Errors
/// As [`Checkpoint::read`] and [`Checkpoint::model`].
pub fn open(path: &Path, device: &Device) -> Result<(Model, String), Error> {
    let checkpoint = Checkpoint::read(path)?;
    let (card, hash) = checkpoint.described()?;
    Ok((checkpoint.model(card, device)?, hash))
}

impl Checkpoint {
    /// The card and the file's SHA-256, which a foreign file's card repeats as where it came from.
    ///
    /// # Errors
    /// As [`card`](Self::card), and [`Error::File`].
    pub fn described(&self) -> Result<(Card, String), Error> {
        let mut card = self.card()?;
        let hash = self.hash()?;
        if let (false, Value::Object(recipe)) = (self.has_card(), &mut card.recipe) {
            recipe.insert("sha256".into(), hash.clone().into());
        }
        Ok((card, hash))
    }
}
