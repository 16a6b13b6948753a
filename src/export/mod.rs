//! Out again: our own file, and files that PyTorch and the diffusers library load, tensor by tensor.
//!
//! A new way out is a file here: what it writes as tensors goes through `safetensors`.

mod diffusers;
mod onnx;
pub mod pipeline;
mod safetensors;
pub mod single;

pub use diffusers::diffusers_settings;
pub use onnx::{Call, Calls, Onnx, OnnxGraph};

use crate::Error;
use crate::container::{Checkpoint, Scalar, TensorInfo};
use crate::file::CARD;
use crate::model::Card;
use crate::network::Key;
use safetensors::{Entry, From, Texts};
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

/// How to write a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// What to write.
    pub layout: Layout,
    /// f32, f16 or bf16; `None` keeps what the file has (f64 weights become f32).
    pub scalar: Option<Scalar>,
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
        let entries = match (self.layout, card) {
            (Layout::Tensors, _) => self.tensors(checkpoint)?,
            (Layout::Diffusers, Some(card)) => self.diffusers(checkpoint, card)?,
            (_, Some(card)) => self.network(checkpoint, card)?,
            (_, None) => return Err(Error::invalid("card", "missing", "the card of the model")),
        };
        let mut texts = Texts::new();
        if let Some(card) = card.filter(|_| self.layout != Layout::Tensors) {
            let mut card = card.clone();
            if self.layout == (Layout::StateDict { step_branch: true }) {
                card.network = card.network.with_step_branch(true);
            }
            texts.insert(CARD.to_string(), card.json()?);
        }
        if self.layout == Layout::Diffusers {
            texts.extend([safetensors::pytorch()]);
        }
        safetensors::write(checkpoint, entries, &texts, path)
    }

    /// Every tensor of the file.
    fn tensors(&self, checkpoint: &Checkpoint) -> Result<Vec<Entry>, Error> {
        let total: u64 = checkpoint.tensors().values().map(TensorInfo::bytes).sum();
        if total > checkpoint.size().saturating_mul(LARGEST) {
            let reason = format!("its tensors, written one by one, would be {total} bytes");
            return Err(checkpoint.source.broken("checkpoint", reason));
        }
        let entries = checkpoint.tensors().iter().map(|(name, info)| Entry {
            name: name.clone(),
            shape: info.shape.clone(),
            scalar: match self.scalar {
                Some(scalar) if info.scalar.is_float() => scalar,
                // Its factor is multiplied in.
                None if checkpoint.is_scaled(name) => Scalar::F32,
                _ => info.scalar,
            },
            from: From::File(name.clone()),
        });
        Ok(entries.collect())
    }

    /// The tensors of the network, under the names of diffusers.
    fn diffusers(&self, checkpoint: &Checkpoint, card: &Card) -> Result<Vec<Entry>, Error> {
        let names = diffusers::names(&card.network)?;
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
                let reason = format!("{from} is {stored}; weights are f8, f16, bf16, f32 or f64");
                return Err(checkpoint.source.broken("EDM or SFD model", reason));
            }
            let scalar = self.scalar.unwrap_or(match stored {
                Scalar::F64 => Scalar::F32,
                // With its factor a number has more digits than half precision.
                _ if checkpoint.is_scaled(&from) => Scalar::F32,
                // Exact, and nothing else reads weights of eight bits.
                small if small.is_small() => Scalar::F16,
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
