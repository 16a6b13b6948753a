//! `fewstep distill`: a few-step student of a teacher.

mod args;
mod dry_run;

pub use args::Verb;

use crate::context::Context;
use crate::model::latent::Parts;
use crate::output::Outputs;
use crate::page;
use crate::run::change::DISTILLATION;
use crate::run::distillation::{Conduct, PRODUCT, Start};
use crate::run::drive::Outcome;
use crate::run::estimate::{Need, Training};
use crate::run::folder::default_folder;
use crate::run::recipe::{Kind, RecipeText};
use crate::run::share::{by_one, micro_batch};
use crate::screen::failure::wrong;
use crate::screen::say::say;
use dry_run::dry_run;
use fewstep::adapter::Lora;
use fewstep::distill::{Distance, Perceptual, Recipe, Resolved};
use fewstep::import::Checkpoint;
use fewstep::model::Card;
use fewstep::network::{NetworkConfig, Precision};
use indicatif::HumanCount;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let source = RecipeText::read(verb.recipe.typed())?;
    if source.kind != Kind::Distillation {
        let name = &source.name;
        return Err(wrong(format!(
            "{name} is a recipe for `fewstep train`, not for `distill`"
        )));
    }
    let mut recipe: Recipe = source.resolve(&verb.run.set)?;
    recipe.check()?;
    let path = verb
        .run
        .out
        .clone()
        .unwrap_or_else(|| default_folder(&source.name));
    if verb.run.dry_run {
        by_one("--dry-run", context)?;
    }
    let place = (path.as_path(), verb.run.policy());
    recipe.micro_batch = micro_batch(recipe.micro_batch, recipe.batch, place, context);
    let file = Checkpoint::read(&verb.teacher)?;
    let (card, hash) = file.described()?;
    let recipe = recipe.for_teacher(&card)?;
    let leads = context.together.leads();
    let mut outputs = Outputs::default();
    if !verb.run.dry_run && leads {
        outputs.folder(&path)?;
        for folder in verb.cache.iter().chain(verb.texts.folder()) {
            outputs.folder(folder)?;
        }
    }
    let (recipe, perceptual) = perceptual(recipe, &verb.perceptual, context)?;
    if !verb.run.dry_run {
        check_memory(&recipe, &card.network, context)?;
    }
    // Before the teacher: its text encoder is gone when it comes.
    let parts = match verb.run.dry_run {
        true => Parts::default(),
        false => context.together.first(|| {
            let texts = &verb.texts;
            texts.equip((&verb.teacher, &path), &recipe, &card, context)
        })?,
    };
    // What does not learn need not be there in single precision first; a search for levels is made with what the file has.
    let held = match recipe.lora.is_some() && recipe.spacing.to_search().is_none() {
        true => recipe.teacher_precision,
        false => Precision::F32,
    };
    let teacher = file.model_in(card, held, &context.device)?;
    if verb.run.dry_run {
        return dry_run(
            (verb, &path),
            &recipe,
            (teacher, &hash),
            perceptual.as_ref(),
            context,
        );
    }
    if let Some(lora) = &recipe.lora {
        context
            .reporter
            .say(adapters(lora, &recipe, &teacher.card)?);
    }
    context.reporter.say(distances(&recipe));
    if verb.live && leads {
        page::watch(&path, context.reporter)?;
    }
    let start = Start {
        recipe,
        teacher,
        hash,
        file: Some(&verb.teacher),
        perceptual,
        parts: &parts,
        cache: verb.cache.as_deref(),
        path: &path,
    };
    let conduct = Conduct {
        policy: verb.run.policy(),
        wish: verb.run.wish(DISTILLATION),
        options: verb.run.options(),
        wait: verb.wait,
    };
    let (outcome, _) = start.run(conduct, context)?;
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
        adapters: match &recipe.lora {
            Some(lora) => Some(lora.parameter_count(&network_of(recipe, network))?),
            None => None,
        },
    };
    let less = "lower micro-batch, or set gradient-checkpointing=true or teacher-precision=bf16 (--dry-run measures)";
    Need::training(network, training).check(less, context.ignore_memory, context.reporter)
}

/// The network of the student.
fn network_of(recipe: &Recipe, teacher: &NetworkConfig) -> NetworkConfig {
    teacher.with_step_branch(teacher.has_step_branch() || recipe.tells_steps())
}

/// What learns of a student of adapters.
fn adapters(lora: &Lora, recipe: &Recipe, teacher: &Card) -> anyhow::Result<String> {
    let network = network_of(recipe, &teacher.network);
    let (layers, numbers) = (
        lora.adapters(&network)?.len(),
        lora.parameter_count(&network)?,
    );
    Ok(format!(
        "adapters in {layers} layers: {} numbers learn, beside {} that stay the teacher's",
        HumanCount(numbers),
        HumanCount(teacher.network.parameter_count())
    ))
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
    recipe: Resolved,
    files: &[PathBuf],
    context: &Context,
) -> anyhow::Result<(Resolved, Option<Perceptual>)> {
    match (recipe.distance == Distance::L1Lpips, files.is_empty()) {
        (false, true) => Ok((recipe, None)),
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
            let recipe = recipe.with_perceptual(read.config().clone())?;
            Ok((recipe, Some(read)))
        }
    }
}
