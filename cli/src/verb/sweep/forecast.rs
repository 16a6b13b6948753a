//! How much there is to do in all sweeps together, and how long it may take.

use super::measured::{Results, key};
use super::setup::Sweep;
use super::trial::{Trial, Work};
use crate::screen::progress::duration;
use fewstep::model::{Card, Kind};
use indicatif::HumanCount;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What is still to be measured, each thing once: two sweeps may have the same run.
#[derive(Debug, Default)]
pub struct Forecast {
    /// Network forwards of training and of measuring.
    open: HashMap<String, u64>,
    training: u64,
    done: u64,
    busy: Duration,
    began: Option<Instant>,
}

impl Forecast {
    /// Takes in what a sweep has to do.
    pub fn add(&mut self, sweep: &Sweep<'_>, results: &Results) -> anyhow::Result<()> {
        for (trial, seed) in sweep.plan.jobs() {
            let identity = sweep.identity(trial, seed)?;
            if results.find(&identity)?.is_some() {
                continue;
            }
            let [training, measuring] = sweep.forwards(trial)?;
            let cost = training + measuring;
            if self.open.insert(key(&identity)?, cost).is_none() {
                self.training += training;
            }
        }
        Ok(())
    }

    /// A run begins.
    pub fn begin(&mut self) {
        self.began = Some(Instant::now());
    }

    /// It is done, or has failed.
    pub fn end(&mut self, key: &str) {
        self.done += self.open.remove(key).unwrap_or(0);
        self.busy += self.began.take().map_or(Duration::ZERO, |at| at.elapsed());
    }

    /// The time that all sweeps still take, at the pace so far.
    pub fn eta(&self) -> String {
        if self.done == 0 {
            return String::new();
        }
        let left: u64 = self.open.values().sum();
        let seconds = self.busy.as_secs_f64() / self.done as f64 * left as f64;
        format!(", about {} left in all", duration(seconds))
    }

    /// For people.
    pub fn describe(&self) -> String {
        let all: u64 = self.open.values().sum();
        format!(
            "# in all: {} runs, {} network forwards to train and {} to measure",
            self.open.len(),
            HumanCount(self.training),
            HumanCount(all - self.training)
        )
    }
}

impl Sweep<'_> {
    /// Network forwards of a trial: to train, and to measure.
    fn forwards(&self, trial: &Trial) -> anyhow::Result<[u64; 2]> {
        let card = &self.teacher.card;
        match &trial.work {
            Work::Sample(rows) => {
                let mut calls = 0;
                for row in rows {
                    calls += row.apply(card)?.evaluations()? as u64;
                }
                Ok([0, calls * self.drawn()])
            }
            Work::Distil {
                recipe,
                evaluations,
                after,
            } => {
                let card = match after {
                    None => card.clone(),
                    Some(first) => self.student_of(self.plan.trial(first)?)?,
                };
                let recipe = self.plan.at_cost(recipe.clone(), &card)?;
                let of_card = recipe.sampling().evaluations()?;
                let each = match evaluations.is_empty() {
                    true => of_card,
                    false => evaluations.iter().sum(),
                };
                let training = recipe.cost(&card)?.forwards();
                Ok([training, each as u64 * self.drawn()])
            }
        }
    }

    /// What the card of a trial's student will say of how it is sampled.
    pub(super) fn student_of(&self, trial: &Trial) -> anyhow::Result<Card> {
        let mut card = self.teacher.card.clone();
        if let Work::Distil { recipe, .. } = &trial.work {
            card.kind = Kind::Student;
            card.sampling = recipe.sampling();
        }
        Ok(card)
    }
}
