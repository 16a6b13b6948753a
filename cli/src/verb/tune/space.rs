//! What is searched: a few numbers, each with a range, that make a recipe of a given one.

use fewstep::Error;
use fewstep::distill::{RateSchedule, Recipe};
use fewstep::grid::Spacing;
use fewstep::noise::{Domain, Stream};
use serde::{Deserialize, Serialize};

/// Where the levels lie: log sigma falls from the largest to the smallest along a curve F of the way v, with
/// logit F(v) = slope * logit(v) - ln shift. Two numbers for any number of steps; rho = 7 between 80 and 0.006 is close to
/// a slope of 0.97 and a shift of 1.9. A small slope brings the inner levels together, a large shift moves them up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    pub slope: f64,
    pub shift: f64,
}

impl Curve {
    /// The levels of `steps` steps, both ends met exactly.
    pub fn levels(&self, steps: usize, sigma_max: f64, sigma_min: f64) -> Vec<f64> {
        let level = |i: usize| {
            let v = i as f64 / steps as f64;
            let odds = (v / (1.0 - v)).powf(self.slope) / self.shift;
            let way = odds / (1.0 + odds);
            (sigma_max.ln() + way * (sigma_min.ln() - sigma_max.ln())).exp()
        };
        // To five digits: what is written into a recipe is what was measured.
        let inner = (1..steps).map(|i| round(level(i)));
        let ends = (std::iter::once(sigma_max), std::iter::once(sigma_min));
        ends.0.chain(inner).chain(ends.1).collect()
    }
}

/// To five significant digits.
fn round(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// One point of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Candidate {
    /// Where the levels lie; those of the recipe that the search began with if not given.
    pub curve: Option<Curve>,
    /// The teacher's steps for each of the student's.
    pub substeps: usize,
    /// Whether the first step is free.
    pub analytic_first_step: bool,
    /// Of Adam.
    pub learning_rate: f64,
    /// Factor of a step's distance from each to the next.
    pub growth: f64,
}

/// The ranges, and the recipe that everything else is taken from.
#[derive(Clone, Debug)]
pub struct Space {
    /// Whose settings are kept where the search changes nothing.
    pub base: Recipe,
    /// Network calls of the student.
    pub evaluations: usize,
}

const SLOPE: [f64; 2] = [0.25, 1.6];
const SHIFT: [f64; 2] = [0.7, 4.0];
const SUBSTEPS: [usize; 2] = [1, 4];
/// As a part of the recipe's.
const RATE: [f64; 2] = [0.25, 4.0];
const GROWTH: [f64; 2] = [0.5, 2.0];

/// Numbers that a point has.
const DIMENSIONS: usize = 6;

/// How far a point drawn around another may be from it, as a part of each range.
const NEAR: f64 = 0.15;

impl Space {
    /// The recipe itself, to which all others are compared.
    pub fn origin(&self) -> Candidate {
        Candidate {
            curve: None,
            substeps: self.base.substeps,
            analytic_first_step: self.base.analytic_first_step,
            learning_rate: self.base.learning_rate,
            growth: 1.0,
        }
    }

    /// The `index`-th point of a sequence that fills the ranges evenly, moved by `seed`. [Halton 1960]
    pub fn spread(&self, seed: u64, index: u64) -> Candidate {
        let point = std::array::from_fn(|d| {
            let moved = Stream::keyed(seed, Domain::Search, 0, 0, d as u64).uniform_f64();
            (halton(index + 1, PRIMES[d]) + moved).fract()
        });
        self.at(point)
    }

    /// A point near another, the `index`-th drawn with `seed`.
    pub fn near(&self, center: &Candidate, seed: u64, index: u64) -> Candidate {
        let middle = self.place(center);
        let mut stream = Stream::keyed(seed, Domain::Search, 1, 0, index);
        let mut point = middle.map(|at| at + NEAR * stream.normal_f64());
        for value in &mut point {
            // Reflected at the ends of the range, so that these are no traps.
            *value = 1.0 - (1.0 - value.rem_euclid(2.0)).abs();
        }
        self.at(point)
    }

    /// A point of the unit cube as settings.
    fn at(&self, [slope, shift, substeps, rate, free, growth]: [f64; DIMENSIONS]) -> Candidate {
        let one_step = self.evaluations == 1;
        let [least, most] = SUBSTEPS;
        let substeps = least + ((most - least + 1) as f64 * substeps) as usize;
        Candidate {
            curve: Some(Curve {
                slope: round(between(SLOPE, slope)),
                shift: round(between(SHIFT, shift)),
            }),
            substeps: substeps.min(most),
            // Two times in three, since it is the better choice nearly always; a single step that is free calls no network.
            analytic_first_step: free < 2.0 / 3.0,
            learning_rate: round(self.base.learning_rate * between(RATE, rate)),
            growth: if one_step {
                1.0
            } else {
                round(between(GROWTH, growth))
            },
        }
    }

    /// The point of the unit cube that stands for some settings.
    fn place(&self, candidate: &Candidate) -> [f64; DIMENSIONS] {
        // About that of rho = 7.
        let curve = candidate.curve.unwrap_or(Curve {
            slope: 0.97,
            shift: 1.9,
        });
        let [least, most] = SUBSTEPS;
        let substeps = candidate.substeps.clamp(least, most) - least;
        let free = if candidate.analytic_first_step {
            1.0 / 3.0
        } else {
            5.0 / 6.0
        };
        [
            within(SLOPE, curve.slope),
            within(SHIFT, curve.shift),
            (substeps as f64 + 0.5) / (most - least + 1) as f64,
            within(RATE, candidate.learning_rate / self.base.learning_rate),
            free,
            within(GROWTH, candidate.growth),
        ]
    }

    /// The recipe of a candidate, for so many trajectories.
    ///
    /// # Errors
    /// Those of [`Recipe::check`].
    pub fn recipe(&self, candidate: &Candidate, trajectories: u64) -> Result<Recipe, Error> {
        let free = usize::from(candidate.analytic_first_step);
        let steps = self.evaluations + free;
        let base = &self.base;
        let spacing = match &candidate.curve {
            Some(curve) => Spacing::Levels {
                levels: curve.levels(steps, base.sigma_max, base.sigma_min),
                spacing: Box::new(Spacing::default()),
            },
            None => base.spacing.clone(),
        };
        let weights = (0..steps).map(|i| candidate.growth.powi(i as i32));
        let recipe = Recipe {
            trajectories,
            steps,
            substeps: candidate.substeps,
            spacing,
            analytic_first_step: candidate.analytic_first_step,
            learning_rate: candidate.learning_rate,
            step_weights: (candidate.growth != 1.0).then(|| weights.collect()),
            learning_rate_schedule: RateSchedule::Constant,
            ..base.clone()
        };
        recipe.check()?;
        Ok(recipe)
    }
}

const PRIMES: [u64; DIMENSIONS] = [2, 3, 5, 7, 11, 13];

/// The digits of a number in some base, mirrored behind the point: the van der Corput sequence.
fn halton(mut index: u64, base: u64) -> f64 {
    let (mut value, mut scale) = (0.0, 1.0);
    while index > 0 {
        scale /= base as f64;
        value += scale * (index % base) as f64;
        index /= base;
    }
    value
}

/// From 0 to 1 to a range, evenly in the logarithm.
fn between([low, high]: [f64; 2], part: f64) -> f64 {
    low * (high / low).powf(part)
}

/// The reverse, cut off at the ends.
fn within([low, high]: [f64; 2], value: f64) -> f64 {
    ((value / low).ln() / (high / low).ln()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        Space {
            base: Recipe::default(),
            evaluations: 2,
        }
    }

    #[test]
    fn a_curve_is_near_rho_7_and_near_what_was_found_by_hand() {
        let near = |curve: Curve, wanted: [f64; 4]| {
            let levels = curve.levels(3, 80.0, 0.006);
            let apart = levels.iter().zip(wanted).map(|(a, b)| (a / b).ln().abs());
            assert!(apart.fold(0.0, f64::max) < 0.02, "{levels:?} {wanted:?}");
        };
        near(
            Curve {
                slope: 0.967,
                shift: 1.925,
            },
            [80.0, 10.93, 0.6693, 0.006],
        );
        near(
            Curve {
                slope: 0.596,
                shift: 1.765,
            },
            [80.0, 6.0, 1.0, 0.006],
        );
    }

    #[test]
    fn every_point_is_a_recipe_and_has_the_calls_that_were_asked_for() {
        for evaluations in 1..=5 {
            let space = Space {
                evaluations,
                ..space()
            };
            for index in 0..200 {
                let candidate = space.spread(3, index);
                for candidate in [candidate, space.near(&candidate, 3, index)] {
                    let recipe = space.recipe(&candidate, 1000).unwrap();
                    assert_eq!(recipe.sampling().evaluations().unwrap(), evaluations);
                }
            }
        }
    }

    #[test]
    fn points_fill_the_ranges_and_near_ones_stay_near() {
        let space = space();
        let points: Vec<_> = (0..64).map(|i| space.place(&space.spread(0, i))).collect();
        for (dimension, parts) in [(0, 8), (1, 8), (2, 4), (3, 8), (5, 8)] {
            let mut seen = vec![false; parts];
            for point in &points {
                seen[((point[dimension] * parts as f64) as usize).min(parts - 1)] = true;
            }
            assert!(seen.iter().all(|s| *s), "dimension {dimension}: {seen:?}");
        }
        let center = space.spread(0, 5);
        let middle = space.place(&center);
        let mean = (0..200).map(|i| {
            let found = space.place(&space.near(&center, 0, i));
            (found[1] - middle[1]).abs()
        });
        let mean = mean.sum::<f64>() / 200.0;
        assert!((0.03..0.15).contains(&mean), "{mean}");
        assert_ne!(space.spread(0, 1), space.spread(1, 1));
    }
}
