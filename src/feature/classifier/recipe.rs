//! Settings of the training.

use super::network::FeatureConfig;
use super::task::Task;
use crate::Error;
use crate::data::Dataset;
use crate::error::positive;
use serde::{Deserialize, Serialize};

/// How to train a feature network. The result is a function of the recipe and the data only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClassifierRecipe {
    /// What is learnt to be told apart.
    #[serde(default, skip_serializing_if = "Task::is_usual")]
    pub task: Task,
    /// Key of every random number: initial weights, order of the data, flips and shifts.
    pub seed: u64,
    /// Passes over the data, 1 to 1000.
    pub epochs: u64,
    /// Images shown in all, at least 1, instead of so many passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// Images a step, 1 to 65536.
    pub batch: usize,
    /// Largest learning rate, positive: reached after 2 % of the steps, then falling to zero along a cosine.
    pub learning_rate: f64,
    /// Whether each image is mirrored left to right with probability 1/2.
    pub flip: bool,
    /// Images are shifted by up to this many pixels in each direction, 0 to 8.
    pub shift: u32,
    /// Whether the convolutions are trained with batch norms behind them, which are folded into them in the end. [Ioffe &
    /// Szegedy 2015]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch_norm: bool,
    /// Channels of the three convolutions.
    pub widths: [usize; 3],
    /// Number of features.
    pub features: usize,
}

impl ClassifierRecipe {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the setting.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=1000).contains(&self.epochs) {
            return Err(Error::invalid("epochs", self.epochs, "in 1..=1000"));
        }
        if !(1..=65536).contains(&self.batch) {
            return Err(Error::invalid("batch", self.batch, "in 1..=65536"));
        }
        if self.images == Some(0) {
            return Err(Error::invalid("images", 0, "at least 1"));
        }
        positive("learning-rate", self.learning_rate)?;
        if self.shift > 8 {
            return Err(Error::invalid("shift", self.shift, "in 0..=8 pixels"));
        }
        Ok(())
    }

    /// The sizes of the network for these data.
    pub fn network(&self, data: &Dataset) -> FeatureConfig {
        let [channels, size, _] = data.shape();
        FeatureConfig {
            size,
            channels,
            widths: self.widths,
            features: self.features,
            classes: self.task.answers(data),
        }
    }

    /// Steps of the whole training.
    pub fn steps(&self, data: &Dataset) -> u64 {
        let images = self.images.unwrap_or(self.epochs * data.len() as u64);
        images.div_ceil(self.batch as u64)
    }

    /// The learning rate of a step, counted from 0.
    pub(super) fn learning_rate(&self, step: u64, steps: u64) -> f64 {
        let warm = (0.02 * steps as f64).max(1.0);
        let now = step as f64 + 0.5;
        if now < warm {
            self.learning_rate * now / warm
        } else {
            let done = (now - warm) / (steps as f64 - warm).max(1.0);
            self.learning_rate * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done.min(1.0)))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::feature) const RECIPE: ClassifierRecipe = ClassifierRecipe {
        task: Task::Classes,
        seed: 1,
        epochs: 12,
        images: None,
        batch: 16,
        learning_rate: 0.01,
        flip: true,
        shift: 1,
        batch_norm: false,
        widths: [4, 4, 8],
        features: 8,
    };

    #[test]
    fn the_learning_rate_rises_then_falls_to_zero() {
        let rates: Vec<f64> = (0..100)
            .map(|step| RECIPE.learning_rate(step, 100))
            .collect();
        let highest = rates.iter().copied().fold(0.0, f64::max);
        assert!(rates[0] < 0.3 * highest && (0.0099..=0.01).contains(&highest));
        assert!(rates[3..].windows(2).all(|w| w[0] > w[1]));
        assert!(rates[99] > 0.0 && rates[99] < 1e-5);
    }
}
