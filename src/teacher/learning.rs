//! The settings of the learning in each round, and what may be changed of them on the way.

use super::{TeacherChange, TeacherRecipe};
use crate::Error;
use crate::change;
use crate::error::positive;
use crate::optimizer::AdamConfig;

/// What holds in one round.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Learning {
    /// The images after which the schedule began.
    begun: u64,
    images: u64,
    rate: f64,
    warmup: u64,
    decay_from: Option<u64>,
    adam: AdamConfig,
}

impl Learning {
    /// The learning rate after `images` images.
    fn rate(&self, images: u64, batch: u64) -> f64 {
        let shown = images - self.begun;
        let rise = if shown < self.warmup {
            (shown + batch) as f64 / self.warmup as f64
        } else {
            1.0
        };
        let fall = match self.decay_from {
            Some(start) if shown > start => {
                let all = self.images.saturating_sub(self.begun);
                let part = (shown - start) as f64 / all.saturating_sub(start).max(1) as f64;
                change::half_wave(part)
            }
            _ => 1.0,
        };
        self.rate * rise.min(1.0) * fall
    }

    fn check(&self) -> Result<(), Error> {
        positive("images", self.images as f64)?;
        positive("learning-rate", self.rate)?;
        self.adam.check()?;
        let all = self.images.saturating_sub(self.begun);
        match self.decay_from {
            Some(start) if start >= all => {
                let expected = match self.begun {
                    0 => format!("below `images`, {all}"),
                    _ => format!(
                        "below {all}, the images that are left where the schedule begins anew"
                    ),
                };
                Err(Error::invalid("decay-from", start, expected))
            }
            _ => Ok(()),
        }
    }
}

impl TeacherRecipe {
    /// The learning rate after `images` images.
    pub fn learning_rate_at(&self, images: u64) -> f64 {
        let batch = self.batch as u64;
        self.learning_at(images / batch).rate(images, batch)
    }

    /// Adam's constants in a round, counted from 0.
    pub fn adam_at(&self, round: u64) -> AdamConfig {
        self.learning_at(round).adam
    }

    fn learning_at(&self, round: u64) -> Learning {
        let mut now = Learning {
            begun: 0,
            images: self.images,
            rate: self.learning_rate,
            warmup: self.warmup,
            decay_from: self.decay_from,
            adam: self.adam,
        };
        for change in self.changes.iter().take_while(|c| c.round <= round) {
            if change.restart_schedule {
                now.begun = change.round.saturating_mul(self.batch as u64);
            }
            now.images = change.images.unwrap_or(now.images);
            now.rate = change.learning_rate.unwrap_or(now.rate);
            now.warmup = change.warmup.unwrap_or(now.warmup);
            now.decay_from = change.decay_from.or(now.decay_from);
            now.adam = change.adam.unwrap_or(now.adam);
        }
        now
    }

    /// The recipe of a run that goes on with other settings after `done` rounds; the change's own round is not looked at.
    /// Only what is different is kept. Another number of images that leaves the rates of all rounds done as they were (a rate
    /// that has not begun to fall) is as if it had been there from the start, and leaves no trace.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for another number of images while the rate falls, unless the schedule is to begin anew, or
    /// another one is given; [`Error::InvalidValue`] for fewer images than are done, and as [`check`](Self::check).
    pub fn changed(&self, done: u64, wanted: &TeacherChange) -> Result<Self, Error> {
        let now = self.learning_at(done);
        let mut change = TeacherChange {
            round: done,
            restart_schedule: wanted.restart_schedule && done > 0,
            images: wanted.images.filter(|n| *n != self.length()),
            learning_rate: wanted.learning_rate.filter(|rate| *rate != now.rate),
            warmup: wanted.warmup.filter(|n| *n != now.warmup),
            decay_from: wanted.decay_from.filter(|n| Some(*n) != now.decay_from),
            adam: wanted.adam.filter(|adam| *adam != now.adam),
        };
        let mut next = self.clone();
        if let Some(length) = change.images {
            let mut other = self.clone();
            *other.length_mut() = length;
            let shown = |round| round * self.batch as u64;
            let rates = |recipe: &Self, round| recipe.learning_rate_at(shown(round));
            let same = |round| rates(&other, round) == rates(self, round);
            if !change.says_schedule() {
                other.check_learning()?;
            }
            let fits = other.check_learning().is_ok();
            if !change.restart_schedule && fits && (0..done).all(same) {
                next = other;
                change.images = None;
            } else if !change.says_schedule() {
                return Err(Error::Incompatible {
                    first: format!("images = {length}"),
                    second: format!(
                        "a learning rate that has begun to fall to 0 at {}",
                        self.length()
                    ),
                    remedy: "let its schedule begin anew with what is left (--restart-schedule), or say from which image \
                             on it falls now (decay-from)"
                        .into(),
                });
            }
        }
        if done == 0 {
            next.begin_with(change);
        } else if !change.is_empty() {
            change::insert(&mut next.changes, change);
        }
        next.check()?;
        if next.rounds() < done {
            let expected = format!("at least the {} that are done", done * self.batch as u64);
            return Err(Error::invalid("images", next.length(), expected));
        }
        Ok(next)
    }

    /// Nothing is done yet: it is another recipe, not a change of one.
    fn begin_with(&mut self, change: TeacherChange) {
        self.learning_rate = change.learning_rate.unwrap_or(self.learning_rate);
        self.warmup = change.warmup.unwrap_or(self.warmup);
        self.decay_from = change.decay_from.or(self.decay_from);
        self.adam = change.adam.unwrap_or(self.adam);
    }

    /// Where the number of images of the whole run stands.
    fn length_mut(&mut self) -> &mut u64 {
        change::length_of(&mut self.changes, |c| c.images.as_mut(), &mut self.images)
    }

    pub(super) fn check_learning(&self) -> Result<(), Error> {
        self.learning_at(0).check()?;
        change::check_order(&self.changes)?;
        for change in &self.changes {
            self.learning_at(change.round).check()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Spacing;
    use crate::model::Sampling;
    use crate::network::{NetworkConfig, SongUNetConfig};
    use crate::solver::SolverConfig;

    fn recipe(decay_from: Option<u64>) -> TeacherRecipe {
        TeacherRecipe {
            seed: 0,
            images: 40,
            batch: 4,
            micro_batch: None,
            learning_rate: 2.0,
            warmup: 8,
            decay_from,
            average_half_life: 10.0,
            level_mean: -1.2,
            level_deviation: 1.2,
            sigma_data: 0.5,
            prediction: Default::default(),
            noise_table: None,
            flip: false,
            adam: AdamConfig::default(),
            network: NetworkConfig::SongUnet(SongUNetConfig::default()),
            sampling: Sampling {
                solver: SolverConfig::Heun {},
                steps: 4,
                spacing: Spacing::default(),
                sigma_max: 80.0,
                sigma_min: 0.002,
                analytic_first_step: false,
                step_condition: false,
                step_range: None,
                guidance: 1.0,
            },
            changes: Vec::new(),
        }
    }

    fn rates(recipe: &TeacherRecipe) -> Vec<f64> {
        let rounds = 0..recipe.rounds();
        rounds
            .map(|round| recipe.learning_rate_at(4 * round))
            .collect()
    }

    fn longer(images: u64) -> TeacherChange {
        TeacherChange {
            images: Some(images),
            ..TeacherChange::default()
        }
    }

    #[test]
    fn the_rate_rises_and_falls() {
        let rates = rates(&recipe(Some(20)));
        assert_eq!(rates[..6], [1.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
        assert!(rates[5..].windows(2).all(|w| w[0] > w[1]) && rates[9] > 0.0);
    }

    #[test]
    fn a_run_is_lengthened_where_the_rates_so_far_are_the_same() {
        for (decay_from, done) in [(None, 10), (Some(20), 6)] {
            let long = recipe(decay_from).changed(done, &longer(80)).unwrap();
            let from_the_start = TeacherRecipe {
                images: 80,
                ..recipe(decay_from)
            };
            assert_eq!(long, from_the_start);
        }
        let falling = recipe(Some(20));
        let refused = falling.changed(7, &longer(80)).unwrap_err();
        assert!(refused.to_string().contains("begin anew"), "{refused}");
        let later = TeacherChange {
            decay_from: Some(60),
            ..longer(80)
        };
        let long = falling.changed(7, &later).unwrap();
        assert_eq!(rates(&long)[..7], rates(&falling)[..7]);
        assert_eq!(rates(&long)[7..=15], [2.0; 9]);
        let short = recipe(None).changed(6, &longer(20));
        assert!(short.unwrap_err().to_string().contains("the 24 that"));
    }

    #[test]
    fn a_schedule_begins_anew_over_what_is_left() {
        let restart = TeacherChange {
            restart_schedule: true,
            ..longer(80)
        };
        let whole = recipe(Some(20));
        let long = whole.changed(10, &restart).unwrap();
        assert_eq!(rates(&long), [rates(&whole), rates(&whole)].concat());
        let little = TeacherChange {
            images: Some(60),
            ..restart
        };
        let refused = whole.changed(10, &little).unwrap_err().to_string();
        assert!(
            refused.contains("decay-from") && refused.contains("below 20"),
            "{refused}"
        );
    }

    #[test]
    fn a_change_holds_from_its_round_on() {
        let change = TeacherChange {
            learning_rate: Some(1.0),
            ..TeacherChange::default()
        };
        let after = recipe(None).changed(5, &change).unwrap();
        assert_eq!(rates(&after)[4..6], [2.0, 1.0]);
        assert_eq!(after.changes[0].round, 5);
        assert_eq!(after.changed(8, &change).unwrap(), after);
        let other = recipe(None).changed(0, &change).unwrap();
        assert_eq!((other.changes.len(), other.learning_rate), (0, 1.0));
    }
}
