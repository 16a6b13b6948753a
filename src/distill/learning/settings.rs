//! The settings of the learning in each round, and what may be changed of them on the way.

use super::change::Change;
use super::schedule::{Place, RateSchedule};
use crate::Error;
use crate::change;
use crate::distill::Recipe;
use crate::error::positive;
use crate::optimizer::AdamConfig;

/// What holds in one round.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Learning {
    /// The round in which the schedule began.
    begun: u64,
    trajectories: u64,
    rate: f64,
    schedule: RateSchedule,
    drop: f64,
    adam: AdamConfig,
}

impl Recipe {
    /// The learning rate of a round, counted from 0.
    pub fn learning_rate_at(&self, round: u64) -> f64 {
        let now = self.learning_at(round);
        let (batch, reuse) = (self.batch as u64, self.reuse);
        let place = Place {
            round: round - now.begun,
            rounds: self.rounds_of(now.trajectories).saturating_sub(now.begun),
            batch,
            trajectories: now.trajectories as f64 * reuse as f64 - (now.begun * batch) as f64,
        };
        now.schedule.rate(now.rate, now.drop, place)
    }

    /// Adam's constants in a round, counted from 0.
    pub fn adam_at(&self, round: u64) -> AdamConfig {
        self.learning_at(round).adam
    }

    fn learning_at(&self, round: u64) -> Learning {
        let mut now = Learning {
            begun: 0,
            trajectories: self.trajectories,
            rate: self.learning_rate,
            schedule: self.learning_rate_schedule,
            drop: self.learning_rate_drop,
            adam: self.adam,
        };
        for change in self.changes.iter().take_while(|c| c.round <= round) {
            if change.restart_schedule {
                now.begun = change.round;
            }
            now.trajectories = change.trajectories.unwrap_or(now.trajectories);
            now.rate = change.learning_rate.unwrap_or(now.rate);
            now.schedule = change.learning_rate_schedule.unwrap_or(now.schedule);
            now.drop = change.learning_rate_drop.unwrap_or(now.drop);
            now.adam = change.adam.unwrap_or(now.adam);
        }
        now
    }

    /// The recipe of a run that goes on with other settings after `done` rounds; the change's own round is not looked at.
    /// Only what is different is kept. Another number of trajectories that leaves the rates of all rounds done as they were
    /// (a constant rate, or one that has not begun to fall) is as if it had been there from the start, and leaves no trace.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for another number of trajectories with a schedule that is under way, unless it is to begin
    /// anew, or another one is given; [`Error::InvalidValue`] for fewer trajectories than are done, and as
    /// [`check`](Self::check).
    pub fn changed(&self, done: u64, wanted: &Change) -> Result<Self, Error> {
        let now = self.learning_at(done);
        let mut change = Change {
            round: done,
            restart_schedule: wanted.restart_schedule && done > 0,
            trajectories: wanted.trajectories.filter(|n| *n != self.length()),
            learning_rate: wanted.learning_rate.filter(|rate| *rate != now.rate),
            learning_rate_schedule: wanted.learning_rate_schedule.filter(|s| *s != now.schedule),
            learning_rate_drop: wanted.learning_rate_drop.filter(|drop| *drop != now.drop),
            adam: wanted.adam.filter(|adam| *adam != now.adam),
        };
        let mut next = self.clone();
        if let Some(length) = change.trajectories {
            let mut other = self.clone();
            *other.length_mut() = length;
            let same = |round| other.learning_rate_at(round) == self.learning_rate_at(round);
            if !change.restart_schedule && (0..done).all(same) {
                next = other;
                change.trajectories = None;
            } else if !change.says_schedule() {
                let schedule = format!("{:?}", now.schedule).to_lowercase();
                return Err(Error::Incompatible {
                    first: format!("trajectories = {length}"),
                    second: format!(
                        "the schedule of the learning rate ({schedule}), which is made for {} and {done} rounds on its way",
                        self.length()
                    ),
                    remedy: "let it begin anew with what is left (--restart-schedule), or set learning-rate-schedule = \
                             \"constant\" for the rest"
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
            let expected = format!(
                "at least the {} that are done",
                self.trajectories_after(done)
            );
            return Err(Error::invalid("trajectories", next.length(), expected));
        }
        Ok(next)
    }

    /// Nothing is done yet: it is another recipe, not a change of one.
    fn begin_with(&mut self, change: Change) {
        self.learning_rate = change.learning_rate.unwrap_or(self.learning_rate);
        self.learning_rate_schedule = change
            .learning_rate_schedule
            .unwrap_or(self.learning_rate_schedule);
        self.learning_rate_drop = change.learning_rate_drop.unwrap_or(self.learning_rate_drop);
        self.adam = change.adam.unwrap_or(self.adam);
    }

    /// Where the number of trajectories of the whole run stands.
    fn length_mut(&mut self) -> &mut u64 {
        change::length_of(
            &mut self.changes,
            |c| c.trajectories.as_mut(),
            &mut self.trajectories,
        )
    }

    pub(in crate::distill) fn check_changes(&self) -> Result<(), Error> {
        change::check_order(&self.changes)?;
        for change in &self.changes {
            positive(
                "changes.trajectories",
                change.trajectories.unwrap_or(1) as f64,
            )?;
            positive("changes.learning-rate", change.learning_rate.unwrap_or(1.0))?;
            let drop = change.learning_rate_drop.unwrap_or(1.0);
            if !(drop > 0.0 && drop <= 1.0) {
                let name = "changes.learning-rate-drop";
                return Err(Error::invalid(name, drop, "in (0, 1]"));
            }
            change.adam.unwrap_or_default().check()?;
        }
        Ok(())
    }
}

impl Change {
    /// Whether it says how the learning rate goes on.
    fn says_schedule(&self) -> bool {
        self.restart_schedule
            || self.learning_rate_schedule.is_some()
            || self.learning_rate_drop.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(schedule: RateSchedule, reuse: u64) -> Recipe {
        Recipe {
            trajectories: 40,
            batch: 4,
            reuse,
            learning_rate: 2.0,
            learning_rate_schedule: schedule,
            ..Recipe::default()
        }
    }

    fn rates(recipe: &Recipe) -> Vec<f64> {
        let rounds = 0..recipe.rounds();
        rounds.map(|round| recipe.learning_rate_at(round)).collect()
    }

    fn longer(trajectories: u64) -> Change {
        Change {
            trajectories: Some(trajectories),
            ..Change::default()
        }
    }

    #[test]
    fn the_step_comes_one_round_after_half() {
        let expected = [[2.0; 6].as_slice(), &[0.2; 4]].concat();
        assert_eq!(rates(&recipe(RateSchedule::Step, 1)), expected);
        let expected = [[2.0; 11].as_slice(), &[0.2; 9]].concat();
        assert_eq!(rates(&recipe(RateSchedule::Step, 2)), expected);
    }

    #[test]
    fn a_cosine_falls_from_all_to_nothing() {
        let rates = rates(&recipe(RateSchedule::Cosine, 1));
        assert_eq!((rates.len(), rates[0]), (10, 2.0));
        assert!((rates[5] - 1.0).abs() < 1e-12);
        assert!(rates.windows(2).all(|w| w[0] > w[1]) && rates[9] > 0.0);
        assert!((rates[3] + rates[7] - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_constant_rate_stays() {
        assert_eq!(rates(&recipe(RateSchedule::Constant, 1)), [2.0; 10]);
    }

    #[test]
    fn a_change_holds_from_its_round_on() {
        let adam = AdamConfig {
            beta1: 0.5,
            ..AdamConfig::default()
        };
        let change = Change {
            learning_rate: Some(1.0),
            adam: Some(adam),
            ..Change::default()
        };
        let before = recipe(RateSchedule::Constant, 1);
        let after = before.changed(4, &change).unwrap();
        assert_eq!(rates(&after), [[2.0; 4].as_slice(), &[1.0; 6]].concat());
        assert_eq!((after.adam_at(3), after.adam_at(4)), (before.adam, adam));
        // What is not different leaves no trace, and what is changed twice at one place is one change.
        assert_eq!(after.changed(6, &change).unwrap(), after);
        let back = Change {
            learning_rate: Some(2.0),
            ..Change::default()
        };
        let again = after.changed(4, &back).unwrap();
        assert_eq!(again.changes.len(), 1);
        assert_eq!(rates(&again), [2.0; 10]);
        assert_eq!(after.changed(6, &back).unwrap().changes.len(), 2);
        // Before the first round it is another recipe.
        let other = before.changed(0, &change).unwrap();
        assert_eq!((other.changes.len(), other.learning_rate), (0, 1.0));
    }

    #[test]
    fn a_run_is_lengthened_where_the_rates_so_far_are_the_same() {
        for (schedule, done) in [
            (RateSchedule::Constant, 10),
            (RateSchedule::Step, 6),
            (RateSchedule::Cosine, 1),
        ] {
            let long = recipe(schedule, 1).changed(done, &longer(80)).unwrap();
            let from_the_start = Recipe {
                trajectories: 80,
                ..recipe(schedule, 1)
            };
            assert_eq!(long, from_the_start, "{schedule:?}");
        }
        for (schedule, done) in [(RateSchedule::Step, 7), (RateSchedule::Cosine, 2)] {
            let refused = recipe(schedule, 1).changed(done, &longer(80)).unwrap_err();
            assert!(refused.to_string().contains("begin anew"), "{refused}");
        }
        let short = recipe(RateSchedule::Constant, 1).changed(6, &longer(20));
        assert!(short.unwrap_err().to_string().contains("the 24 that"));
    }

    #[test]
    fn a_schedule_begins_anew_over_what_is_left() {
        let restart = Change {
            restart_schedule: true,
            ..longer(80)
        };
        for schedule in [RateSchedule::Step, RateSchedule::Cosine] {
            let whole = recipe(schedule, 1);
            let long = whole.changed(10, &restart).unwrap();
            assert_eq!(rates(&long), [rates(&whole), rates(&whole)].concat());
            // A second time, and a change within a stretch.
            let third = Change {
                trajectories: Some(120),
                ..restart.clone()
            };
            let third = long.changed(20, &third).unwrap();
            assert_eq!((third.length(), third.changes.len()), (120, 2));
            assert_eq!(rates(&third)[20..], rates(&whole));
        }
        let constant = Change {
            learning_rate_schedule: Some(RateSchedule::Constant),
            ..longer(80)
        };
        let rest = recipe(RateSchedule::Cosine, 1)
            .changed(5, &constant)
            .unwrap();
        assert_eq!(rates(&rest)[5..], [2.0; 15]);
    }

    #[test]
    fn changes_are_checked() {
        let with = |changes: Vec<Change>| {
            let recipe = Recipe {
                changes,
                ..recipe(RateSchedule::Step, 1)
            };
            recipe.check().unwrap_err().to_string()
        };
        let at = |round| Change {
            round,
            ..Change::default()
        };
        assert!(with(vec![at(0)]).contains("changes.round"));
        assert!(with(vec![at(3), at(3)]).contains("rising"));
        let rate = Change {
            learning_rate: Some(-1.0),
            ..at(3)
        };
        assert!(with(vec![rate]).contains("changes.learning-rate"));
    }
}
