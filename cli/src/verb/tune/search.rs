//! The search itself: two brackets of successive halving, the second around the best of the first.

use super::halving::{Rung, best, rungs};
use super::record::{Entry, Record};
use super::space::{Candidate, Space};
use super::table;
use super::target::Target;
use crate::context::Context;
use crate::model::latent::Parts;
use crate::run::change::{DISTILLATION, Wish};
use crate::run::distillation::{Conduct, PRODUCT, Start};
use crate::run::drive::{Outcome, Tick};
use crate::run::folder::Policy;
use crate::screen::failure::diverged;
use crate::screen::progress::Reporter;
use crate::screen::signal::Stopped;
use anyhow::Context as _;
use fewstep::adapter::read_student;
use fewstep::distill::Recipe;
use fewstep::model::{Card, Model};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The first is spread over the whole space, the second over the neighbourhood of its best.
pub const BRACKETS: usize = 2;

/// Rounds that a candidate is trained for at least: fewer say nothing.
const LEAST_ROUNDS: u64 = 24;

/// Everything that the candidates share.
pub struct Search<'a> {
    pub space: Space,
    pub teacher: Model,
    pub hash: String,
    pub parts: Parts,
    pub target: Target,
    /// Images behind each distance.
    pub images: u64,
    pub seed: u64,
    pub folder: &'a Path,
    pub cache: &'a Path,
    pub context: &'a Context,
}

/// How the search is divided.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of each bracket; their cost is in network forwards.
    pub rungs: Vec<Rung>,
    /// Network forwards of a trajectory of the recipe that the search begins with.
    pub unit: f64,
}

/// Network forwards of one trajectory.
fn unit(recipe: &Recipe, teacher: &Card) -> anyhow::Result<f64> {
    let cost = recipe.cost(teacher)?.forwards() - recipe.search_forwards()?;
    Ok(cost as f64 / recipe.trajectories_after(recipe.rounds()) as f64)
}

impl Plan {
    /// Divides a budget.
    pub fn new(
        space: &Space,
        teacher: &Card,
        budget: u64,
        candidates: usize,
    ) -> anyhow::Result<Self> {
        let unit = unit(&space.recipe(&space.origin(), budget)?, teacher)?;
        let least = unit * (LEAST_ROUNDS * space.base.batch as u64) as f64;
        let rungs = rungs(budget as f64 * unit / BRACKETS as f64, candidates, least);
        Ok(Self { rungs, unit })
    }
}

/// The least budget with which there is anything to choose from.
pub fn least_budget(base: &Recipe) -> u64 {
    // Two candidates: one goes on for three times as long.
    LEAST_ROUNDS * base.batch as u64 * BRACKETS as u64 * 4
}

impl Search<'_> {
    /// Goes through both brackets; the entry of the best at the end.
    pub fn run(&self, plan: &Plan, record: &mut Record) -> anyhow::Result<Entry> {
        let mut winners: Vec<Entry> = Vec::new();
        for bracket in 0..BRACKETS {
            let count = plan.rungs.first().map_or(0, |rung| rung.candidates);
            let field = self.field(count, winners.first());
            winners.push(self.bracket(bracket, plan, field, record)?);
            winners.sort_by(|a, b| a.value().total_cmp(&b.value()));
        }
        winners
            .into_iter()
            .next()
            .context("no candidate was measured")
    }

    /// Who takes part in a bracket.
    fn field(&self, count: usize, best: Option<&Entry>) -> Vec<Candidate> {
        let others = count.saturating_sub(1) as u64;
        let mut field = vec![best.map_or_else(|| self.space.origin(), |entry| entry.candidate)];
        field.extend((0..others).map(|index| match best {
            Some(best) => self.space.near(&best.candidate, self.seed, index),
            None => self.space.spread(self.seed, index),
        }));
        field
    }

    fn bracket(
        &self,
        bracket: usize,
        plan: &Plan,
        field: Vec<Candidate>,
        record: &mut Record,
    ) -> anyhow::Result<Entry> {
        let mut field: Vec<(usize, Candidate)> = field.into_iter().enumerate().collect();
        let mut last = Vec::new();
        for (rung, now) in plan.rungs.iter().enumerate() {
            let mut entries = Vec::new();
            for (at, (place, candidate)) in field.iter().enumerate() {
                let entry = self.entry((bracket, *place, rung), candidate, now.cost, record)?;
                self.context.reporter.say(format!(
                    "bracket {} of {BRACKETS}, rung {} of {}, {} of {}: {}",
                    bracket + 1,
                    rung + 1,
                    plan.rungs.len(),
                    at + 1,
                    field.len(),
                    table::line(&entry, &self.space)?
                ));
                entries.push(entry);
            }
            let next = plan.rungs.get(rung + 1).map_or(1, |rung| rung.candidates);
            let values: Vec<f64> = entries.iter().map(Entry::value).collect();
            let kept = best(&values, next);
            for (at, (place, _)) in field.iter().enumerate() {
                if !kept.contains(&at) {
                    self.forget(bracket, *place)?;
                }
            }
            field = kept.iter().map(|at| field[*at]).collect();
            last = kept.iter().map(|at| entries[*at].clone()).collect();
        }
        last.into_iter().next().context("a bracket without rungs")
    }

    /// A candidate at the end of a rung: as it is known, or measured now.
    fn entry(
        &self,
        (bracket, place, rung): (usize, usize, usize),
        candidate: &Candidate,
        cost: f64,
        record: &mut Record,
    ) -> anyhow::Result<Entry> {
        let begun = Instant::now();
        let batch = self.space.base.batch as u64;
        let price = unit(&self.space.recipe(candidate, batch)?, &self.teacher.card)?;
        let trajectories = ((cost / price / batch as f64).round() as u64).max(1) * batch;
        if let Some(known) = record.find(candidate, trajectories) {
            return Ok(known.clone());
        }
        let recipe = self.space.recipe(candidate, trajectories)?;
        let forwards = recipe.cost(&self.teacher.card)?.forwards();
        let distance = match self.train(recipe, &self.place(bracket, place)) {
            Ok(student) => {
                let (parts, images) = (&self.parts, self.images);
                let found = self.target.measure(&student, parts, images, self.context)?;
                found.is_finite().then_some(found)
            }
            Err(error) if diverged(&error) => {
                self.context
                    .reporter
                    .warn(format!("{error:#}; out of the search"));
                None
            }
            Err(error) => return Err(error),
        };
        let entry = Entry {
            bracket,
            place,
            rung,
            candidate: *candidate,
            trajectories,
            forwards,
            distance,
            seconds: begun.elapsed().as_secs_f64(),
        };
        record.add(entry.clone())?;
        Ok(entry)
    }

    /// Trains a candidate from where it is.
    fn train(&self, recipe: Recipe, path: &Path) -> anyhow::Result<Model> {
        let recipe = recipe.for_teacher(&self.teacher.card)?;
        let total = recipe.trajectories;
        // A run that is there is lengthened.
        let policy = Policy {
            resume: true,
            overwrite: false,
        };
        let sets = [format!("trajectories={total}")];
        let wish = Wish {
            sets: &sets,
            restart: false,
            keys: DISTILLATION,
        };
        let mut conduct = Conduct {
            wish,
            ..Conduct::plain(policy, Tick::Rounds(recipe.rounds()))
        };
        // Nobody looks at those of candidates, and drawing them would take a good part of a short run.
        conduct.options.previews = false;
        let start = Start {
            recipe,
            teacher: self.teacher.clone(),
            hash: self.hash.clone(),
            file: None,
            perceptual: None,
            parts: &self.parts,
            cache: Some(self.cache),
            path,
        };
        let quiet = Context {
            device: self.context.device.clone(),
            reporter: Reporter::new(true),
            ignore_memory: self.context.ignore_memory,
            together: Arc::clone(&self.context.together),
        };
        let (outcome, _folder) = start.run(conduct, &quiet)?;
        if outcome != Outcome::Finished {
            return Err(Stopped.into());
        }
        let base = (&self.teacher, self.hash.as_str());
        let (student, _) = read_student(&path.join(PRODUCT), base, &self.context.device)?;
        Ok(student)
    }

    /// The folder of a candidate's run.
    pub fn place(&self, bracket: usize, place: usize) -> PathBuf {
        let name = format!("candidate-{}-{place:02}", bracket + 1);
        self.folder.join(name)
    }

    /// Who is out needs no files any more.
    fn forget(&self, bracket: usize, place: usize) -> anyhow::Result<()> {
        let path = self.place(bracket, place);
        if path.exists() {
            fs_err::remove_dir_all(path)?;
        }
        Ok(())
    }
}
