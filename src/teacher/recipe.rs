//! The settings of a teacher's training.

use super::TeacherChange;
use crate::Error;
use crate::denoiser::{Preconditioning, Predicted};
use crate::error::positive;
use crate::grid::LogAlphaTable;
use crate::model::Sampling;
use crate::network::NetworkConfig;
use crate::optimizer::{AdamConfig, average_decay};
use crate::setting::is_default;
use serde::{Deserialize, Serialize};

/// Everything a training run needs besides the images. [EDM Tab. 1 and App. F]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TeacherRecipe {
    /// Seed of every random draw.
    #[serde(default)]
    pub seed: u64,
    /// Images to train on, repeats counted; rounded up to whole batches.
    pub images: u64,
    /// Images an update.
    pub batch: usize,
    /// Images in memory at once; the result is that of the whole batch. All of them if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Largest learning rate.
    pub learning_rate: f64,
    /// Images over which the learning rate rises from 0.
    #[serde(default)]
    pub warmup: u64,
    /// Images after which the learning rate falls in half a cosine wave to 0 at the end; never if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_from: Option<u64>,
    /// Images after which an old weight counts half in the average.
    pub average_half_life: f64,
    /// Mean of the logarithm of the training noise level. [EDM P_mean]
    #[serde(default = "level_mean")]
    pub level_mean: f64,
    /// Standard deviation of the logarithm of the training noise level. [EDM P_std]
    #[serde(default = "level_deviation")]
    pub level_deviation: f64,
    /// Standard deviation of the images, for EDM's prediction.
    #[serde(default = "sigma_data")]
    pub sigma_data: f64,
    /// What the network learns to predict: `edm`, `noise`, `v` or `flow`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prediction: Predicted,
    /// The noise levels of a network that predicts noise or v, which is told its place among them; those of Stable Diffusion if not
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_table: Option<LogAlphaTable>,
    /// Mirror each image with probability one half.
    #[serde(default)]
    pub flip: bool,
    /// Adam's constants.
    #[serde(default)]
    pub adam: AdamConfig,
    /// The network.
    pub network: NetworkConfig,
    /// How to sample from the result; goes into its card.
    pub sampling: Sampling,
    /// What was [changed](Self::changed) on the way, in the order of rounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<TeacherChange>,
}

fn level_mean() -> f64 {
    -1.2
}

fn level_deviation() -> f64 {
    1.2
}

fn sigma_data() -> f64 {
    0.5
}

impl TeacherRecipe {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the key, its value and the allowed range, or [`Error::Incompatible`].
    pub fn check(&self) -> Result<(), Error> {
        positive("batch", self.batch as f64)?;
        positive("micro-batch", self.micro_batch.unwrap_or(1) as f64)?;
        positive("average-half-life", self.average_half_life)?;
        positive("level-deviation", self.level_deviation)?;
        positive("sigma-data", self.sigma_data)?;
        self.preconditioning()?;
        if !self.level_mean.is_finite() {
            return Err(Error::invalid("level-mean", self.level_mean, "finite"));
        }
        self.check_learning()?;
        self.sampling.check()?;
        if self.network.context_width().is_some() {
            return Err(Error::Incompatible {
                first: "a network that takes a text".into(),
                second: "training a teacher".into(),
                remedy: "images have no texts here; train an unconditional network".into(),
            });
        }
        self.network.check()
    }

    /// How the network's output relates to the clean images.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for a table beside a prediction that has none.
    pub fn preconditioning(&self) -> Result<Preconditioning, Error> {
        let table = || match &self.noise_table {
            Some(table) => Ok(table.clone()),
            None => LogAlphaTable::scaled_linear(0.00085, 0.012, 1000),
        };
        Ok(match self.prediction {
            Predicted::Epsilon => Preconditioning::Discrete(table()?),
            Predicted::Velocity => Preconditioning::Velocity(table()?),
            other if self.noise_table.is_some() => {
                return Err(Error::Incompatible {
                    first: "noise-table".into(),
                    second: format!("prediction = \"{other}\""),
                    remedy: "it is for \"noise\" and \"v\"; leave it out".into(),
                });
            }
            Predicted::Edm => Preconditioning::Edm(self.sigma_data),
            Predicted::Flow => Preconditioning::Flow,
        })
    }

    /// Images in the whole run, as the last of its changes has it.
    pub fn length(&self) -> u64 {
        let said = self.changes.iter().rev().find_map(|c| c.images);
        said.unwrap_or(self.images)
    }

    /// Updates in the whole run.
    pub fn rounds(&self) -> u64 {
        self.length().div_ceil(self.batch as u64)
    }

    /// How much of the average an update keeps. Early on the half-life is at most a twentieth of the images
    /// seen, so that the first, bad weights are soon forgotten.
    pub fn average_decay(&self, images: u64) -> f64 {
        average_decay(self.average_half_life, self.batch as f64, images as f64)
    }
}
