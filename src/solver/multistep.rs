//! What the multistep methods in lambda = -ln sigma share: how many answers a step uses, and how they are put together.

use super::{Evaluation, Step};
use crate::denoiser::threshold::{QUANTILE, dynamic_threshold};
use crate::{Error, Images};
use serde::{Deserialize, Serialize};

/// What a multistep method extrapolates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The denoised images D (`predict_x0` in the official code).
    #[default]
    Data,
    /// The noise (x - D) / sigma. The better choice for latents, which have no fixed range.
    Noise,
}

/// The settings of a multistep method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Multistep {
    /// How many answers of the model a step uses in the middle of a grid.
    pub(super) stages: usize,
    /// What the method extrapolates.
    pub(super) prediction: Prediction,
    /// Whether the steps at the end of a grid use fewer answers.
    pub(super) lower_order_final: bool,
    /// Whether denoised estimates pass through [`dynamic_threshold`].
    thresholding: bool,
}

impl Multistep {
    /// With fewer answers at the end of the grid and without thresholding.
    pub(super) fn new(stages: usize, prediction: Prediction) -> Self {
        Self {
            stages,
            prediction,
            lower_order_final: true,
            thresholding: false,
        }
    }

    /// The same with thresholding on or off.
    pub(super) fn thresholding(self, on: bool) -> Result<Self, Error> {
        if on && self.prediction == Prediction::Noise {
            return Err(Error::Incompatible {
                first: "thresholding = true".into(),
                second: "prediction = \"noise\"".into(),
                remedy: "use data prediction, or leave thresholding out".into(),
            });
        }
        Ok(Self {
            thresholding: on,
            ..self
        })
    }

    /// How many answers this step uses, with `past` evaluations at hand.
    pub(super) fn stages_now(&self, past: usize, step: Step) -> usize {
        let available = past + 1;
        if available < self.stages || !self.lower_order_final {
            available.min(self.stages)
        } else {
            self.stages.min(step.count - step.index)
        }
    }

    /// The past evaluations that this step uses, newest first.
    pub(super) fn used<'a>(&self, past: &'a [Evaluation], step: Step) -> Vec<&'a Evaluation> {
        let stages = self.stages_now(past.len(), step);
        past.iter().rev().take(stages - 1).collect()
    }

    /// `keep` times the images of `now` plus the model's answers there and in `others`, each times its weight.
    pub(super) fn combine(
        &self,
        now: &Evaluation,
        others: &[&Evaluation],
        keep: f64,
        weights: &[f64],
    ) -> Images {
        let images = match self.prediction {
            Prediction::Data => now.images.clone().mul_scalar(keep),
            // All of the images stay.
            Prediction::Noise => now.images.clone(),
        };
        let all = std::iter::once(now).chain(others.iter().copied());
        all.zip(weights)
            .fold(images, |images, (evaluation, &weight)| {
                images + self.answer(evaluation, weight)
            })
    }

    /// `weight` times what the model answered.
    fn answer(&self, evaluation: &Evaluation, weight: f64) -> Images {
        let denoised = match self.prediction {
            Prediction::Noise => return evaluation.scaled_direction(weight),
            Prediction::Data => evaluation.denoised.clone(),
        };
        let denoised = match self.thresholding {
            true => dynamic_threshold(denoised, QUANTILE),
            false => denoised,
        };
        denoised.mul_scalar(weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_steps_are_of_lower_order() {
        let stages = |method: Multistep, count: usize| -> Vec<usize> {
            let levels: Vec<f64> = (1..=count + 1).rev().map(|level| level as f64).collect();
            let step = |index: usize| {
                method.stages_now(index.min(method.stages - 1), Step::of(&levels, index))
            };
            (0..count).map(step).collect()
        };
        let third = Multistep::new(3, Prediction::Data);
        assert_eq!(stages(third, 6), [1, 2, 3, 3, 2, 1]);
        let plain = Multistep {
            lower_order_final: false,
            ..third
        };
        assert_eq!(stages(plain, 6), [1, 2, 3, 3, 3, 3]);
        let second = Multistep::new(2, Prediction::Data);
        assert_eq!(stages(second, 4), [1, 2, 2, 1]);
        // As published: order 3 does not lower a step that is still warming up.
        assert_eq!(stages(third, 2), [1, 2]);
        assert_eq!(stages(second, 2), [1, 1]);
    }
}
