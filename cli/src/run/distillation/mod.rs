//! A distillation, from its recipe to the student's file.

mod fill;
mod job;
mod preview;
mod wait;

pub use fill::fill;
pub use job::PRODUCT;
pub use wait::Patience;

use crate::context::Context;
use crate::model::latent::Parts;
use crate::model::levels::list;
use crate::run::change::{self, Wish};
use crate::run::drive::{Options, Outcome, Tick, drive};
use crate::run::folder::{Folder, Policy, STATE, recipe_json};
use crate::run::recipe::{Kind, to_toml};
use crate::screen::progress::bytes;
use anyhow::Context as _;
use fewstep::distill::{
    Distiller, Perceptual, Recipe, Resolved, TrajectoryCache, TrajectorySource, Usage,
};
use fewstep::import::Note;
use fewstep::model::{Model, State};
use job::DistillJob;
use preview::Preview;
use std::path::{Path, PathBuf};
use wait::Waiting;

/// What a distillation starts from.
pub struct Start<'a> {
    /// The settings.
    pub recipe: Resolved,
    /// The teacher.
    pub teacher: Model,
    /// SHA-256 of the teacher's file.
    pub hash: String,
    /// That file or folder, where it is one.
    pub file: Option<&'a Path>,
    /// The network of a perceptual distance.
    pub perceptual: Option<Perceptual>,
    /// What a latent teacher needs besides.
    pub parts: &'a Parts,
    /// Where trajectories are kept between runs.
    pub cache: Option<&'a Path>,
    /// The run's folder.
    pub path: &'a Path,
}

/// How a distillation is run.
#[derive(Clone, Copy, Debug)]
pub struct Conduct<'a> {
    /// What to do with one that is there already.
    pub policy: Policy,
    /// What to change in it.
    pub wish: Wish<'a>,
    /// Ticks, stops and snapshots.
    pub options: Options,
    /// Whether trajectories are waited for that others make.
    pub wait: Option<Patience>,
}

impl Conduct<'_> {
    /// All at once, with a checkpoint at each tick.
    pub fn plain(policy: Policy, tick: Tick) -> Self {
        Self {
            policy,
            wish: Wish::nothing(),
            options: Options {
                tick,
                stop_after: None,
                snapshots: None,
                keep: None,
                previews: true,
            },
            wait: None,
        }
    }
}

impl Start<'_> {
    /// Runs, or goes on; the folder is still held for what is done with the student.
    pub fn run(self, conduct: Conduct<'_>, context: &Context) -> anyhow::Result<(Outcome, Folder)> {
        let device = &context.device;
        let mut recipe = self.recipe;
        let reporter = context.reporter;
        // What is wrong with the state, or that it is of another run, is said when the folder is opened.
        if conduct.policy.resume
            && let Ok(earlier) = State::read(&self.path.join(STATE)).and_then(|s| s.recipe())
        {
            recipe = recipe.with_levels_of(&earlier)?;
        }
        recipe.check_device(device)?;
        let contexts = match &self.parts.texts {
            Some(texts) => Some(texts.contexts(recipe.teacher_guidance != 1.0, device)?),
            None => None,
        };
        if let Some(contexts) = &contexts {
            // Before anything is written; and the recipe that a checkpoint is compared with names them.
            recipe = recipe.with_texts(contexts)?;
        }
        let (mut folder, mut state) = Folder::open(self.path, conduct.policy, PRODUCT, context)?;
        if let Some(state) = &mut state {
            let typed = recipe_json(&recipe)?;
            let wish = conduct.wish;
            change::go_on(&mut folder, state, &typed, wish, Recipe::changed, reporter)?;
        } else {
            recipe = searched(recipe, &self.teacher, context)?;
        }
        // The student first: it starts from the weights of the file, which are not needed after that where the teacher's are
        // held in half. One of adapters stands on the teacher's as they are held: both share them.
        let file = match recipe.lora {
            Some(_) => recipe.held(self.teacher)?,
            None => self.teacher,
        };
        let hash = self.hash.clone();
        let distiller = match state {
            Some(state) => Distiller::resume(&state, &file, hash, device)?,
            None => Distiller::new(recipe, &file, hash, device)?,
        };
        // Of a run that goes on, its own.
        let recipe = distiller.recipe().clone();
        let text = to_toml(Kind::Distillation, &*recipe)?;
        let teacher = recipe.held(file)?;
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
        let base = self.file.filter(|_| recipe.lora.is_some());
        let note = Note {
            base: base.map(absolute).transpose()?,
            ..self.parts.note.clone()
        };
        if folder.is_held() {
            note.write(self.path)?;
        }
        // What the source tells the others is nothing that one can fail at beside them.
        context.together.begin()?;
        let mut job = DistillJob {
            distiller: distiller.with_group(context.together.group()),
            source: source.with_group(context.together.group())?,
            preview: Preview::new(&teacher, self.parts, device),
            waiting: conduct.wait.map(Waiting::new),
        };
        let outcome = drive(&mut job, &folder, conduct.options, context)?;
        if let Some(cache) = job.source.cache() {
            context.reporter.say(used(&cache.usage()));
        }
        Ok((outcome, folder))
    }
}

/// A path that another folder can be left with.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    let shown = || format!("cannot find {}", path.display());
    std::path::absolute(path).with_context(shown)
}

/// What is in the folder of trajectories, and how large it will be.
pub fn cached(source: &TrajectorySource) -> anyhow::Result<(&'static str, String)> {
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
pub fn searched(recipe: Resolved, teacher: &Model, context: &Context) -> anyhow::Result<Resolved> {
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
