//! How the learning rate changes over a run.

use super::Recipe;
use serde::{Deserialize, Serialize};

/// The shape of the learning rate over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Schedule {
    /// A tenth after the part `learning-rate-drop` of the run, as in the official code.
    #[default]
    Step,
    /// Half a cosine wave, from the whole rate in the first round towards 0 after the last.
    Cosine,
    /// The same throughout.
    Constant,
}

impl Recipe {
    /// The learning rate of a round, counted from 0. The official code looks at the count of the round *before*
    /// the last when it decides on the drop, and so do we. [SFD App. B]
    pub fn learning_rate_at(&self, round: u64) -> f64 {
        let factor = match self.learning_rate_schedule {
            Schedule::Step => {
                let looked_at = round.saturating_sub(1) * self.batch as u64;
                let all = self.trajectories as f64 * self.reuse as f64;
                let dropped = looked_at as f64 >= self.learning_rate_drop * all;
                // Not a factor of 0.1, which is another number of f64.
                if round > 0 && dropped {
                    return self.learning_rate / 10.0;
                }
                1.0
            }
            Schedule::Cosine => {
                let part = round as f64 / self.rounds().max(1) as f64;
                (libm::cos(part.min(1.0) * std::f64::consts::PI) + 1.0) / 2.0
            }
            Schedule::Constant => 1.0,
        };
        self.learning_rate * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, reuse: u64) -> Vec<f64> {
        let recipe = Recipe {
            trajectories: 40,
            batch: 4,
            reuse,
            learning_rate: 2.0,
            learning_rate_schedule: schedule,
            ..Recipe::default()
        };
        (0..recipe.rounds())
            .map(|round| recipe.learning_rate_at(round))
            .collect()
    }

    #[test]
    fn the_step_comes_one_round_after_half() {
        let expected = [[2.0; 6].as_slice(), &[0.2; 4]].concat();
        assert_eq!(rates(Schedule::Step, 1), expected);
        let expected = [[2.0; 11].as_slice(), &[0.2; 9]].concat();
        assert_eq!(rates(Schedule::Step, 2), expected);
    }

    #[test]
    fn a_cosine_falls_from_all_to_nothing() {
        let rates = rates(Schedule::Cosine, 1);
        assert_eq!((rates.len(), rates[0]), (10, 2.0));
        assert!((rates[5] - 1.0).abs() < 1e-12);
        assert!(rates.windows(2).all(|w| w[0] > w[1]) && rates[9] > 0.0);
        assert!((rates[3] + rates[7] - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_constant_rate_stays() {
        assert_eq!(rates(Schedule::Constant, 1), [2.0; 10]);
    }
}
