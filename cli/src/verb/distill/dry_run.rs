//! What a distillation would cost, before it is run.

use super::args::Verb;
use crate::context::Context;
use crate::model::latent::stand_in;
use crate::run::distillation::cached;
use crate::run::estimate::{Calibration, Extent, print_estimate};
use crate::run::recipe::{Kind, to_toml};
use anyhow::Context as _;
use fewstep::distill::{
    Cost, Distiller, Perceptual, Recipe, Resolved, TrajectoryCache, TrajectorySource,
};
use fewstep::model::Model;
use indicatif::HumanCount;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A round that takes longer is measured once.
const LONG: Duration = Duration::from_secs(20);

/// Says what a distillation would cost, from a few rounds of it.
pub(super) fn dry_run(
    (verb, path): (&Verb, &Path),
    recipe: &Resolved,
    (teacher, hash): (Model, &str),
    perceptual: Option<&Perceptual>,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let device = &context.device;
    let text = to_toml(Kind::Distillation, recipe)?;
    // With the search, if there is to be one.
    let cost = recipe.cost(&teacher.card)?;
    let mut plain = Recipe::clone(recipe);
    let mut facts = Vec::new();
    if let Some(search) = recipe.spacing.to_search().cloned() {
        let solver = recipe.teacher_solver.build()?;
        let calls = solver.evaluations(search.candidates, false);
        let paths = search.trajectories;
        facts.push((
            "search before the run",
            format!("{paths} paths of {calls} evaluations (not in the predicted time)"),
        ));
        // Other levels, the same cost of a round.
        plain.spacing = *search.spacing;
    }
    let recipe = &plain.for_teacher(&teacher.card)?;
    facts.extend(verb.texts.forecast((&verb.teacher, path), &teacher.card)?);
    if let Some(folder) = &verb.cache {
        let source = TrajectorySource::new(recipe, &teacher, device)?;
        // A dry run writes nothing, not even the folder.
        let source = match folder.is_dir() {
            true => source.with_cache(TrajectoryCache::open(folder, hash)?),
            false => source,
        };
        facts.push(cached(&source)?);
    }
    let micro = recipe.micro_batch.unwrap_or(recipe.batch);
    // A recipe for several numbers of steps is measured at the middle one.
    let [fewest, most] = recipe.variable_steps.unwrap_or([recipe.steps; 2]);
    let steps = (fewest + most).div_ceil(2);
    let card = teacher.card.clone();
    let mut teacher = Some(teacher);
    let numbers: usize = card.network.image_shape().iter().product();
    let extent = Extent {
        batch: recipe.batch,
        micro,
        // The teacher's and the student's images at every step, and the noise.
        kept: (2 * steps + 3) as u64 * 4 * numbers as u64,
    };
    let mut calibration = Calibration::measure(extent, |batch, micro, last| {
        let scratch = Recipe {
            batch,
            micro_batch: Some(micro),
            steps,
            variable_steps: None,
            prompts: None,
            changes: Vec::new(),
            // No round that is measured is the last, which prepares no other.
            trajectories: recipe.trajectories.max(16 * batch as u64),
            ..Recipe::clone(recipe)
        };
        let held = match last {
            true => teacher.take(),
            false => teacher.clone(),
        };
        let file = held.context("a measurement after the last")?;
        let scratch = scratch.for_teacher(&file.card)?;
        // As a run does: the weights of the file are not needed any more.
        let file = match scratch.lora {
            Some(_) => recipe.held(file)?,
            None => file,
        };
        let mut distiller = Distiller::new(scratch.clone(), &file, String::new(), device)?;
        let held = recipe.held(file)?;
        let source = TrajectorySource::new(&scratch, &held, device)?;
        let source = match stand_in(&held.card, device)? {
            Some(contexts) => source.with_contexts(contexts)?,
            None => source,
        };
        if let Some(perceptual) = perceptual {
            distiller = distiller.with_perceptual(perceptual.clone())?;
        }
        if source.looks_ahead() {
            // As in the middle of a run: these are there, and those of the next round are solved meanwhile.
            source.prepare(0)?;
        }
        let mut rounds = || -> anyhow::Result<Duration> {
            let started = Instant::now();
            for _ in 0..recipe.reuse {
                distiller.advance(&source)?;
            }
            Ok(started.elapsed())
        };
        let mut seconds = rounds()?;
        // The optimizer has its moments after the first update; and a short first round is mostly cold caches.
        let updates = steps - usize::from(recipe.analytic_first_step);
        if updates < 2 || seconds < LONG {
            seconds = rounds()?;
        }
        Ok(seconds.as_secs_f64())
    })?;
    calibration.seconds /= recipe.reuse as f64;
    let calls = |steps: usize| -> anyhow::Result<[usize; 2]> {
        let of = Recipe {
            steps,
            variable_steps: None,
            ..Recipe::clone(recipe)
        };
        let of_teacher = of.teacher_sampling(&card, of.steps).evaluations()?;
        Ok([of_teacher, of.sampling().evaluations()?])
    };
    let (least, largest) = (calls(fewest)?, calls(most)?);
    let range = |i: usize| match least[i] == largest[i] {
        true => least[i].to_string(),
        false => format!("{} to {}", least[i], largest[i]),
    };
    let evaluations = format!("teacher {}, student {}", range(0), range(1));
    facts.insert(0, ("evaluations a trajectory", evaluations));
    facts.insert(1, ("network forwards", forwards(&cost)));
    let updates = recipe.rounds() * (least[1] + largest[1]) as u64 / 2;
    print_estimate(&text, &facts, recipe.rounds(), updates, &calibration);
    Ok(ExitCode::SUCCESS)
}

/// What a run costs whatever the machine.
fn forwards(cost: &Cost) -> String {
    format!(
        "{} (teacher {}, student {}; a backward pass counts as two)",
        HumanCount(cost.forwards()),
        HumanCount(cost.teacher),
        HumanCount(cost.forwards() - cost.teacher)
    )
}
