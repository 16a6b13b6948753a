//! UniPC: a predictor and a corrector for the price of one evaluation.

use super::multistep::Multistep;
use super::quadrature::weights;
use super::{Evaluation, Prediction, Solver, Step};
use crate::{Error, Images};
use serde::{Deserialize, Serialize};

/// The function B(h) of the published method. It matters where only two answers are interpolated: their difference has
/// half of B(h) as its weight there. With three or more it cancels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UniPcVariant {
    /// B(h) = h.
    Bh1,
    /// B(h) = e^h - 1.
    #[default]
    Bh2,
}

/// The exponential integrator in lambda = -ln sigma that goes each step twice: first as a predictor, with the polynomial
/// through the last `order` answers of the model; then, as soon as the model has answered at the predicted images, as a
/// corrector, with the polynomial through that answer, too. The corrected images are not evaluated again: the answer at
/// the predicted ones is kept. The last step has no corrector, because nothing is evaluated at its end. [UniPC Sec. 3]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UniPc {
    method: Multistep,
    variant: UniPcVariant,
}

impl UniPc {
    /// The method called UniPC-1, UniPC-2 or UniPC-3, with lower order at the end of the grid and without thresholding.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] unless `order` is 1, 2 or 3.
    pub fn new(order: usize, prediction: Prediction, variant: UniPcVariant) -> Result<Self, Error> {
        if !(1..=3).contains(&order) {
            return Err(Error::invalid("order", order, "1 to 3 for UniPC"));
        }
        Ok(Self {
            method: Multistep::new(order, prediction),
            variant,
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

    /// How much of the images stays in a step, and the weights of the model's answers at `from` and at the `others`.
    fn weights(&self, from: f64, others: &[f64], to: f64) -> (f64, Vec<f64>) {
        let h = (from / to).ln();
        // What a constant answer gives, and the integral's density over sigma.
        let (keep, total, density): (_, _, &dyn Fn(f64) -> f64) = match self.method.prediction {
            Prediction::Data => (to / from, -(-h).exp_m1(), &|sigma| -to / (sigma * sigma)),
            Prediction::Noise => (1.0, to - from, &|_| 1.0),
        };
        let weights = match *others {
            [] => vec![total],
            [other] => {
                let whole = match (self.method.prediction, self.variant) {
                    (Prediction::Data, UniPcVariant::Bh1) => h,
                    (Prediction::Noise, UniPcVariant::Bh1) => -to * h,
                    (_, UniPcVariant::Bh2) => total,
                };
                let slope = 0.5 * whole * h / (from / other).ln();
                vec![total - slope, slope]
            }
            _ => {
                let nodes: Vec<f64> = std::iter::once(from)
                    .chain(others.iter().copied())
                    .collect();
                weights(&nodes, from, to, f64::ln, density)
            }
        };
        (keep, weights)
    }

    /// The images at `to`, from those of `now` and the model's answers there and in `others`.
    fn integrate(&self, now: &Evaluation, others: &[&Evaluation], to: f64) -> Images {
        let sigmas: Vec<f64> = others.iter().map(|e| e.sigma).collect();
        let (keep, weights) = self.weights(now.sigma, &sigmas, to);
        self.method.combine(now, others, keep, &weights)
    }
}

impl Solver for UniPc {
    /// That of the corrected step, one more than in the method's name.
    fn order(&self) -> usize {
        self.method.stages + 1
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
        self.integrate(now, &self.method.used(past, step), step.to)
    }

    fn correct(
        &self,
        past: &[Evaluation],
        now: &Evaluation,
        end: Evaluation,
        step: Step,
    ) -> Evaluation {
        let mut others = self.method.used(past, step);
        others.push(&end);
        let images = self.integrate(now, &others, step.to);
        // What is extrapolated from here is the answer at the predicted images; as data it is the denoised images, as
        // noise it is the direction, which stays if both images move alike.
        let denoised = match self.method.prediction {
            Prediction::Data => end.denoised.clone(),
            Prediction::Noise => end.denoised.clone() + (images.clone() - end.images.clone()),
        };
        Evaluation {
            sigma: end.sigma,
            images,
            denoised,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for order in [0, 4] {
            let solver = UniPc::new(order, Prediction::Data, UniPcVariant::Bh2);
            let error = solver.unwrap_err().to_string();
            assert!(error.contains("1 to 3"), "{error}");
        }
        let noise = UniPc::new(2, Prediction::Noise, UniPcVariant::Bh2).unwrap();
        assert!(noise.thresholding(true).is_err());
        assert!(noise.thresholding(false).is_ok());
    }

    #[test]
    fn a_constant_answer_is_integrated_exactly() {
        for prediction in [Prediction::Data, Prediction::Noise] {
            for variant in [UniPcVariant::Bh1, UniPcVariant::Bh2] {
                let solver = UniPc::new(3, prediction, variant).unwrap();
                for others in [&[][..], &[5.0], &[1.0], &[5.0, 1.0], &[5.0, 11.0, 1.0]] {
                    let (keep, weights) = solver.weights(3.0, others, 1.0);
                    let sum: f64 = weights.iter().sum();
                    let want = match prediction {
                        Prediction::Data => 1.0 - keep,
                        Prediction::Noise => -2.0,
                    };
                    assert!((sum - want).abs() < 1e-13, "{others:?}: {sum}");
                }
            }
        }
    }

    #[test]
    fn the_variants_differ_where_two_answers_meet() {
        let [first, second] = [UniPcVariant::Bh1, UniPcVariant::Bh2]
            .map(|variant| UniPc::new(3, Prediction::Data, variant).unwrap());
        for (others, differ) in [(&[][..], false), (&[5.0], true), (&[5.0, 1.0], false)] {
            let (a, b) = (
                first.weights(3.0, others, 1.0),
                second.weights(3.0, others, 1.0),
            );
            assert_eq!(a != b, differ, "{others:?}");
        }
    }
}
