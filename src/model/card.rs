//! The card of a model file.

use super::adaptation::Adaptation;
use super::answer::Answer;
use super::kind::{Kind, kind_name};
use super::sampling::Sampling;
use crate::Error;
use crate::file::short;
use crate::network::NetworkConfig;
use serde::{Deserialize, Serialize};
use std::path::Path;

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
    /// What the network makes.
    #[serde(flatten)]
    pub answer: Answer,
    /// How to sample from it.
    pub sampling: Sampling,
    /// The recipe it was made with, complete.
    pub recipe: serde_json::Value,
    /// Images (a teacher) or trajectories (a student) it was trained on.
    pub trained_on: u64,
    /// Names of the classes, in the order of their numbers; empty where nobody has given any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// What it is a change of, where the file holds low-rank adapters only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adaptation>,
    /// SHA-256 of the file it was distilled, or converted, from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Version of fewstep that wrote it.
    pub version: String,
}

impl Card {
    /// The card as files hold it.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a number that JSON does not have.
    pub(crate) fn json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|e| Error::invalid("card", e, "representable as JSON"))
    }

    /// Refuses a file that holds adapters only where a whole model is wanted; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::MissingPart`] that says of which base.
    pub fn check_whole(&self, path: &Path) -> Result<(), Error> {
        let Some(adapter) = &self.adapter else {
            return Ok(());
        };
        let hash = short(&adapter.base);
        Err(Error::MissingPart {
            path: path.to_path_buf(),
            part: "base model",
            sought: format!("file with SHA-256 {hash}... that its adapters are a change of"),
            remedy: "name it with --base, or make a whole model of both: `fewstep convert --merge FILE OUT --base BASE`".into(),
        })
    }

    /// Whether the model makes latents, which an autoencoder turns into pictures.
    pub fn is_latent(&self) -> bool {
        self.answer.latent.is_some()
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
        if let Some(adapter) = &card.adapter {
            adapter
                .check()
                .map_err(|e| malformed(format!("its adapters cannot be used: {e}")))?;
        }
        Ok(card)
    }
}
