//! `fewstep trajectories`: the teacher's part of a distillation, by any number of machines that share a folder.

use crate::context::Context;
use crate::model::latent::{TrainingArgs, stand_in};
use crate::output::Outputs;
use crate::run::args::RecipeArg;
use crate::run::distillation::{cached, fill, searched};
use crate::run::estimate::{Calibration, Extent, Need};
use crate::run::recipe::{Kind, RecipeText};
use crate::screen::failure::wrong;
use crate::screen::progress::{bytes, duration};
use crate::screen::say::say;
use anyhow::Context as _;
use clap::Args;
use fewstep::distill::{Recipe, Resolved, TrajectoryCache, TrajectorySource};
use fewstep::import::Checkpoint;
use fewstep::model::Model;
use fewstep::network::Precision;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  fewstep trajectories fashion-mnist-nfe2 --teacher teacher.safetensors --cache /shared/trajectories --dry-run
  fewstep trajectories fashion-mnist-nfe2 --teacher teacher.safetensors --cache /shared/trajectories   # on each machine
  fewstep distill fashion-mnist-nfe2 --teacher teacher.safetensors --cache /shared/trajectories --wait   # on one of them
  fewstep trajectories fashion-mnist-nfe2 --teacher teacher.safetensors --cache part-b --rounds 500-999

Processes with one folder share the work out among themselves, and any of them may be killed and begun again. Recipe, teacher,
version and kind of device must be those of the distillation.";

/// Rounds such as `0-499`, or one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rounds(RangeInclusive<u64>);

impl FromStr for Rounds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |part: &str| part.trim().parse::<u64>().ok();
        match number(first).zip(number(last)) {
            Some((first, last)) if first <= last => Ok(Self(first..=last)),
            Some((first, last)) => Err(format!("`{text}` runs backwards; write {last}-{first}")),
            None => Err(format!(
                "`{text}` is neither a round nor a range of rounds like 0-499"
            )),
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    #[command(flatten)]
    recipe: RecipeArg,
    /// The teacher's file, as for `distill`
    #[arg(long, value_name = "FILE")]
    teacher: PathBuf,
    /// The folder that is filled; any number of machines may share it
    #[arg(long, value_name = "DIR")]
    cache: PathBuf,
    /// Only those of some rounds, counted from 0, first and last [default: of all]
    #[arg(long, value_name = "A-B")]
    rounds: Option<Rounds>,
    /// Change a setting of the recipe, such as batch=32, as for `distill`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Say what there is to do, how large it will be and how long it will take, and stop
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    texts: TrainingArgs,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let text = RecipeText::read(verb.recipe.typed())?;
    if text.kind != Kind::Distillation {
        let name = &text.name;
        return Err(wrong(format!(
            "{name} is a recipe for `fewstep train`; trajectories are a teacher's, for `distill`"
        )));
    }
    let recipe: Recipe = text.resolve(&verb.set)?;
    recipe.check()?;
    let wanted = wanted(verb.rounds.as_ref(), &recipe)?;
    let file = Checkpoint::read(&verb.teacher)?;
    let (card, hash) = file.described()?;
    let mut recipe = recipe.for_teacher(&card)?;
    recipe.check_device(&context.device)?;
    let mut outputs = Outputs::default();
    if !verb.dry_run {
        for folder in std::iter::once(&verb.cache).chain(verb.texts.folder()) {
            outputs.folder(folder)?;
        }
        let micro = recipe.micro_batch.unwrap_or(recipe.batch);
        let shape = card.network.image_shape();
        let less = "lower micro-batch, here and in the distillation, or set teacher-precision=bf16";
        let need = Need::drawing(&card.network, recipe.teacher_precision, shape, micro);
        need.check(less, context.ignore_memory, context.reporter)?;
    }
    // Before the teacher: its text encoder is gone when it comes.
    let texts = match verb.dry_run {
        true => None,
        false => verb
            .texts
            .embed((&verb.teacher, &verb.cache), &recipe, &card, context)?,
    };
    // A search for levels is made with what the file has.
    let held = match recipe.spacing.to_search() {
        None => recipe.teacher_precision,
        Some(_) => Precision::F32,
    };
    let teacher = file.model_in(card, held, &context.device)?;
    if verb.dry_run {
        return dry_run(verb, &recipe, (teacher, &hash), &wanted, context);
    }
    let contexts = match &texts {
        Some(texts) => Some(texts.contexts(recipe.teacher_guidance != 1.0, &context.device)?),
        None => None,
    };
    if let Some(contexts) = &contexts {
        recipe = recipe.with_texts(contexts)?;
    }
    let recipe = searched(recipe, &teacher, context)?;
    let teacher = recipe.held(teacher)?;
    let mut source = TrajectorySource::new(&recipe, &teacher, &context.device)?;
    if let Some(contexts) = contexts {
        source = source.with_contexts(contexts)?;
    }
    let cache = TrajectoryCache::open(&verb.cache, &hash)?;
    let folder = cache.folder().to_path_buf();
    let source = source.with_cache(cache);
    let (what, size) = cached(&source)?;
    context.reporter.say(format!("{what}: {size}"));
    let share = fill(&source, &wanted, context)?;
    context.reporter.say(format!(
        "{} batches are there: {} made here, {} there before, {} made by others",
        share.wanted,
        share.made,
        share.found,
        share.wanted - share.made - share.found
    ));
    say!("{}", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// The rounds that were typed, the first of each batch of trajectories.
fn wanted(typed: Option<&Rounds>, recipe: &Recipe) -> anyhow::Result<Vec<u64>> {
    let (rounds, reuse) = (recipe.rounds(), recipe.reuse.max(1));
    let last = rounds.saturating_sub(1);
    let range = typed.map_or(0..=last, |rounds| rounds.0.clone());
    if *range.end() > last {
        let (first, end) = (range.start(), range.end());
        return Err(wrong(format!(
            "--rounds {first}-{end}: the run has rounds 0 to {last}"
        )));
    }
    let draws = range.start() / reuse..=range.end() / reuse;
    Ok(draws.map(|draw| draw * reuse).collect())
}

/// Says what there is to do, from a batch or two.
fn dry_run(
    verb: &Verb,
    recipe: &Resolved,
    (teacher, hash): (Model, &str),
    wanted: &[u64],
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let device = &context.device;
    let mut plain = Recipe::clone(recipe);
    let search = recipe.spacing.to_search().cloned();
    if let Some(search) = &search {
        // Other levels, the same cost.
        plain.spacing = *search.spacing.clone();
    }
    let recipe = plain.for_teacher(&teacher.card)?;
    let source = TrajectorySource::new(&recipe, &teacher, device)?;
    // A dry run writes nothing, not even the folder.
    let source = match verb.cache.is_dir() && search.is_none() && !teacher.card.takes_text() {
        true => source.with_cache(TrajectoryCache::open(&verb.cache, hash)?),
        false => source,
    };
    let mut there = 0;
    for round in wanted.iter().filter(|_| source.cache().is_some()) {
        there += u64::from(source.is_kept(*round)?);
    }
    let all = source.cached()?;
    let count = wanted.len() as u64;
    let (each, missing) = (all.bytes / all.batches.max(1), count - there);
    drop(source);
    if let Some((what, said)) = verb
        .texts
        .forecast((&verb.teacher, &verb.cache), &teacher.card)?
    {
        say!("{what}: {said}");
    }
    say!(
        "batches of {} trajectories: {there} of {count} are there; {} for all of them",
        recipe.batch,
        bytes(each * count)
    );
    if search.is_some() {
        say!(
            "levels: searched for before the first batch, by each process (not in the predicted time)"
        );
    }
    let numbers: usize = teacher.card.network.image_shape().iter().product();
    let extent = Extent {
        batch: recipe.batch,
        micro: recipe.micro_batch.unwrap_or(recipe.batch),
        kept: (recipe.steps + 2) as u64 * 4 * numbers as u64,
    };
    let mut teacher = Some(teacher);
    let calibration = Calibration::measure(extent, |batch, micro, last| {
        let scratch = Recipe {
            batch,
            micro_batch: Some(micro),
            prompts: None,
            changes: Vec::new(),
            trajectories: 16 * batch as u64,
            ..Recipe::clone(&recipe)
        };
        let held = match last {
            true => teacher.take(),
            false => teacher.clone(),
        };
        let file = held.context("a measurement after the last")?;
        let scratch = scratch.for_teacher(&file.card)?;
        let held = recipe.held(file)?;
        let source = TrajectorySource::new(&scratch, &held, device)?;
        let source = match stand_in(&held.card, device)? {
            Some(contexts) => source.with_contexts(contexts)?,
            None => source,
        };
        // The first is mostly cold caches.
        source.round(0)?;
        let begun = Instant::now();
        source.round(recipe.reuse)?;
        Ok(begun.elapsed().as_secs_f64())
    })?;
    if let Some(peak) = calibration.peak {
        say!("predicted peak memory: {}", bytes(peak));
    }
    let one = duration(calibration.seconds * missing as f64);
    say!(
        "predicted time: {one} for {missing} batches on one machine like this one; several share it out"
    );
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_ranges() {
        let parsed = |text: &str| text.parse::<Rounds>().map(|rounds| rounds.0);
        assert_eq!(parsed("0-9"), Ok(0..=9));
        assert_eq!(parsed("7"), Ok(7..=7));
        for bad in ["", "-1", "3-", "9-0", "a-b", "1,2"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
