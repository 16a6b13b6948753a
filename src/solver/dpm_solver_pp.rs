//! DPM-Solver++ (multistep), and its variant that extrapolates the noise.

use super::{Evaluation, Solver, Step};
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

impl Prediction {
    /// Whether dynamic thresholding may be switched `on`.
    pub(super) fn allows_thresholding(self, on: bool) -> Result<(), Error> {
        if on && self == Self::Noise {
            return Err(Error::Incompatible {
                first: "thresholding = true".into(),
                second: "prediction = \"noise\"".into(),
                remedy: "use data prediction, or leave thresholding out".into(),
            });
        }
        Ok(())
    }
}

/// How many answers of the model a multistep method uses where.
pub(super) struct Lowering {
    /// In the middle of a grid.
    pub(super) stages: usize,
    /// Whether there are fewer at its end.
    pub(super) lower_order_final: bool,
}

impl Lowering {
    /// How many this step uses, with `past` evaluations at hand.
    pub(super) fn stages_now(&self, past: usize, step: Step) -> usize {
        let available = past + 1;
        if available < self.stages || !self.lower_order_final {
            available.min(self.stages)
        } else {
            self.stages.min(step.count - step.index)
        }
    }
}

/// The exponential integrator in lambda = -ln sigma: with h the step in lambda, the model's answer is extrapolated
/// as a polynomial of degree `order` - 1 and integrated exactly. [DPM-Solver++ Alg. 2]
///
/// The third order formula of the official code takes half of the second difference that the integral asks for,
/// so that one step has error O(h^3) like the second order's, and [`order`](Solver::order) is 2. It is the default,
/// because published numbers come from it; [`corrected`](Self::corrected) gives the true third order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DpmSolverPp {
    stages: usize,
    prediction: Prediction,
    lower_order_final: bool,
    thresholding: bool,
    corrected: bool,
}

impl DpmSolverPp {
    /// The method called DPM-Solver++(1M), (2M) or (3M), with lower order at the end of the grid and without
    /// thresholding.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] unless `order` is 1, 2 or 3.
    pub fn new(order: usize, prediction: Prediction) -> Result<Self, Error> {
        if !(1..=3).contains(&order) {
            return Err(Error::invalid("order", order, "1 to 3 for DPM-Solver++"));
        }
        Ok(Self {
            stages: order,
            prediction,
            lower_order_final: true,
            thresholding: false,
            corrected: false,
        })
    }

    /// Whether the last steps use order 2 and 1, which is steadier on short grids. On by default.
    pub fn lower_order_final(mut self, on: bool) -> Self {
        self.lower_order_final = on;
        self
    }

    /// Whether every denoised estimate, the analytical one included, passes through
    /// [`dynamic_threshold`]. Off by default; right only for pixels in -1..1.
    ///
    /// # Errors
    /// [`Error::Incompatible`] with [`Prediction::Noise`], which has no denoised estimate to bound.
    pub fn thresholding(mut self, on: bool) -> Result<Self, Error> {
        self.prediction.allows_thresholding(on)?;
        self.thresholding = on;
        Ok(self)
    }

    /// Whether order 3 uses the whole second difference. Off by default, as published.
    ///
    /// # Errors
    /// [`Error::Incompatible`] with order 1 or 2, which have no second difference.
    pub fn corrected(mut self, on: bool) -> Result<Self, Error> {
        if on && self.stages != 3 {
            return Err(Error::Incompatible {
                first: "corrected = true".into(),
                second: format!("order = {}", self.stages),
                remedy: "use order 3, the only one with something to correct".into(),
            });
        }
        self.corrected = on;
        Ok(self)
    }

    /// How many answers this step uses.
    fn stages_now(&self, past: usize, step: Step) -> usize {
        let lowering = Lowering {
            stages: self.stages,
            lower_order_final: self.lower_order_final,
        };
        lowering.stages_now(past, step)
    }

    /// Adds `weight` times the extrapolated quantity to `images`.
    fn add(&self, images: Images, evaluation: &Evaluation, weight: f64) -> Images {
        let term = match self.prediction {
            Prediction::Noise => evaluation.scaled_direction(weight),
            Prediction::Data => {
                let denoised = evaluation.denoised.clone();
                let denoised = if self.thresholding {
                    dynamic_threshold(denoised, QUANTILE)
                } else {
                    denoised
                };
                denoised.mul_scalar(weight)
            }
        };
        images + term
    }

    /// How much of the images stays in a step from `now` to `to`, and the weights of the model's answers at `now`
    /// and at the `past` levels (newest first).
    fn weights(&self, now: f64, past: &[f64], to: f64) -> (f64, Vec<f64>) {
        let h = (now / to).ln();
        // Weights of the newest answer, of its first and of its second difference.
        let (keep, value, first, second) = match self.prediction {
            Prediction::Data => {
                let phi1 = (-h).exp_m1();
                let phi2 = phi1 / h + 1.0;
                let phi3 = phi2 / h - 0.5;
                (to / now, -phi1, phi2, -phi3)
            }
            Prediction::Noise => {
                let phi1 = h.exp_m1();
                let phi2 = phi1 / h - 1.0;
                let phi3 = phi2 / h - 0.5;
                (1.0, -to * phi1, -to * phi2, -to * phi3)
            }
        };
        let weights = match *past {
            [] => vec![value],
            [last] => {
                // The published method takes half of `value` where the exact integral is `first`: the same to its
                // order.
                let slope = 0.5 * value * h / (last / now).ln();
                vec![value + slope, -slope]
            }
            [last, before, ..] => {
                let (r0, r1) = ((last / now).ln() / h, (before / last).ln() / h);
                let share = r0 / (r0 + r1);
                let factor = if self.corrected { 2.0 } else { 1.0 };
                let second = factor * second / (r0 + r1);
                let newer = (first * (1.0 + share) + second) / r0;
                let older = (first * share + second) / r1;
                vec![value + newer, -newer - older, older]
            }
        };
        (keep, weights)
    }
}

impl Solver for DpmSolverPp {
    fn order(&self) -> usize {
        match self.stages {
            3 if !self.corrected => 2,
            stages => stages,
        }
    }

    fn history(&self) -> usize {
        self.stages - 1
    }

    fn step(
        &self,
        _denoise: &mut dyn FnMut(Images, f64) -> Images,
        past: &[Evaluation],
        now: &Evaluation,
        step: Step,
    ) -> Images {
        let newest_first: Vec<_> = past
            .iter()
            .rev()
            .take(self.stages_now(past.len(), step) - 1)
            .collect();
        let sigmas: Vec<_> = newest_first.iter().map(|e| e.sigma).collect();
        let (keep, weights) = self.weights(step.from, &sigmas, step.to);
        let images = match self.prediction {
            Prediction::Data => now.images.clone().mul_scalar(keep),
            Prediction::Noise => now.images.clone(),
        };
        std::iter::once(now)
            .chain(newest_first)
            .zip(weights)
            .fold(images, |images, (evaluation, weight)| {
                self.add(images, evaluation, weight)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for order in [0, 4] {
            let error = DpmSolverPp::new(order, Prediction::Data).unwrap_err();
            assert!(error.to_string().contains("1 to 3"), "{error}");
        }
        let noise = DpmSolverPp::new(2, Prediction::Noise).unwrap();
        assert!(noise.thresholding(true).is_err());
        assert!(noise.corrected(true).is_err());
    }

    #[test]
    fn the_last_steps_are_of_lower_order() {
        let stages = |solver: DpmSolverPp, count| -> Vec<usize> {
            (0..count)
                .map(|index| {
                    let step = Step {
                        from: 2.0,
                        to: 1.0,
                        index,
                        count,
                    };
                    solver.stages_now(index.min(solver.history()), step)
                })
                .collect()
        };
        let third = DpmSolverPp::new(3, Prediction::Data).unwrap();
        assert_eq!(stages(third, 6), [1, 2, 3, 3, 2, 1]);
        assert_eq!(
            stages(third.lower_order_final(false), 6),
            [1, 2, 3, 3, 3, 3]
        );
        let second = DpmSolverPp::new(2, Prediction::Data).unwrap();
        assert_eq!(stages(second, 4), [1, 2, 2, 1]);
        // As published: order 3 does not lower a step that is still warming up.
        assert_eq!(stages(third, 2), [1, 2]);
        assert_eq!(stages(second, 2), [1, 1]);
    }

    #[test]
    fn a_constant_answer_is_integrated_exactly() {
        // With D constant the step ends on the line through D, whatever the order: the weights sum to 1 - keep.
        for order in 1..=3 {
            let solver = DpmSolverPp::new(order, Prediction::Data).unwrap();
            let (keep, weights) = solver.weights(3.0, &[5.0, 11.0][..order - 1], 1.0);
            let sum: f64 = weights.iter().sum();
            assert!((keep + sum - 1.0).abs() < 1e-14, "{order}: {sum}");
        }
    }
}
