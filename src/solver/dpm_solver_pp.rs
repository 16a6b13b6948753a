//! DPM-Solver++ (multistep), and its variant that extrapolates the noise.

use super::multistep::Multistep;
use super::{Evaluation, Prediction, Solver, Step};
use crate::{Error, Images};

/// The exponential integrator in lambda = -ln sigma: with h the step in lambda, the model's answer is extrapolated
/// as a polynomial of degree `order` - 1 and integrated exactly. [DPM-Solver++ Alg. 2]
///
/// The third order formula of the official code takes half of the second difference that the integral asks for,
/// so that one step has error O(h^3) like the second order's, and [`order`](Solver::order) is 2. It is the default,
/// because published numbers come from it; [`corrected`](Self::corrected) gives the true third order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DpmSolverPp {
    method: Multistep,
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
            method: Multistep::new(order, prediction),
            corrected: false,
        })
    }

    /// Whether the last steps use order 2 and 1, which is steadier on short grids. On by default.
    pub fn lower_order_final(mut self, on: bool) -> Self {
        self.method.lower_order_final = on;
        self
    }

    /// Whether every denoised estimate, the analytical one included, passes through
    /// [`dynamic_threshold`](crate::denoiser::threshold::dynamic_threshold). Off by default; right only for pixels in
    /// -1..1.
    ///
    /// # Errors
    /// [`Error::Incompatible`] with [`Prediction::Noise`], which has no denoised estimate to bound.
    pub fn thresholding(mut self, on: bool) -> Result<Self, Error> {
        self.method = self.method.thresholding(on)?;
        Ok(self)
    }

    /// Whether order 3 uses the whole second difference. Off by default, as published.
    ///
    /// # Errors
    /// [`Error::Incompatible`] with order 1 or 2, which have no second difference.
    pub fn corrected(mut self, on: bool) -> Result<Self, Error> {
        if on && self.method.stages != 3 {
            return Err(Error::Incompatible {
                first: "corrected = true".into(),
                second: format!("order = {}", self.method.stages),
                remedy: "use order 3, the only one with something to correct".into(),
            });
        }
        self.corrected = on;
        Ok(self)
    }

    /// How much of the images stays in a step from `now` to `to`, and the weights of the model's answers at `now`
    /// and at the `past` levels (newest first).
    fn weights(&self, now: f64, past: &[f64], to: f64) -> (f64, Vec<f64>) {
        let h = (now / to).ln();
        // Weights of the newest answer, of its first and of its second difference.
        let (keep, value, first, second) = match self.method.prediction {
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
        match self.method.stages {
            3 if !self.corrected => 2,
            stages => stages,
        }
    }

    fn history(&self) -> usize {
        self.method.stages - 1
    }

    fn step(
        &self,
        _denoise: &mut dyn FnMut(Images, f64) -> Images,
        past: &[Evaluation],
        now: &Evaluation,
        step: Step,
    ) -> Images {
        let others = self.method.used(past, step);
        let sigmas: Vec<f64> = others.iter().map(|e| e.sigma).collect();
        let (keep, weights) = self.weights(now.sigma, &sigmas, step.to);
        self.method.combine(now, &others, keep, &weights)
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
