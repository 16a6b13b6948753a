//! The card of a model file, and the model: card and weights together.

use super::file::{File, hash_file};
use crate::Error;
use crate::denoiser::Preconditioned;
use crate::grid::{SigmaGrid, Spacing};
use crate::network::{NetworkConfig, load, parameters};
use crate::solver::SolverConfig;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a model file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// Trained on images; needs a many-step sampler.
    Teacher,
    /// Distilled; samples in a few steps.
    Student,
}

/// How to sample from a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sampling {
    /// The solver.
    pub solver: SolverConfig,
    /// Number of steps.
    pub steps: usize,
    /// How the noise levels are spaced.
    pub spacing: Spacing,
    /// Largest noise level.
    pub sigma_max: f64,
    /// Smallest noise level; sampling ends there.
    pub sigma_min: f64,
    /// Whether the first step is taken without asking the model.
    pub analytic_first_step: bool,
    /// Whether the network is told the number of timestamps.
    #[serde(default)]
    pub step_condition: bool,
}

impl Sampling {
    /// Checks every value, and that the network is called at all.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] or [`Error::Incompatible`].
    pub fn check(&self) -> Result<(), Error> {
        self.grid()?;
        self.solver.build()?;
        if self.steps == 1 && self.analytic_first_step {
            return Err(Error::Incompatible {
                first: "steps = 1".into(),
                second: "analytic-first-step = true".into(),
                remedy: "the only step would not call the network; take 2 steps or more".into(),
            });
        }
        Ok(())
    }

    /// The noise levels.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for no steps or a range that is empty.
    pub fn grid(&self) -> Result<SigmaGrid, Error> {
        self.spacing
            .grid(self.steps, self.sigma_min, self.sigma_max)
    }
}

/// What a model is and where it came from. Holds no time or machine, so that equal runs give equal files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Card {
    /// Version of the file format; this library reads 1.
    pub format: u32,
    /// What the file is for.
    pub kind: Kind,
    /// The network and its sizes.
    pub network: NetworkConfig,
    /// Standard deviation of the training images.
    pub sigma_data: f64,
    /// How to sample from it.
    pub sampling: Sampling,
    /// The recipe it was made with, complete.
    pub recipe: serde_json::Value,
    /// Images (a teacher) or trajectories (a student) it was trained on.
    pub trained_on: u64,
    /// SHA-256 of the file it was distilled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Version of fewstep that wrote it.
    pub version: String,
}

impl Card {
    /// Parses the JSON text of a card; `path` is for messages.
    pub(crate) fn parse(json: &str, path: &Path) -> Result<Self, Error> {
        let malformed = |reason: String| Error::malformed(path, "fewstep model", reason);
        let card: Self = serde_json::from_str(json)
            .map_err(|e| malformed(format!("its card cannot be understood: {e}")))?;
        if card.format != 1 {
            return Err(malformed(format!(
                "its format is {}, this version reads 1",
                card.format
            )));
        }
        card.network
            .check()
            .map_err(|e| malformed(format!("its network cannot be built: {e}")))?;
        Ok(card)
    }
}

/// Card and denoiser.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is.
    pub card: Card,
    /// The network with its weights.
    pub denoiser: Preconditioned,
}

impl Model {
    /// Reads a model file and its SHA-256.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Malformed`] (not safetensors, no card, a card of another format) or
    /// [`Error::Weights`].
    pub fn read(path: &Path, device: &Device) -> Result<(Self, String), Error> {
        let file = File::read(path)?;
        let card = Self::card(&file, path)?;
        let network = card.network.init(0, device)?;
        let network = load(network, &file.tensors, &|_| false, path)?;
        let denoiser = Preconditioned::new(network, card.sigma_data);
        Ok((Self { card, denoiser }, hash_file(path)?))
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

    /// The file's contents.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the card cannot be written as JSON.
    pub fn to_file(&self) -> Result<File, Error> {
        let tensors = parameters(&self.denoiser.network);
        let json = serde_json::to_string(&self.card)
            .map_err(|e| Error::invalid("card", e, "representable as JSON"))?;
        Ok(File {
            tensors: tensors.into_iter().map(|p| (p.name, p.data)).collect(),
            json: Some(json),
            ..File::default()
        })
    }

    /// Writes the model atomically.
    ///
    /// # Errors
    /// As [`File::write`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        self.to_file()?.write(path)
    }
}
