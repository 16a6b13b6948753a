//! The card of a model file, and the model: card and weights together.

use super::file::{File, Value, write_values};
use crate::Error;
use crate::denoiser::{Guided, Preconditioned, Preconditioning};
use crate::file::{hash_bytes, hash_file};
use crate::grid::{SigmaGrid, Spacing};
use crate::network::{NetworkConfig, gather, load, parameters};
use crate::solver::SolverConfig;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
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

impl Kind {
    /// The name of the file that a run leaves in its folder.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Teacher => "teacher.safetensors",
            Self::Student => "student.safetensors",
        }
    }
}

/// What a file of ours is by its card: `teacher`, `student`, `features`, `statistics`, `latents` or `training state`.
pub fn kind_name(card: &serde_json::Value) -> Option<&'static str> {
    match card["kind"].as_str() {
        Some("teacher") => Some("teacher"),
        Some("student") => Some("student"),
        Some("features") => Some("features"),
        Some("moments") => Some("statistics"),
        Some("latents") => Some("latents"),
        _ if card.get("round").is_some() && card.get("recipe").is_some() => Some("training state"),
        _ => None,
    }
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
    /// Whether the network is told the number of timestamps, N = steps + 1. [SFD Sec. 3.3]
    #[serde(default)]
    pub step_condition: bool,
    /// The smallest and the largest number of steps that the model was distilled for, where there is more than one;
    /// `steps` is then the number to use if none is asked for. [SFD Sec. 3.3]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_range: Option<[usize; 2]>,
    /// How closely a class or a text is followed; 1 is no guidance, and any other weight doubles the work of a call.
    /// [CFG Eq. 6]
    #[serde(default = "unguided", skip_serializing_if = "is_unguided")]
    pub guidance: f64,
}

/// The weight that guides nowhere.
fn unguided() -> f64 {
    1.0
}

// Serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn is_unguided(weight: &f64) -> bool {
    *weight == 1.0
}

/// Checks the weight of a guidance.
pub(crate) fn check_guidance(name: &str, weight: f64) -> Result<(), Error> {
    if weight.is_finite() && weight >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid(name, weight, "0 or more; 1 is no guidance"))
}

impl Sampling {
    /// Checks every value, and that the network is called at all.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] or [`Error::Incompatible`].
    pub fn check(&self) -> Result<(), Error> {
        self.grid()?;
        self.solver.build()?;
        check_guidance("guidance", self.guidance)?;
        let range = self.allowed_steps();
        if range.is_empty() || *range.start() == 0 {
            let value = format!("{:?}", self.step_range.unwrap_or_default());
            let expected = "two positive numbers, the smaller one first";
            return Err(Error::invalid("step-range", value, expected));
        }
        if self.steps.min(*range.start()) == 1 && self.analytic_first_step {
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

    /// The numbers of steps that the model was made for: `step_range`, or `steps` alone.
    pub fn allowed_steps(&self) -> RangeInclusive<usize> {
        let [smallest, largest] = self.step_range.unwrap_or([self.steps; 2]);
        smallest..=largest
    }

    /// Network calls for one batch, called NFE in the literature.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the solver cannot be built.
    pub fn evaluations(&self) -> Result<usize, Error> {
        let solver = self.solver.build()?;
        Ok(solver.evaluations(self.steps, self.analytic_first_step))
    }

    /// The smallest and the largest number of network calls that the model was made for.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the solver cannot be built.
    pub fn allowed_evaluations(&self) -> Result<RangeInclusive<usize>, Error> {
        let solver = self.solver.build()?;
        let of = |steps: usize| solver.evaluations(steps, self.analytic_first_step);
        let steps = self.allowed_steps();
        Ok(of(*steps.start())..=of(*steps.end()))
    }

    /// What the network is told of the number of steps: the number of *timestamps*, if anything. [SFD Sec. 3.3]
    pub fn told_steps(&self) -> Option<usize> {
        self.step_condition.then_some(self.steps + 1)
    }
}

impl Card {
    /// How to sample with another number of network calls than the card's own.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the range if a student was not distilled for this number, or if no number of
    /// steps of the solver has it.
    pub fn sampling_with(&self, evaluations: usize) -> Result<Sampling, Error> {
        let sampling = &self.sampling;
        let per_step = sampling.solver.build()?.evaluations_per_step();
        let free = usize::from(sampling.analytic_first_step);
        let wanted = Sampling {
            steps: evaluations.saturating_add(free) / per_step,
            ..sampling.clone()
        };
        let exact = evaluations > 0 && wanted.evaluations()? == evaluations;
        let made_for = sampling.allowed_steps().contains(&wanted.steps);
        if self.kind == Kind::Student && !(exact && made_for) {
            let (smallest, largest) = sampling.allowed_evaluations()?.into_inner();
            let range = match smallest == largest {
                true => format!("{smallest}, the number that this student was distilled for"),
                false => format!("{smallest} to {largest}, which this student was distilled for"),
            };
            return Err(Error::invalid("nfe", evaluations, range));
        }
        if !exact {
            let solver = sampling.solver;
            // Of the numbers that there are, the nearest two.
            let below = (evaluations.saturating_add(free) / per_step).max(1 + free);
            let [less, more] =
                [below, below.saturating_add(1)].map(|steps| steps.saturating_mul(per_step) - free);
            let range = format!(
                "a number that {solver} can have, such as {less} or {more}: {per_step} a step, less {free}"
            );
            return Err(Error::invalid("nfe", evaluations, range));
        }
        Ok(wanted)
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
    /// How the network's output relates to the clean images.
    #[serde(flatten)]
    pub preconditioning: Preconditioning,
    /// How to sample from it.
    pub sampling: Sampling,
    /// The recipe it was made with, complete.
    pub recipe: serde_json::Value,
    /// Images (a teacher) or trajectories (a student) it was trained on.
    pub trained_on: u64,
    /// Names of the classes, in the order of their numbers; empty where nobody has given any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// SHA-256 of the file it was distilled, or converted, from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Version of fewstep that wrote it.
    pub version: String,
}

impl Card {
    /// Whether the model makes latents, which an autoencoder turns into pictures: those of discrete noise levels do.
    pub fn is_latent(&self) -> bool {
        matches!(self.preconditioning, Preconditioning::Discrete(_))
    }

    /// Whether the model takes a text.
    pub fn takes_text(&self) -> bool {
        self.network.context_width().is_some()
    }

    /// Parses the JSON text of a card; `path` is for messages.
    pub(crate) fn parse(json: &str, path: &Path) -> Result<Self, Error> {
        let malformed = |reason: String| Error::malformed(path, "fewstep model", reason);
        let card: Self = serde_json::from_str(json).map_err(|e| {
            // Another kind's card has other keys, and what is wrong with them would say less.
            let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
            malformed(match kind_name(&value) {
                None | Some("teacher" | "student") => {
                    format!("its card cannot be understood: {e}")
                }
                Some("training state") => {
                    "its card is that of training state which does not say its model: go on with its run by --resume, \
                     for a round or more, and it will"
                        .into()
                }
                Some(kind) => format!("its card is that of {kind}, not of a model"),
            })
        })?;
        if card.format != 1 {
            return Err(malformed(format!(
                "its format is {}, this version reads 1",
                card.format
            )));
        }
        card.network
            .check()
            .map_err(|e| malformed(format!("its network cannot be built: {e}")))?;
        let (names, classes) = (card.class_names.len(), card.network.classes());
        if names > 0 && names != classes {
            return Err(malformed(format!(
                "its card names {names} classes, but its network has {classes}"
            )));
        }
        if card.sampling.step_condition && !card.network.has_step_branch() {
            return Err(malformed(
                "its card has `step-condition` = true, but its network has no step branch".into(),
            ));
        }
        Ok(card)
    }
}

/// What messages call a model that was read from no file.
pub(crate) const IN_MEMORY: &str = "model in memory";

/// Card and denoiser.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is.
    pub card: Card,
    /// The network with its weights.
    pub denoiser: Preconditioned,
}

/// A recipe as cards and states hold it.
pub(crate) fn recipe_json<R: Serialize>(recipe: &R) -> Result<serde_json::Value, Error> {
    serde_json::to_value(recipe).map_err(|e| Error::invalid("recipe", e, "representable as JSON"))
}

impl Model {
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
        let network = card.network.blank(device)?;
        let network = load(network, &file.tensors, &|_| false, path)?;
        let denoiser = Preconditioned::new(network, card.preconditioning.clone());
        Ok(Self { card, denoiser })
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
    pub fn guided(&self) -> Guided<&Preconditioned> {
        Guided {
            denoiser: &self.denoiser,
            weight: self.card.sampling.guidance,
        }
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
        let json = serde_json::to_string(&self.card)
            .map_err(|e| Error::invalid("card", e, "representable as JSON"))?;
        let values = gather(&self.denoiser.network).into_iter();
        let values = values.filter_map(|p| Some((p.name, Value::Live(p.tensor?, p.shape))));
        write_values(path, &values.collect(), &json)
    }
}
