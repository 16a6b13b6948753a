//! `fewstep distill`: a few-step student of a teacher.

mod dry_run;
mod job;
mod preview;

use crate::args::{RecipeArg, RunArgs};
use crate::device::Context;
use crate::estimate::{Need, Training};
use crate::failure::wrong;
use crate::folder::{Folder, STATE, default_folder, recipe_json};
use crate::latent::{Parts, TrainingArgs};
use crate::levels::list;
use crate::output::Outputs;
use crate::progress::bytes;
use crate::recipe::{Kind, Source, to_toml};
use crate::run::change;
use crate::run::{Outcome, drive};
use crate::say::say;
use clap::Args;
use dry_run::dry_run;
use fewstep::checkpoint::{Model, State};
use fewstep::distill::{
    Distance, Distiller, Perceptual, Recipe, TrajectoryCache, TrajectorySource, Usage,
};
use fewstep::import::Checkpoint;
use fewstep::network::{NetworkConfig, Precision};
use job::DistillJob;
use preview::Preview;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
    let path = verb
        .run
        .out
        .clone()
        .unwrap_or_else(|| default_folder(&source.name));
    let mut outputs = Outputs::default();
    if !verb.run.dry_run {
        outputs.folder(&path)?;
        for folder in verb.cache.iter().chain(verb.texts.folder()) {
            outputs.folder(folder)?;
        }
    }
    let perceptual = perceptual(&mut recipe, &verb.perceptual, context)?;
    if !verb.run.dry_run {
        check_memory(&recipe, &card.network, context)?;
    }
    // Before the teacher: its text encoder is gone when it comes.
    let parts = match verb.run.dry_run {
        true => Parts::default(),
        false => (verb.texts).equip((&verb.teacher, &path), &recipe, &card, context)?,
    };
    let teacher = file.model(card, &context.device)?;
    if verb.run.dry_run {
        return dry_run(
            (verb, &path),
            &recipe,
            (teacher, &hash),
            perceptual.as_ref(),
            context,
        );
    }
    context.reporter.say(distances(&recipe));
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

/// Compares what the run needs, as far as sizes tell, with what there is.
fn check_memory(recipe: &Recipe, network: &NetworkConfig, context: &Context) -> anyhow::Result<()> {
    let training = Training {
        micro: recipe.micro_batch.unwrap_or(recipe.batch),
        checkpointing: recipe.gradient_checkpointing,
        average: recipe.average_half_life.is_some(),
        teacher: Some(match recipe.teacher_precision {
            Precision::F32 => 4,
            _ => 2,
        }),
    };
    let less = "lower micro-batch, or set gradient-checkpointing=true or teacher-precision=bf16 (--dry-run measures)";
    Need::training(network, training).check(less, context.ignore_memory, context.reporter)
}

/// What the numbers in the bar are.
fn distances(recipe: &Recipe) -> String {
    let free = match (recipe.analytic_first_step, recipe.variable_steps) {
        (true, None) => "; the first step asks no network and is not trained",
        _ => "",
    };
    let place = match recipe.variable_steps {
        Some(_) => "at the end",
        None => "after each of its steps",
    };
    format!(
        "distances: how far the student is from the teacher {place}, summed over all pixels of an image; they should fall{free}"
    )
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
    /// Runs, or goes on; the folder is still held for what is done with the student.
    pub fn run(self, args: &RunArgs, context: &Context) -> anyhow::Result<(Outcome, Folder)> {
        let device = &context.device;
        let mut recipe = self.recipe;
        let reporter = context.reporter;
        // What is wrong with the state, or that it is of another run, is said when the folder is opened.
        if args.resume
            && let Ok(earlier) = State::read(&self.path.join(STATE)).and_then(|s| s.recipe())
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
        let (mut folder, mut state) = Folder::open(self.path, args.policy(), PRODUCT, reporter)?;
        recipe = match &mut state {
            Some(state) => {
                let typed = recipe_json(&recipe)?;
                let wish = args.wish(change::DISTILLATION);
                change::go_on(&mut folder, state, &typed, wish, Recipe::changed, reporter)?
            }
            None => searched(recipe, &self.teacher, context)?,
        };
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
        Ok((outcome, folder))
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
