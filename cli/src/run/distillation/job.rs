//! A distillation as the loop of every training sees it.

use super::preview::Preview;
use super::wait::Waiting;
use crate::run::drive::{Job, Measure};
use crate::screen::progress::Progress;
use fewstep::Error;
use fewstep::distill::{Distiller, TrajectorySource};
use fewstep::model::State;
use std::path::Path;

/// The file that a distillation makes.
pub const PRODUCT: &str = fewstep::model::Kind::Student.file_name();

/// A distillation.
pub(super) struct DistillJob<'a> {
    pub(super) distiller: Distiller,
    pub(super) source: TrajectorySource,
    pub(super) preview: Preview<'a>,
    /// For trajectories that others make.
    pub(super) waiting: Option<Waiting>,
}

impl Job for DistillJob<'_> {
    fn product(&self) -> &'static str {
        PRODUCT
    }

    fn unit(&self) -> &'static str {
        "trajectories"
    }

    fn measure(&self) -> &'static str {
        "distances"
    }

    fn label(&self) -> String {
        let recipe = self.distiller.recipe();
        if recipe.variable_steps.is_some() {
            return "distance at the end".into();
        }
        let steps: Vec<_> = (1..=recipe.steps).map(|step| step.to_string()).collect();
        format!("distance after step {}:", steps.join(", "))
    }

    fn batch(&self) -> u64 {
        self.distiller.recipe().batch as u64
    }

    fn units(&self, rounds: u64) -> u64 {
        self.distiller.recipe().trajectories_after(rounds)
    }

    fn rounds(&self) -> u64 {
        self.distiller.rounds()
    }

    fn total(&self) -> u64 {
        self.distiller.recipe().rounds()
    }

    fn ready(&mut self, progress: &mut Progress) -> Result<bool, Error> {
        let round = self.distiller.rounds();
        match &mut self.waiting {
            Some(waiting) => waiting.ready(&self.source, round, progress),
            None => Ok(true),
        }
    }

    fn round(&mut self) -> Result<Measure, Error> {
        let round = match &mut self.waiting {
            // Not those of the next one beside it: others are to make them.
            Some(waiting) => {
                let (target, condition) = self.source.round(self.distiller.rounds())?;
                waiting.done();
                self.distiller.round(&target, &condition)?
            }
            None => self.distiller.advance(&self.source)?,
        };
        // Steps of different numbers of steps are not comparable; their ends are.
        let several = self.distiller.recipe().variable_steps.is_some();
        let shown = if several {
            round.distances.len() - 1
        } else {
            0
        };
        Ok(Measure {
            values: round.distances[shown..].to_vec(),
            learning_rate: round.learning_rate,
        })
    }

    fn state(&self) -> Result<State, Error> {
        self.distiller.state()
    }

    fn write(&self, path: &Path) -> Result<(), Error> {
        self.distiller.model()?.write(path)
    }

    fn preview(&mut self, path: &Path) -> anyhow::Result<()> {
        let student = self.distiller.model()?;
        let student = (student, self.distiller.rounds());
        self.preview.write(self.distiller.recipe(), student, path)
    }
}
