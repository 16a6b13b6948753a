//! Out again: our own file, and safetensors that PyTorch loads, tensor by tensor.

use super::scalar::Scalar;
use super::{CARD, Checkpoint, diffusers};
use crate::Error;
use crate::file::write_in_parts;
use crate::model::Card;
use crate::network::{Key, NetworkConfig};
use safetensors::tensor::{Metadata, TensorInfo as Header};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What a file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// Our file: the parameters, and the card.
    Model,
    /// What `load_state_dict(strict=True)` of the official network wants: constants as well. It is our file, too, since
    /// the card is in the header.
    StateDict {
        /// Whether the official network has a step branch although this one has none, as in the official SFD code; the
        /// branch is then zero, which changes nothing.
        step_branch: bool,
    },
    /// The file of a U-Net in a folder of the diffusers library, which wants [`diffusers_settings`] beside it. It is our
    /// file, too, since the card is in the header.
    Diffusers,
    /// Every tensor as it is, by the name the file gives it, without a card.
    Tensors,
}

/// The settings (`config.json`) of a network in a folder of the diffusers library.
///
/// # Errors
/// [`Error::Incompatible`] for a network that it has no names for: all but those that take a text, and those with a step
/// branch.
pub fn diffusers_settings(network: &NetworkConfig) -> Result<Value, Error> {
    let settings = match network {
        NetworkConfig::LatentUnet(config) if !config.step_branch => diffusers::settings(config),
        _ => None,
    };
    settings.ok_or_else(|| Error::Incompatible {
        first: "the layout of diffusers".into(),
        second: match network.has_step_branch() {
            true => "a network with a step branch".into(),
            false => "a network that is not Stable Diffusion's".into(),
        },
        remedy: match network.has_step_branch() {
            true => "fold the branch first, for one number of network calls".into(),
            false => "write another layout".into(),
        },
    })
}

/// How to write a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// What to write.
    pub layout: Layout,
    /// f32, f16 or bf16; `None` keeps what the file has (f64 weights become f32).
    pub scalar: Option<Scalar>,
}

/// A tensor to be written: under which name, and where it comes from.
struct Entry {
    name: String,
    shape: Vec<usize>,
    scalar: Scalar,
    from: From,
}

enum From {
    /// The file's tensor of this name.
    File(String),
    /// These numbers.
    Values(Vec<f32>),
    /// Nothing but zeros; made when they are written, because a step branch is large.
    Zeros,
}

/// All tensors of an export may be this many times as large as its file, since views may share their numbers.
const LARGEST: u64 = 16;

impl Export {
    /// Writes `checkpoint` to `path`, atomically; `card` is needed for all layouts but [`Layout::Tensors`].
    ///
    /// # Errors
    /// [`Error::Weights`] if the tensors do not fit the card's network, [`Error::InvalidValue`] for a type that cannot
    /// hold them, [`Error::Malformed`] or [`Error::File`].
    pub fn write(
        &self,
        checkpoint: &Checkpoint,
        card: Option<&Card>,
        path: &Path,
    ) -> Result<(), Error> {
        if let Some(scalar) = self.scalar
            && ![Scalar::F32, Scalar::F16, Scalar::BF16].contains(&scalar)
        {
            return Err(Error::invalid("dtype", scalar, "f32, f16 or bf16"));
        }
        let mut entries = match (self.layout, card) {
            (Layout::Tensors, _) => self.tensors(checkpoint)?,
            (Layout::Diffusers, Some(card)) => self.diffusers(checkpoint, card)?,
            (_, Some(card)) => self.network(checkpoint, card)?,
            (_, None) => return Err(Error::invalid("card", "missing", "the card of the model")),
        };
        // As the safetensors crate writes them: largest type first, then by name.
        entries.sort_by(|a, b| {
            let (left, right) = (a.scalar.to_safetensors(), b.scalar.to_safetensors());
            right.cmp(&left).then_with(|| a.name.cmp(&b.name))
        });
        let json = match (self.layout, card) {
            (Layout::Tensors, _) | (_, None) => None,
            (layout, Some(card)) => {
                let mut card = card.clone();
                if layout == (Layout::StateDict { step_branch: true }) {
                    card.network = card.network.with_step_branch(true);
                }
                let json = serde_json::to_string(&card);
                Some(json.map_err(|e| Error::invalid("card", e, "representable as JSON"))?)
            }
        };
        let pytorch = self.layout == Layout::Diffusers;
        let header = header(&entries, json, pytorch)?;
        write_in_parts(path, &mut |put| {
            put(&(header.len() as u64).to_le_bytes())?;
            put(&header)?;
            entries
                .iter()
                .try_for_each(|entry| put(&entry.bytes(checkpoint)?))
        })
    }

    /// Every tensor of the file.
    fn tensors(&self, checkpoint: &Checkpoint) -> Result<Vec<Entry>, Error> {
        let total: u64 = checkpoint
            .tensors
            .values()
            .map(super::TensorInfo::bytes)
            .sum();
        if total > checkpoint.size().saturating_mul(LARGEST) {
            let reason = format!("its tensors, written one by one, would be {total} bytes");
            return Err(checkpoint.source.broken("checkpoint", reason));
        }
        let entries = checkpoint.tensors.iter().map(|(name, info)| Entry {
            name: name.clone(),
            shape: info.shape.clone(),
            scalar: match self.scalar {
                Some(scalar) if info.scalar.is_float() => scalar,
                _ => info.scalar,
            },
            from: From::File(name.clone()),
        });
        Ok(entries.collect())
    }

    /// The tensors of the network, under the names of diffusers.
    fn diffusers(&self, checkpoint: &Checkpoint, card: &Card) -> Result<Vec<Entry>, Error> {
        diffusers_settings(&card.network)?;
        let names: BTreeMap<String, String> = match &card.network {
            NetworkConfig::LatentUnet(config) => diffusers::names(config).into_iter().collect(),
            _ => BTreeMap::new(),
        };
        let mut entries = self.network(checkpoint, card)?;
        for entry in &mut entries {
            if let Some(theirs) = names.get(&entry.name) {
                entry.name.clone_from(theirs);
            }
        }
        Ok(entries)
    }

    /// The tensors of the network.
    fn network(&self, checkpoint: &Checkpoint, card: &Card) -> Result<Vec<Entry>, Error> {
        let network = &card.network;
        let mut entries = Vec::new();
        let mut common = self.scalar;
        for (Key { name, shape, .. }, from) in checkpoint.matched(network)? {
            let stored = checkpoint.info(&from)?.scalar;
            if !stored.is_float() {
                let reason = format!("{from} is {stored}; weights are f16, bf16, f32 or f64");
                return Err(checkpoint.source.broken("EDM or SFD model", reason));
            }
            let scalar = self.scalar.unwrap_or(match stored {
                Scalar::F64 => Scalar::F32,
                other => other,
            });
            common.get_or_insert(scalar);
            let from = From::File(from);
            entries.push(Entry {
                name,
                shape,
                scalar,
                from,
            });
        }
        let Layout::StateDict { step_branch } = self.layout else {
            return Ok(entries);
        };
        let has_branch = network.has_step_branch();
        let official = network.with_step_branch(has_branch || step_branch);
        let added = official.keys().into_iter();
        let added = added.filter(|key| key.buffer || key.step && !has_branch);
        entries.extend(added.map(|key| Entry {
            from: match key.buffer {
                true => From::Values(network.constant(&key)),
                false => From::Zeros,
            },
            scalar: common.unwrap_or(Scalar::F32),
            name: key.name,
            shape: key.shape,
        }));
        Ok(entries)
    }
}

impl Entry {
    fn len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.scalar.size()
    }

    fn bytes(&self, checkpoint: &Checkpoint) -> Result<Vec<u8>, Error> {
        let unknown = || Error::invalid("dtype", self.scalar, "f32, f16 or bf16");
        let name = match &self.from {
            From::File(name) => name,
            From::Values(values) => return self.scalar.of_f32(values).ok_or_else(unknown),
            // In all floating-point types zero is zero bytes.
            From::Zeros => return Ok(vec![0; self.len()]),
        };
        if checkpoint.info(name)?.scalar == self.scalar {
            return checkpoint.bytes(name);
        }
        let values = checkpoint.values(name)?;
        if self.scalar == Scalar::F16
            && let Some(value) = values
                .iter()
                .find(|v| v.is_finite() && v.abs() >= F16_LIMIT)
        {
            return Err(Error::invalid(
                name.clone(),
                value,
                "below 65520 for f16; write bf16 or f32 instead",
            ));
        }
        self.scalar.of_f32(&values).ok_or_else(unknown)
    }
}

/// From here on half precision rounds to infinity.
const F16_LIMIT: f32 = 65520.0;

/// The JSON header, padded to 8 bytes.
fn header(entries: &[Entry], card: Option<String>, pytorch: bool) -> Result<Vec<u8>, Error> {
    let mut end = 0;
    let infos = entries.iter().map(|entry| {
        let start = end;
        end += entry.len();
        let info = Header {
            dtype: entry.scalar.to_safetensors(),
            shape: entry.shape.clone(),
            data_offsets: (start, end),
        };
        (entry.name.clone(), info)
    });
    let infos = infos.collect();
    let card = card.map(|json| (CARD.to_string(), json));
    // Libraries around diffusers ask for it.
    let format = pytorch.then(|| ("format".to_string(), "pt".to_string()));
    let texts: HashMap<_, _> = card.into_iter().chain(format).collect();
    let texts = (!texts.is_empty()).then_some(texts);
    let unserialisable = |e: String| Error::invalid("tensors", e, "serialisable tensors");
    let metadata = Metadata::new(texts, infos).map_err(|e| unserialisable(e.to_string()))?;
    let mut bytes = serde_json::to_vec(&metadata).map_err(|e| unserialisable(e.to_string()))?;
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}
