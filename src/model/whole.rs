//! The model: card and weights together.

use super::card::Card;
use super::file::{File, Value, write_values};
use crate::Error;
use crate::denoiser::{Guided, Preconditioned};
use crate::file::{hash_bytes, hash_file};
use crate::network::{Network, gather, load, parameters};
use burn::tensor::{DType, Device};
use serde::Serialize;
use std::path::Path;

/// What messages call a model that was read from no file.
pub(crate) const IN_MEMORY: &str = "model in memory";

/// Card and network.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is.
    pub card: Card,
    /// The network of the card, with its weights.
    pub network: Network,
    /// Type of the activations inside the network; f32 in files.
    pub compute: DType,
}

/// A recipe as cards and states hold it.
pub(crate) fn recipe_json<R: Serialize>(recipe: &R) -> Result<serde_json::Value, Error> {
    serde_json::to_value(recipe).map_err(|e| Error::invalid("recipe", e, "representable as JSON"))
}

impl Model {
    /// A model that computes in f32.
    pub fn new(card: Card, network: Network) -> Self {
        Self {
            card,
            network,
            compute: DType::F32,
        }
    }

    /// The network as a denoiser, in the way that the card says; the weights are the same, not a copy.
    pub fn denoiser(&self) -> Preconditioned {
        Preconditioned {
            network: self.network.clone(),
            preconditioning: self.card.answer.preconditioning.clone(),
            compute: self.compute,
        }
    }

    /// Reads a model file and its SHA-256.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Malformed`] (not safetensors, no card, a card of another format) or
    /// [`Error::Weights`].
    pub fn read(path: &Path, device: &Device) -> Result<(Self, String), Error> {
        let file = File::read(path)?;
        Ok((Self::of_file(&file, path, device)?, hash_file(path)?))
    }

    /// As [`read`](Self::read), of a file in memory, such as one that was compiled in or downloaded.
    /// [`import::open_bytes`](crate::import::open_bytes) takes files of other kinds, too.
    ///
    /// # Errors
    /// As [`read`](Self::read), with `model in memory` for a path.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<(Self, String), Error> {
        let path = Path::new(IN_MEMORY);
        let file = File::from_bytes(bytes, path)?;
        Ok((Self::of_file(&file, path, device)?, hash_bytes(bytes)))
    }

    /// The model that an opened file holds; `path` is for messages.
    fn of_file(file: &File, path: &Path, device: &Device) -> Result<Self, Error> {
        let card = Self::card(file, path)?;
        card.check_whole(path)?;
        let network = card.network.blank(device)?;
        let network = load(network, &file.tensors, &|_| false, path)?;
        Ok(Self::new(card, network))
    }

    /// Parses the card of an opened file; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn card(file: &File, path: &Path) -> Result<Card, Error> {
        let malformed = |reason: String| Error::malformed(path, "fewstep model", reason);
        let json = file.json.as_ref().ok_or_else(|| {
            malformed(
                "it has no card (metadata key `fewstep`), so nothing says which network it is for"
                    .into(),
            )
        })?;
        Card::parse(json, path)
    }

    /// The denoiser with the guidance of its card. Without something to follow in the condition, or to move away from, it
    /// is the denoiser alone.
    pub fn guided(&self) -> Guided<Preconditioned> {
        Guided {
            denoiser: self.denoiser(),
            weight: self.card.sampling.guidance,
        }
    }

    /// The file's contents; of a network with adapters only what its base does not have.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the card cannot be written as JSON.
    pub fn to_file(&self) -> Result<File, Error> {
        let network = &self.network;
        let own = network.own();
        let tensors = parameters(network).into_iter().zip(own);
        let tensors = tensors.filter(|(_, own)| *own);
        let json = self.card.json()?;
        Ok(File {
            tensors: tensors.map(|(p, _)| (p.name, p.data)).collect(),
            json: Some(json),
            ..File::default()
        })
    }

    /// Writes the model atomically.
    ///
    /// # Errors
    /// As [`File::write`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let json = self.card.json()?;
        let network = &self.network;
        let values = gather(network).into_iter().zip(network.own());
        let values = values.filter(|(_, own)| *own);
        let values = values.filter_map(|(p, _)| Some((p.name, Value::Live(p.tensor?, p.shape))));
        write_values(path, &values.collect(), &json)
    }
}
