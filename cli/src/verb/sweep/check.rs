//! What can be known to be wrong before the first run.

use super::setup::Sweep;
use super::trial::{Trial, Work};
use crate::screen::failure::wrong;
use anyhow::Context as _;
use fewstep::distill::Recipe;

impl Sweep<'_> {
    /// Checks every run against the teacher, or the run that it comes after, and what the plot shows.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for trial in &self.plan.trials {
            let place = || format!("{}: {}", self.plan.name, trial.name);
            self.check_trial(trial).with_context(place)?;
        }
        self.check_plot()
    }

    fn check_trial(&self, trial: &Trial) -> anyhow::Result<()> {
        let card = &self.teacher.card;
        match &trial.work {
            Work::Sample(rows) => {
                for row in rows {
                    let sampling = row.apply(card)?;
                    sampling.grid()?;
                }
            }
            Work::Distil {
                recipe,
                evaluations,
                after,
            } => {
                check_stages(recipe, after.as_deref())?;
                let teacher = match after {
                    None => card.clone(),
                    Some(first) => self.student_of(self.plan.trial(first)?)?,
                };
                recipe.for_teacher(&teacher)?;
                let student = self.student_of(trial)?;
                for evaluations in evaluations {
                    student.sampling_with(*evaluations)?;
                }
            }
        }
        Ok(())
    }

    fn check_plot(&self) -> anyhow::Result<()> {
        let Some(key) = &self.plan.plot.x else {
            return Ok(());
        };
        let of_all = ["nfe", "forwards"].contains(&key.as_str());
        if of_all || self.plan.trials.iter().any(|t| t.number(key).is_some()) {
            return Ok(());
        }
        Err(wrong(format!(
            "{}: plot.x = \"{key}\" is no key of the recipe that is a number; nor is it nfe or forwards",
            self.plan.name
        )))
    }
}

/// A second stage comes after a run, and only a second stage does.
fn check_stages(recipe: &Recipe, after: Option<&str>) -> anyhow::Result<()> {
    match (recipe.second_stage, after) {
        (true, None) => Err(wrong(
            "second-stage = true needs a student as its teacher: name the run before it with after = \"...\"",
        )),
        (false, Some(first)) => Err(wrong(format!(
            "it comes after {first}, whose student is its teacher: set second-stage = true"
        ))),
        _ => Ok(()),
    }
}
