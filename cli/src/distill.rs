//! `fewstep distill`: a few-step student of a teacher.

use crate::args::RunArgs;
use crate::device::Context;
use crate::estimate::{Calibration, print_estimate};
use crate::failure::wrong;
use crate::folder::{Folder, default_folder, recipe_json};
use crate::generate::Generator;
use crate::recipe::{Kind, Source, to_toml};
use crate::run::{Job, Measure, Outcome, catch_interrupts, drive};
use crate::sheet;
use clap::Args;
use fewstep::checkpoint::{Model, Sampling, State};
use fewstep::distill::{Distiller, Recipe, TrajectorySource};
use fewstep::{Device, Error, Images, import};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The file that a distillation makes.
pub const PRODUCT: &str = "student.safetensors";

const EXAMPLES: &str = "\
Examples:
  fewstep distill fashion-mnist-nfe2 --teacher teacher.safetensors --dry-run
  fewstep distill fashion-mnist-nfe2 --teacher teacher.safetensors --out runs/nfe2
  fewstep distill my.toml --teacher teacher.safetensors --set steps=4 --set teacher-solver.order=2
  fewstep distill fashion-mnist-nfe2 --teacher teacher.safetensors --out runs/nfe2 --resume";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A recipe file (kind = "distillation"), or the name of a bundled one
    recipe: PathBuf,
    /// The teacher's file: ours, or an EDM, SFD or PyTorch one
    #[arg(long, value_name = "FILE")]
    teacher: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let source = Source::read(&verb.recipe)?;
    if source.kind != Kind::Distillation {
        let name = &source.name;
        return Err(wrong(format!(
            "{name} is a recipe for `fewstep train`, not for `distill`"
        )));
    }
    let recipe: Recipe = source.resolve(&verb.run.set)?;
    recipe.check()?;
    let (teacher, hash) = import::open(&verb.teacher, &context.device)?;
    if verb.run.dry_run {
        return dry_run(&recipe, &teacher, context);
    }
    let path = verb
        .run
        .out
        .clone()
        .unwrap_or_else(|| default_folder(&source.name));
    catch_interrupts()?;
    let start = Start {
        recipe,
        teacher: &teacher,
        hash,
        path: &path,
    };
    let (outcome, _) = start.run(&verb.run, context)?;
    if outcome == Outcome::Finished {
        println!("{}", path.join(PRODUCT).display());
    }
    Ok(outcome.code())
}

/// What a distillation starts from.
pub struct Start<'a> {
    /// The settings.
    pub recipe: Recipe,
    /// The teacher.
    pub teacher: &'a Model,
    /// SHA-256 of the teacher's file.
    pub hash: String,
    /// The run's folder.
    pub path: &'a Path,
}

impl Start<'_> {
    /// Runs, or goes on; also returns the seconds of work done before this start.
    pub fn run(self, args: &RunArgs, context: &Context) -> anyhow::Result<(Outcome, f64)> {
        let device = &context.device;
        let json = recipe_json(&self.recipe)?;
        let text = to_toml(Kind::Distillation, &self.recipe)?;
        let source = TrajectorySource::new(&self.recipe, self.teacher, device)?;
        let (folder, state) = Folder::open(self.path, args.policy(), &json, PRODUCT)?;
        let distiller = match &state {
            Some(state) => Distiller::resume(state, self.teacher, self.hash, device)?,
            None => Distiller::new(self.recipe, self.teacher, self.hash, device)?,
        };
        folder.write_recipe(&text)?;
        let mut job = DistillJob {
            distiller,
            source,
            teacher: self.teacher,
            teacher_row: None,
            device: device.clone(),
        };
        let outcome = drive(&mut job, &folder, args.options(), context.reporter)?;
        Ok((outcome, folder.seconds_before))
    }
}

/// How the recipe samples its teacher.
pub fn teacher_sampling(recipe: &Recipe) -> Sampling {
    Sampling {
        solver: recipe.teacher_solver,
        steps: recipe.steps * recipe.substeps,
        analytic_first_step: false,
        step_condition: false,
        ..recipe.sampling()
    }
}

fn dry_run(recipe: &Recipe, teacher: &Model, context: &Context) -> anyhow::Result<ExitCode> {
    let device = &context.device;
    let micro = recipe.micro_batch.unwrap_or(recipe.batch);
    let calibration = Calibration::measure(recipe.batch, micro, |batch| {
        let scratch = Recipe {
            batch,
            micro_batch: None,
            ..recipe.clone()
        };
        let source = TrajectorySource::new(&scratch, teacher, device)?;
        let mut distiller = Distiller::new(scratch, teacher, String::new(), device)?;
        let (target, condition) = source.round(0)?;
        distiller.round(&target, &condition)?;
        Ok(())
    })?;
    let of_teacher = TrajectorySource::new(recipe, teacher, device)?.evaluations();
    let of_student = Generator::new(teacher, recipe.sampling(), device)?.evaluations();
    let text = to_toml(Kind::Distillation, recipe)?;
    let evaluations = format!("teacher {of_teacher}, student {of_student}");
    let facts = [("evaluations a trajectory", evaluations)];
    let updates = recipe.rounds() * of_student as u64;
    print_estimate(&text, &facts, recipe.rounds(), updates, &calibration);
    Ok(ExitCode::SUCCESS)
}

/// A distillation.
struct DistillJob<'a> {
    distiller: Distiller,
    source: TrajectorySource<'a>,
    teacher: &'a Model,
    /// The preview's upper row, the same at every tick.
    teacher_row: Option<Images>,
    device: Device,
}

impl Job for DistillJob<'_> {
    fn product(&self) -> &'static str {
        PRODUCT
    }

    fn unit(&self) -> &'static str {
        "trajectories"
    }

    fn measure(&self) -> &'static str {
        "distances"
    }

    fn batch(&self) -> u64 {
        self.distiller.recipe().batch as u64
    }

    fn rounds(&self) -> u64 {
        self.distiller.rounds()
    }

    fn total(&self) -> u64 {
        self.distiller.recipe().rounds()
    }

    fn round(&mut self) -> Result<Measure, Error> {
        let (target, condition) = self.source.round(self.distiller.rounds())?;
        let round = self.distiller.round(&target, &condition)?;
        Ok(Measure {
            values: round.distances,
            learning_rate: round.learning_rate,
        })
    }

    fn state(&self) -> Result<State, Error> {
        self.distiller.state()
    }

    fn write(&self, path: &Path) -> Result<(), Error> {
        self.distiller.model()?.write(path)
    }

    fn preview(&mut self, path: &Path) -> anyhow::Result<()> {
        let seeds = sheet::PREVIEW_SEEDS;
        let upper = match &self.teacher_row {
            Some(row) => row.clone(),
            None => {
                let sampling = teacher_sampling(self.distiller.recipe());
                Generator::new(self.teacher, sampling, &self.device)?.images(&seeds)
            }
        };
        self.teacher_row = Some(upper.clone());
        let student = self.distiller.model()?;
        let lower = Generator::of(&student, &self.device)?.images(&seeds);
        Ok(sheet::sheet(&[upper, lower], &[])?.write_png(path, &[])?)
    }
}
