//! `fewstep distill`: a few-step student of a teacher.

mod job;
mod preview;

use crate::args::{RecipeArg, RunArgs};
use crate::device::Context;
use crate::estimate::{Calibration, Extent, print_estimate};
use crate::failure::wrong;
use crate::folder::{Folder, default_folder, recipe_json};
use crate::latent::{Parts, TrainingArgs, stand_in};
use crate::levels::list;
use crate::progress::bytes;
use crate::recipe::{Kind, Source, to_toml};
use crate::run::{Outcome, catch_interrupts, drive};
use crate::say::say;
use anyhow::Context as _;
use clap::Args;
use fewstep::checkpoint::{Model, State};
use fewstep::distill::{
    Cost, Distance, Distiller, Perceptual, Recipe, TrajectoryCache, TrajectorySource, Usage,
};
use fewstep::import::Checkpoint;
use indicatif::HumanCount;
use job::DistillJob;
use preview::Preview;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The file that a distillation makes.
pub const PRODUCT: &str = fewstep::checkpoint::Kind::Student.file_name();

const EXAMPLES: &str = "\
Examples:
  fewstep distill fashion-mnist-nfe2 --teacher teacher.safetensors --dry-run
  fewstep distill fashion-mnist-nfe2 --teacher teacher.safetensors --out runs/nfe2
  fewstep distill --recipe cifar10-nfe2 --teacher weights/edm-cifar10-32x32-uncond-vp.pkl
  fewstep distill my.toml --teacher teacher.safetensors --set steps=4 --set teacher-solver.order=2
  fewstep distill my.toml --teacher teacher.safetensors --cache trajectories --set learning-rate=1e-4
  fewstep distill fashion-mnist-nfe2 --teacher teacher.safetensors --out runs/nfe2 --resume
  fewstep distill sd15-nfe4 --teacher stable-diffusion-v1-5/ --prompts captions.csv --out runs/sd --dry-run
  fewstep distill ldm-bedroom-nfe2 --teacher model.ckpt --out runs/bedroom

Prompts are embedded once, before the run; then neither text encoder nor autoencoder is in memory, but for previews.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    #[command(flatten)]
    recipe: RecipeArg,
    /// The teacher's file: ours, or an EDM, SFD, CompVis or PyTorch one, or a folder of the diffusers library; for a second
    /// stage (second-stage = true) a student's
    #[arg(long, value_name = "FILE")]
    teacher: PathBuf,
    /// Weights for distance = "l1-lpips": VGG16 and the LPIPS heads, in one file or several (.pth, .safetensors); `fewstep
    /// fetch vgg16` and `fewstep fetch lpips-vgg` get them
    #[arg(long, value_name = "FILE")]
    perceptual: Vec<PathBuf>,
    /// Keep the teacher's trajectories in a folder, and take from it those that an earlier run has left there
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    texts: TrainingArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let source = Source::read(verb.recipe.typed())?;
    if source.kind != Kind::Distillation {
        let name = &source.name;
        return Err(wrong(format!(
            "{name} is a recipe for `fewstep train`, not for `distill`"
        )));
    }
    let recipe: Recipe = source.resolve(&verb.run.set)?;
    recipe.check()?;
    let file = Checkpoint::read(&verb.teacher)?;
    let (card, hash) = file.described()?;
    let mut recipe = recipe.for_teacher(&card)?;
    let perceptual = perceptual(&mut recipe, &verb.perceptual, context)?;
    // Before the teacher: its text encoder is gone when it comes.
    let parts = match verb.run.dry_run {
        true => Parts::default(),
        false => (verb.texts).equip(&verb.teacher, &recipe, &card, context)?,
    };
    let teacher = file.model(card, &context.device)?;
    if verb.run.dry_run {
        return dry_run(
            verb,
            &recipe,
            (teacher, &hash),
            perceptual.as_ref(),
            context,
        );
    }
    let path = verb
        .run
        .out
        .clone()
        .unwrap_or_else(|| default_folder(&source.name));
    catch_interrupts()?;
    let start = Start {
        recipe,
        teacher,
        hash,
        perceptual,
        parts,
        cache: verb.cache.as_deref(),
        path: &path,
    };
    let (outcome, _) = start.run(&verb.run, context)?;
    if outcome == Outcome::Finished {
        say!("{}", path.join(PRODUCT).display());
    }
    Ok(outcome.code())
}

/// The network of the recipe's perceptual distance; the recipe then names its weights.
fn perceptual(
    recipe: &mut Recipe,
    files: &[PathBuf],
    context: &Context,
) -> anyhow::Result<Option<Perceptual>> {
    match (recipe.distance == Distance::L1Lpips, files.is_empty()) {
        (false, true) => Ok(None),
        (false, false) => Err(wrong(
            "--perceptual does not go with a recipe without a perceptual distance; set distance = \"l1-lpips\"",
        )),
        (true, true) => Err(wrong(
            "distance = \"l1-lpips\" needs weights of VGG16 and of the LPIPS heads: `fewstep fetch vgg16` and `fewstep fetch \
             lpips-vgg` get them; name both with --perceptual",
        )),
        (true, false) => {
            let config = recipe.perceptual.clone().unwrap_or_default();
            let read = Perceptual::read(files, &config, &context.device)?;
            recipe.perceptual = Some(read.config().clone());
            Ok(Some(read))
        }
    }
}

/// What a distillation starts from.
pub struct Start<'a> {
    /// The settings.
    pub recipe: Recipe,
    /// The teacher.
    pub teacher: Model,
    /// SHA-256 of the teacher's file.
    pub hash: String,
    /// The network of a perceptual distance.
    pub perceptual: Option<Perceptual>,
    /// What a latent teacher needs besides.
    pub parts: Parts,
    /// Where trajectories are kept between runs.
    pub cache: Option<&'a Path>,
    /// The run's folder.
    pub path: &'a Path,
}

impl Start<'_> {
    /// Runs, or goes on; also returns the seconds of work done before this start.
    pub fn run(self, args: &RunArgs, context: &Context) -> anyhow::Result<(Outcome, f64)> {
        let device = &context.device;
        let mut recipe = self.recipe;
        let before = Folder::state_in(self.path);
        // What is wrong with the state, or that it is of another run, is said when the folder is opened.
        if args.resume
            && let Ok(earlier) = State::read(&before).and_then(|state| state.recipe())
        {
            recipe = recipe.with_levels_of(&earlier);
        }
        // What depends on the teacher and on its texts belongs to the recipe that a checkpoint is compared with.
        let mut recipe = recipe.for_teacher(&self.teacher.card)?;
        let contexts = match &self.parts.texts {
            Some(texts) => Some(texts.contexts(recipe.teacher_guidance != 1.0, device)?),
            None => None,
        };
        if let Some(contexts) = &contexts {
            // Before anything is written.
            TrajectorySource::new(&recipe, &self.teacher, device)?
                .with_contexts(contexts.clone())?;
            recipe.prompts = Some(contexts.digest());
        }
        let json = recipe_json(&recipe)?;
        let (folder, state) = Folder::open(self.path, args.policy(), &json, PRODUCT)?;
        if state.is_none() {
            recipe = searched(recipe, &self.teacher, context)?;
        }
        let text = to_toml(Kind::Distillation, &recipe)?;
        // The student first: it starts from the weights of the file, which are not needed after that where the teacher's are
        // held in half.
        let (now, hash) = (recipe.clone(), self.hash.clone());
        let distiller = match state {
            Some(state) => Distiller::resume(&state, &self.teacher, hash, device)?,
            None => Distiller::new(now, &self.teacher, hash, device)?,
        };
        let teacher = recipe.teacher(&self.teacher)?;
        drop(self.teacher);
        let mut source = TrajectorySource::new(&recipe, &teacher, device)?;
        if let Some(contexts) = contexts {
            source = source.with_contexts(contexts)?;
        }
        if let Some(folder) = self.cache {
            source = source.with_cache(TrajectoryCache::open(folder, &self.hash)?);
            let (what, size) = cached(&source)?;
            context.reporter.say(format!("{what}: {size}"));
        }
        let distiller = match self.perceptual {
            Some(perceptual) => distiller.with_perceptual(perceptual)?,
            None => distiller,
        };
        folder.write_recipe(&text)?;
        self.parts.note.write(self.path)?;
        let mut job = DistillJob {
            distiller,
            source,
            preview: Preview::new(&teacher, &self.parts, device),
        };
        let outcome = drive(&mut job, &folder, args.options(), context.reporter)?;
        if let Some(cache) = job.source.cache() {
            context.reporter.say(used(&cache.usage()));
        }
        Ok((outcome, folder.seconds_before))
    }
}

/// What is in the folder of trajectories, and how large it will be.
fn cached(source: &TrajectorySource) -> anyhow::Result<(&'static str, String)> {
    let cached = source.cached()?;
    let folder = source.cache().map(|cache| cache.folder().display());
    let folder = folder.map_or_else(String::new, |folder| format!(" in {folder}"));
    let (there, batches) = (cached.there, cached.batches);
    Ok((
        "trajectory cache",
        format!(
            "{there} of {batches} batches are there{folder}; {} for all of them",
            bytes(cached.bytes)
        ),
    ))
}

/// What the folder of trajectories was good for.
fn used(usage: &Usage) -> String {
    let mut text = format!("trajectory cache: {} batches read", usage.read);
    for (count, what) in [(usage.written, "written"), (usage.broken, "were broken")] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if let Some(trouble) = &usage.trouble {
        text += &format!("; warning: nothing more was kept: {trouble}");
    }
    text
}

/// Finds the levels of a recipe that wants them searched for.
fn searched(recipe: Recipe, teacher: &Model, context: &Context) -> anyhow::Result<Recipe> {
    let Some(search) = recipe.spacing.to_search() else {
        return Ok(recipe);
    };
    let reporter = context.reporter;
    let total = search.trajectories as u64;
    let mut progress = reporter.start("searching levels", 0, total);
    let found = recipe.searched(teacher, &context.device, &mut |done| {
        progress.set(done as u64, "");
    })?;
    progress.finish();
    let grid = found.sampling().grid()?;
    reporter.say(format!("levels found: {}", list(grid.levels())));
    Ok(found)
}

/// A round that takes longer is measured once.
const LONG: Duration = Duration::from_secs(20);

fn dry_run(
    verb: &Verb,
    recipe: &Recipe,
    (teacher, hash): (Model, &str),
    perceptual: Option<&Perceptual>,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let device = &context.device;
    let text = to_toml(Kind::Distillation, recipe)?;
    // With the search, if there is to be one.
    let cost = recipe.cost(&teacher.card)?;
    let mut recipe = recipe.clone();
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
        recipe.spacing = *search.spacing;
    }
    let recipe = &recipe;
    facts.extend(verb.texts.forecast(&verb.teacher, &teacher.card)?);
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
            // No round that is measured is the last, which prepares no other.
            trajectories: recipe.trajectories.max(16 * batch as u64),
            ..recipe.clone()
        };
        let held = match last {
            true => teacher.take(),
            false => teacher.clone(),
        };
        let file = held.context("a measurement after the last")?;
        let mut distiller = Distiller::new(scratch.clone(), &file, String::new(), device)?;
        // As a run does: the weights of the file are not needed any more.
        let held = recipe.teacher(&file)?;
        drop(file);
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
            ..recipe.clone()
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
