//! `fewstep tune`: the recipe of a distillation, found by short ones.

mod halving;
mod record;
mod search;
mod space;
mod table;
mod target;

use crate::bundle::asset::{Asset, FEATURES};
use crate::context::Context;
use crate::model::latent::TrainingArgs;
use crate::output::Outputs;
use crate::page::{self, Wish};
use crate::run::distillation::PRODUCT;
use crate::run::lock::Lock;
use crate::run::recipe::{Kind, RecipeText};
use crate::screen::command_line::again;
use crate::screen::failure::wrong;
use crate::screen::say::say;
use crate::screen::signal;
use crate::typed::whole;
use clap::Args;
use fewstep::distill::{Distance, Recipe};
use fewstep::import::Checkpoint;
use fewstep::metric::{Features, Moments};
use fewstep::model::write_atomically;
use indicatif::HumanCount;
use record::Record;
use search::{BRACKETS, Plan, Search, least_budget};
use space::Space;
use std::path::PathBuf;
use std::process::ExitCode;
use target::Target;

const EXAMPLES: &str = "\
Examples:
  fewstep tune --teacher teacher.safetensors --nfe 2 --budget 32000
  fewstep tune --teacher assets/fashion-mnist-teacher.safetensors --nfe 2 --budget 32000 --reference assets/fashion-mnist-statistics.safetensors
  fewstep tune --teacher teacher.safetensors --nfe 4 --budget 100000 --recipe my.toml --out runs/tune4
  fewstep distill runs/tune/recipe.toml --teacher teacher.safetensors --set trajectories=50000 --out runs/student

The search is successive halving over levels (a curve of two numbers), substeps, free first step, learning rate and weights
of the steps: many candidates are trained a little, the best third goes on. Then once more around the best. Each is paid for
in network calls, so that a dearer recipe gets fewer trajectories. To go on with a search that was interrupted, type the same
command.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// The teacher's file, as for `fewstep distill`
    #[arg(long, value_name = "FILE")]
    teacher: PathBuf,
    /// Network calls of the student
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=64))]
    nfe: u16,
    /// What the search may cost, in trajectories of the recipe that it begins with
    #[arg(long, value_name = "TRAJECTORIES", value_parser = whole::<u64>(1..))]
    budget: u64,
    /// Where it begins, and where all other settings come from [default: the paper's recipe, in batches of 8]
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<PathBuf>,
    /// Change a setting of that recipe, such as batch=16
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Make the Frechet distance to this small: statistics of images [default: the distance to the teacher's images of the
    /// same seeds is made small, which needs no data]
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// The network whose features are compared [default: the bundled one for Fashion-MNIST]
    #[arg(long, value_name = "FILE", requires = "reference")]
    features: Option<PathBuf>,
    /// Images behind each distance [default: 2000; 200 where images of the same seeds are compared, 8 of latents]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(2..=10_000_000))]
    images: Option<u64>,
    /// Candidates of a bracket at most
    #[arg(long, value_name = "N", default_value_t = 27, value_parser = whole::<u16>(2..=999))]
    candidates: u16,
    /// Seed of the candidates
    #[arg(long, value_name = "SEED", default_value_t = 0, value_parser = whole::<u64>(0..))]
    seed: u64,
    /// Folder for everything; the recipe is recipe.toml in it
    #[arg(long, value_name = "DIR", default_value = "runs/tune")]
    out: PathBuf,
    /// Keep the teacher's trajectories here [default: a folder in --out, which goes away at the end]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Throw away what is in the folder
    #[arg(long)]
    overwrite: bool,
    /// Go on with a search; this is done in any case
    #[arg(long, hide = true)]
    resume: bool,
    /// Say how the budget would be divided, and stop
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    texts: TrainingArgs,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let base = base(verb)?;
    let least = least_budget(&base);
    if verb.budget < least {
        return Err(wrong(format!(
            "--budget {}: with batches of {} nothing can be told from less than {least} trajectories; name more, or a smaller \
             batch with --set batch=N",
            verb.budget, base.batch
        )));
    }
    let file = Checkpoint::read(&verb.teacher)?;
    let (card, hash) = file.described()?;
    let space = Space {
        evaluations: usize::from(verb.nfe),
        base,
    };
    // A teacher that does not go with it shows before the first hour.
    space
        .recipe(&space.origin(), verb.budget)?
        .for_teacher(&card)?;
    let candidates = usize::from(verb.candidates);
    let plan = Plan::new(&space, &card, verb.budget, candidates)?;
    if verb.dry_run {
        describe(verb, &plan);
        return Ok(ExitCode::SUCCESS);
    }
    signal::catch("round")?;
    let mut outputs = Outputs::default();
    outputs.folder(&verb.out)?;
    let _lock = Lock::take(&verb.out, context.reporter)?;
    if verb.overwrite {
        clear(verb)?;
    }
    let parts = verb
        .texts
        .equip((&verb.teacher, &verb.out), &space.base, &card, context)?;
    let latent = card.is_latent();
    let teacher = file.model(card, &context.device)?;
    let images = verb.images.unwrap_or(match (&verb.reference, latent) {
        (Some(_), _) => 2000,
        (None, false) => 200,
        (None, true) => 8,
    });
    let settings = serde_json::json!({
        "teacher": hash, "nfe": verb.nfe, "budget": verb.budget, "recipe": space.base, "images": images,
        "candidates": verb.candidates, "seed": verb.seed,
        "reference": verb.reference.as_deref().map(fewstep::model::hash_file).transpose()?,
    });
    let mut record = Record::open(&verb.out, &settings)?;
    let target = match &verb.reference {
        Some(_) if latent => {
            return Err(wrong(
                "--reference does not go with a teacher of latents; leave it out, and latents of the same seeds are compared",
            ));
        }
        Some(reference) => {
            let asset = Asset::find(verb.features.as_deref(), FEATURES)?;
            Target::Frechet {
                features: Box::new(Features::read(asset.path(), &context.device)?),
                reference: Box::new(Moments::read(reference)?),
            }
        }
        None => {
            let guided = (&teacher, space.base.followed());
            Target::paired(guided, &parts, images, context)?
        }
    };
    let name = target.name(&teacher);
    let cache = verb.cache.clone().unwrap_or_else(|| verb.out.join(CACHE));
    let search = Search {
        space,
        teacher,
        hash,
        parts,
        target,
        images,
        seed: verb.seed,
        folder: &verb.out,
        cache: &cache,
        context,
    };
    let best = search.run(&plan, &mut record)?;
    let student = search.place(best.bracket, best.place).join(PRODUCT);
    if student.exists() {
        fs_err::copy(&student, verb.out.join(PRODUCT))?;
    }
    let table = table::markdown(&record, &search.space, name, images)?;
    write_atomically(&verb.out.join("tune.md"), table.as_bytes())?;
    let space = &search.space;
    let text = table::recipe(&best, &record, space, (name, images), &again())?;
    let path = verb.out.join("recipe.toml");
    write_atomically(&path, text.as_bytes())?;
    if verb.cache.is_none() && cache.exists() {
        fs_err::remove_dir_all(&cache)?;
    }
    let page = verb.out.join(page::FILE);
    page::write(
        std::slice::from_ref(&verb.out),
        &Wish::default(),
        &page,
        context,
    )?;
    say!("{table}");
    say!("{name} {}: {}", table::said(&best), path.display());
    Ok(ExitCode::SUCCESS)
}

/// The cache of trajectories inside the search's folder.
const CACHE: &str = "trajectories";

/// Throws away an earlier search, and nothing else.
fn clear(verb: &Verb) -> anyhow::Result<()> {
    for entry in fs_err::read_dir(&verb.out)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && (name == CACHE || name.starts_with("candidate-")) {
            fs_err::remove_dir_all(&path)?;
        } else if [Record::FILE, PRODUCT, "tune.md", "recipe.toml", page::FILE].contains(&&*name) {
            fs_err::remove_file(&path)?;
        }
    }
    Ok(())
}

/// The recipe that the search begins with.
fn base(verb: &Verb) -> anyhow::Result<Recipe> {
    let mut recipe: Recipe = match &verb.recipe {
        Some(file) => {
            let source = RecipeText::read(file)?;
            if source.kind != Kind::Distillation {
                let name = &source.name;
                return Err(wrong(format!("{name} is no recipe for `fewstep distill`")));
            }
            source.resolve(&verb.set)?
        }
        None => RecipeText::parse("the paper's recipe".into(), PAPER)?.resolve(&verb.set)?,
    };
    for (wrong_here, what) in [
        (recipe.variable_steps.is_some(), "variable-steps"),
        (recipe.second_stage, "second-stage"),
        (
            recipe.distance == Distance::L1Lpips,
            "distance = \"l1-lpips\"",
        ),
        (
            recipe.spacing.to_search().is_some(),
            "spacing = \"searched\"",
        ),
    ] {
        if wrong_here {
            return Err(wrong(format!(
                "`fewstep tune` does not search with {what} yet; leave it out of the recipe"
            )));
        }
    }
    // Where it begins has the number of calls that was asked for, and the rule of its levels.
    recipe.steps = usize::from(verb.nfe) + usize::from(recipe.analytic_first_step);
    recipe.check()?;
    Ok(recipe)
}

/// The paper's settings but for the batch: short runs need updates more than they need exact ones.
const PAPER: &str = "kind = \"distillation\"\nbatch = 8\nlearning-rate = 3e-4\n";

/// Says how the budget is divided.
fn describe(verb: &Verb, plan: &Plan) {
    let forwards = (verb.budget as f64 * plan.unit).round() as u64;
    say!(
        "{BRACKETS} brackets, {} network forwards in all (measuring not counted), each:",
        HumanCount(forwards)
    );
    for rung in &plan.rungs {
        let trajectories = rung.cost / plan.unit;
        say!(
            "{:>4} candidates up to {} forwards each, {:.0} trajectories of the recipe that it begins with",
            rung.candidates,
            HumanCount(rung.cost as u64),
            trajectories
        );
    }
}
