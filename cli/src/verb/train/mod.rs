//! `fewstep train`: a teacher or a feature network, from images.

pub mod features;

use crate::context::Context;
use crate::model::generate::Generator;
use crate::output::Outputs;
use crate::page;
use crate::picture::sheet;
use crate::run::args::{RecipeArg, RunArgs};
use crate::run::change;
use crate::run::dataset::{DataArgs, classes};
use crate::run::drive::{Job, Measure, Outcome, drive};
use crate::run::estimate::{Calibration, Extent, Need, Training, print_estimate};
use crate::run::folder::{Folder, STATE, default_folder, recipe_json};
use crate::run::recipe::{Kind, RecipeText, to_toml};
use crate::run::share::{by_one, micro_batch};
use crate::screen::failure::wrong;
use crate::screen::say::say;
use anyhow::Context as _;
use clap::Args;
use fewstep::data::{Dataset, Split};
use fewstep::model::State;
use fewstep::teacher::{TeacherRecipe, Trainer};
use fewstep::{Device, Error, import};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// The file that a training makes.
const PRODUCT: &str = fewstep::model::Kind::Teacher.file_name();

const EXAMPLES: &str = "\
Examples:
  fewstep train fashion-mnist-teacher --data fashion-mnist/ --dry-run
  fewstep train fashion-mnist-teacher --data fashion-mnist/ --out runs/teacher
  fewstep train my.toml --data photos.zip --resize --set batch=32 --set network.dropout=0.1
  fewstep train my.toml --data photos/ --from teacher.safetensors --set images=20000 --set decay-from=10000
  fewstep train fashion-mnist-teacher --data fashion-mnist/ --out runs/teacher --resume";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    #[command(flatten)]
    recipe: RecipeArg,
    #[command(flatten)]
    data: DataArgs,
    /// Start from the weights of this model, or of the run in this folder, instead of random ones
    #[arg(long, value_name = "FILE|RUN")]
    from: Option<PathBuf>,
    /// Show the run in a browser on this machine while it goes on; the address is said at the start
    #[arg(long, conflicts_with = "dry_run")]
    live: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let source = RecipeText::read(verb.recipe.typed())?;
    match source.kind {
        Kind::Teacher => teacher(verb, &source, context),
        Kind::Features if verb.from.is_some() => Err(wrong("--from is for teachers only")),
        Kind::Features if verb.live => Err(wrong(
            "--live is for teachers only; `fewstep watch RUN` shows the run of a feature network",
        )),
        Kind::Features => {
            by_one("training a feature network", context)?;
            features::run(&source, &verb.data, &verb.run, context)
        }
        Kind::Distillation => {
            let name = &source.name;
            Err(wrong(format!(
                "{name} is a recipe for `fewstep distill`, not for `train`"
            )))
        }
    }
}

fn teacher(verb: &Verb, source: &RecipeText, context: &Context) -> anyhow::Result<ExitCode> {
    let mut recipe: TeacherRecipe = source.resolve(&verb.run.set)?;
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
    let leads = context.together.leads();
    let mut outputs = Outputs::default();
    if !verb.run.dry_run && leads {
        outputs.folder(&path)?;
    }
    let [channels, size, _] = recipe.network.image_shape();
    let data = verb.data.open(size, channels, Split::Train, context)?;
    let device = &context.device;
    if verb.run.dry_run {
        let text = to_toml(Kind::Teacher, &recipe)?;
        return dry_run(&recipe, &data, &text, context);
    }
    let json = recipe_json(&recipe)?;
    let training = Training {
        micro: recipe.micro_batch.unwrap_or(recipe.batch),
        checkpointing: false,
        average: true,
        teacher: None,
        adapters: None,
    };
    let need = Need::training(&recipe.network, training);
    let less = "lower micro-batch (--dry-run measures)";
    need.check(less, context.ignore_memory, context.reporter)?;
    let fresh = match &verb.from {
        Some(file) => {
            let (model, hash) = import::open(&weights_of(file), device)?;
            Trainer::from_model(recipe.clone(), &model, hash, device)?
        }
        None => Trainer::new(recipe.clone(), device)?,
    };
    fresh.check_data(&data)?;
    let reporter = context.reporter;
    let (mut folder, state) = Folder::open(&path, verb.run.policy(), PRODUCT, context)?;
    let (trainer, recipe) = match state {
        Some(mut state) => {
            let wish = verb.run.wish(change::TEACHER);
            let recipe = change::go_on(
                &mut folder,
                &mut state,
                &json,
                wish,
                TeacherRecipe::changed,
                reporter,
            )?;
            let trainer = Trainer::resume(&state, device)?;
            let (before, now) = (trainer.parent(), fresh.parent());
            if now.is_some_and(|now| Some(now) != before) {
                let path = path.display();
                return Err(wrong(format!(
                    "the run in {path} did not start from the file that --from names; leave --from away to go on with it"
                )));
            }
            verb.data.compare(&folder, &state, context);
            (trainer, recipe)
        }
        None => (fresh, recipe),
    };
    let trainer = trainer
        .with_data(&data)
        .with_context(|| verb.data.others(&folder))?;
    let text = to_toml(Kind::Teacher, &recipe)?;
    folder.write_recipe(&text)?;
    if verb.live && leads {
        page::watch(&path, reporter)?;
    }
    let mut job = TeacherJob {
        trainer: trainer.with_group(context.together.group()),
        data: &data,
        device: device.clone(),
    };
    let outcome = drive(&mut job, &folder, verb.run.options(), context)?;
    if outcome == Outcome::Finished {
        say!("{}", folder.file(PRODUCT).display());
    }
    Ok(outcome.code())
}

/// Where the weights are: of a run the newest, which its state has.
fn weights_of(typed: &Path) -> PathBuf {
    let inside = [STATE, PRODUCT].map(|name| typed.join(name));
    let found = inside.into_iter().find(|file| file.is_file());
    found.unwrap_or_else(|| typed.to_path_buf())
}

fn dry_run(
    recipe: &TeacherRecipe,
    data: &Dataset,
    text: &str,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let micro = recipe.micro_batch.unwrap_or(recipe.batch);
    let extent = Extent {
        batch: recipe.batch,
        micro,
        kept: 0,
    };
    let calibration = Calibration::measure(extent, |batch, micro, _| {
        let scratch = TeacherRecipe {
            batch,
            micro_batch: Some(micro),
            ..recipe.clone()
        };
        let mut trainer = Trainer::new(scratch, &context.device)?;
        trainer.check_data(data)?;
        trainer.round(data)?;
        let started = Instant::now();
        trainer.round(data)?;
        Ok(started.elapsed().as_secs_f64())
    })?;
    let trainer = Trainer::new(recipe.clone(), &context.device)?;
    let model = trainer.model()?;
    let sampler = Generator::of(&model, &context.device)?;
    let facts = [
        (
            "evaluations a trajectory",
            format!("teacher {}", sampler.evaluations()),
        ),
        (
            "images",
            format!("{}, {} shown", data.len(), recipe.length()),
        ),
        ("classes", classes(data)),
    ];
    print_estimate(text, &facts, recipe.rounds(), recipe.rounds(), &calibration);
    Ok(ExitCode::SUCCESS)
}

/// The training of a teacher.
struct TeacherJob<'a> {
    trainer: Trainer,
    data: &'a Dataset,
    device: Device,
}

impl Job for TeacherJob<'_> {
    fn product(&self) -> &'static str {
        PRODUCT
    }

    fn unit(&self) -> &'static str {
        "images"
    }

    fn measure(&self) -> &'static str {
        "loss"
    }

    fn batch(&self) -> u64 {
        self.trainer.recipe().batch as u64
    }

    fn rounds(&self) -> u64 {
        self.trainer.rounds()
    }

    fn total(&self) -> u64 {
        self.trainer.recipe().rounds()
    }

    fn round(&mut self) -> Result<Measure, Error> {
        let round = self.trainer.round(self.data)?;
        Ok(Measure {
            values: vec![round.loss],
            learning_rate: round.learning_rate,
        })
    }

    fn state(&self) -> Result<State, Error> {
        self.trainer.state()
    }

    fn write(&self, path: &Path) -> Result<(), Error> {
        self.trainer.model()?.write(path)
    }

    fn preview(&mut self, path: &Path) -> anyhow::Result<()> {
        let model = self.trainer.model()?;
        let recipe = self.trainer.recipe();
        let most = recipe.micro_batch.unwrap_or(recipe.batch);
        let generator = Generator::of(&model, &self.device)?;
        let images = generator.images_in_parts(&sheet::PREVIEW_SEEDS, most)?;
        let title = format!(
            "{} evaluations, round {} of {}",
            generator.evaluations(),
            self.trainer.rounds(),
            recipe.rounds()
        );
        let labels = generator.labels(&sheet::PREVIEW_SEEDS)?;
        Ok(sheet::sheet(&[images], &[title], &labels)?.write_png(path, &[])?)
    }
}
