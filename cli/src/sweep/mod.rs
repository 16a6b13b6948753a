//! `fewstep sweep`: many distillations and samplers measured in the same way, ranked and drawn.

mod curve;
mod measured;
mod picture;
mod plan;
mod table;

use crate::args::RunArgs;
use crate::asset::{Asset, FEATURES, STATISTICS, TEACHER};
use crate::device::Context;
use crate::distill::{PRODUCT, Start};
use crate::failure::wrong;
use crate::generate::Generator;
use crate::latent::{Parts, is_latent};
use crate::measure::{apart, batches, draw, too_few};
use crate::progress::duration;
use crate::run::{Outcome, Tick, catch_interrupts, interrupted};
use crate::seeds::Seeds;
use anyhow::Context as _;
use clap::Args;
use fewstep::Images;
use fewstep::checkpoint::{Model, Sampling, write_atomically};
use fewstep::distill::{Distance, Recipe, direction_cosines};
use fewstep::import;
use fewstep::metric::{Features, Moments, frechet_distance};
use indicatif::HumanCount;
use measured::{Identity, Measured, Results, Sample};
use plan::{Plan, Trial, Work};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  fewstep sweep experiments/substeps.toml
  fewstep sweep experiments/*.toml --out runs/experiments
  fewstep sweep my.toml --dry-run

A sweep is a TOML file; docs/sweep.md describes it. What has been measured is not measured again, also where two sweeps have the
same run: to go on with a sweep that was interrupted, type the same command.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// Sweep files
    #[arg(value_name = "SWEEP", required = true)]
    files: Vec<PathBuf>,
    /// Folder for the runs and tables; each sweep has a folder of its name in it
    #[arg(long, value_name = "DIR", default_value = "runs/sweeps")]
    out: PathBuf,
    /// List the runs and what they cost, and stop
    #[arg(long)]
    dry_run: bool,
    /// Go on with a sweep; this is done in any case
    #[arg(long, hide = true)]
    resume: bool,
    /// Throw away unfinished runs whose settings have changed
    #[arg(long)]
    overwrite: bool,
    /// Do only these of the sweeps' seeds of training, such as 0 or 1-2
    #[arg(long, value_name = "LIST")]
    seeds: Option<Seeds>,
    /// Results of other folders or machines (a results.jsonl): what they hold is not measured again
    #[arg(long, value_name = "FILE")]
    known: Vec<PathBuf>,
    /// Keep the teacher's trajectories in a folder: runs that differ in the student only share them
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    // A mistake in the last file shows before the first hour.
    let plans = verb.files.iter().map(|file| Plan::read(file));
    let mut plans = plans.collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(seeds) = &verb.seeds {
        for plan in &mut plans {
            plan.keep_seeds(&seeds.0);
        }
        plans.retain(|plan| !plan.trials.is_empty());
        if plans.is_empty() {
            return Err(wrong(
                "--seeds leaves nothing to do; no sweep has these seeds",
            ));
        }
    }
    for (at, plan) in plans.iter().enumerate() {
        if let Some(twin) = plans[..at].iter().find(|other| other.name == plan.name) {
            let name = &twin.name;
            return Err(wrong(format!("two of the sweep files are called {name}")));
        }
    }
    if !verb.dry_run {
        catch_interrupts()?;
    }
    let mut results = Results::read(&verb.out, &verb.known)?;
    for plan in &plans {
        let sweep = Sweep::open(plan, verb, context)?;
        if verb.dry_run {
            sweep.print_plan(&results)?;
        } else if !sweep.run(&mut results)? {
            return Ok(ExitCode::from(130));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A sweep with everything that its runs share.
struct Sweep<'a> {
    plan: &'a Plan,
    folder: PathBuf,
    teacher: Model,
    teacher_hash: String,
    features: Features,
    reference: Moments,
    /// Whether what does not fit may be thrown away.
    overwrite: bool,
    /// Where trajectories are kept between runs.
    cache: Option<&'a Path>,
    /// The teacher's images of the paired seeds, batch by batch, once they were needed.
    pairs: OnceCell<Vec<Images>>,
    context: &'a Context,
}

impl<'a> Sweep<'a> {
    fn open(plan: &'a Plan, verb: &'a Verb, context: &'a Context) -> anyhow::Result<Self> {
        let device = &context.device;
        let asset = Asset::find(plan.teacher.as_deref(), TEACHER)?;
        let (teacher, teacher_hash) = import::open(asset.path(), device)?;
        if is_latent(&teacher.card) {
            return Err(wrong(format!(
                "{}: {} makes latents, which sweeps cannot measure yet; use `fewstep distill` and `fewstep evaluate`",
                plan.name,
                asset.path().display()
            )));
        }
        let asset = Asset::find(plan.features.as_deref(), FEATURES)?;
        let features = Features::read(asset.path(), device)?;
        let asset = Asset::find(plan.reference.as_deref(), STATISTICS)?;
        let reference = Moments::read(asset.path())?;
        for trial in &plan.trials {
            if let Work::Distil { recipe, .. } = &trial.work
                && recipe.distance == Distance::L1Lpips
            {
                return Err(wrong(format!(
                    "{}: {}: distance = \"l1-lpips\" is not for sweeps yet; use `fewstep distill --perceptual`",
                    plan.name, trial.name
                )));
            }
        }
        Ok(Self {
            plan,
            folder: verb.out.join(&plan.name),
            teacher,
            teacher_hash,
            features,
            reference,
            overwrite: verb.overwrite,
            cache: verb.cache.as_deref(),
            pairs: OnceCell::new(),
            context,
        })
    }

    /// Says what would be done.
    fn print_plan(&self, results: &Results) -> anyhow::Result<()> {
        println!("# {}", self.plan.title);
        let mut sum = 0;
        for trial in &self.plan.trials {
            let name = &trial.name;
            let mut runs = 0;
            for seed in &trial.seeds {
                let known = results.find(&self.identity(trial, *seed)?)?.is_some();
                runs += u64::from(!known);
            }
            match &trial.work {
                _ if runs == 0 => println!("{name}: measured already"),
                Work::Sample(rows) => println!("{name}: {} measurements", rows.len()),
                Work::Distil {
                    after: Some(first), ..
                } => println!("{name}: {runs} runs, each after one of {first}"),
                Work::Distil { recipe, .. } => {
                    let card = &self.teacher.card;
                    let recipe = self.plan.at_cost(recipe.clone(), card)?;
                    let cost = recipe.cost(card)?.forwards();
                    sum += cost * runs;
                    println!(
                        "{name}: {runs} runs, {} trajectories and {} network forwards each",
                        HumanCount(recipe.trajectories),
                        HumanCount(cost)
                    );
                }
            }
        }
        println!("# network forwards in all: {}", HumanCount(sum));
        Ok(())
    }

    /// Does what is missing and writes the tables; false if it was interrupted.
    fn run(&self, results: &mut Results) -> anyhow::Result<bool> {
        let reporter = self.context.reporter;
        if let Some(warning) = too_few(self.plan.images, self.features.card.network.features) {
            reporter.warn(warning);
        }
        let jobs: Vec<(&Trial, u64)> = self.plan.jobs().collect();
        let mut done = Vec::new();
        let (started, mut fresh) = (Instant::now(), 0);
        for (at, (trial, seed)) in jobs.iter().enumerate() {
            let identity = self.identity(trial, *seed)?;
            let measured = match results.find(&identity)? {
                Some(measured) => measured.clone(),
                None => {
                    let left = started.elapsed().as_secs_f64() / f64::from(fresh.max(1))
                        * (jobs.len() - at) as f64;
                    let eta = match fresh {
                        0 => String::new(),
                        _ => format!(", about {} left", duration(left)),
                    };
                    reporter.say(format!(
                        "{} {} of {}{eta}: {}, seed {seed}",
                        self.plan.name,
                        at + 1,
                        jobs.len(),
                        trial.name
                    ));
                    fresh += 1;
                    let Some(measured) = self.measure(trial, *seed, identity)? else {
                        return Ok(false);
                    };
                    results.add(&measured)?;
                    measured
                }
            };
            done.push((*trial, *seed, measured));
            if interrupted() && at + 1 < jobs.len() {
                reporter.say("stopped; the same command goes on");
                return Ok(false);
            }
        }
        self.write(&done)?;
        Ok(true)
    }

    /// What makes a result worth keeping.
    fn identity(&self, trial: &Trial, seed: u64) -> anyhow::Result<Identity> {
        Ok(Identity {
            work: trial.identity(self.plan, &self.teacher.card, seed)?,
            teacher: self.teacher_hash.clone(),
            features: self.features.hash.clone(),
            reference_images: self.reference.count,
            images: self.plan.images,
            pairs: self.plan.pairs,
            directions: self.plan.directions,
        })
    }

    /// Trains if there is something to train, and measures; `None` if it was interrupted.
    fn measure(
        &self,
        trial: &Trial,
        seed: u64,
        identity: Identity,
    ) -> anyhow::Result<Option<Measured>> {
        let mut measured = Measured {
            identity,
            samples: Vec::new(),
            directions: Vec::new(),
            curve: Vec::new(),
            forwards: 0,
            seconds: 0.0,
        };
        match &trial.work {
            Work::Sample(rows) => {
                for row in rows {
                    let sampling = row.apply(&self.teacher.card)?;
                    measured.samples.push(self.sample(&self.teacher, sampling)?);
                }
            }
            Work::Distil { evaluations, .. } => {
                let Some(student) = self.distil(trial, seed, &mut measured)? else {
                    return Ok(None);
                };
                measured.curve = curve::read(&self.folder.join(trial.place(seed)))?;
                let evaluations = match evaluations.as_slice() {
                    [] => vec![student.card.sampling.evaluations()?],
                    several => several.to_vec(),
                };
                for evaluations in evaluations {
                    let sampling = student.card.sampling_with(evaluations)?;
                    measured.samples.push(self.sample(&student, sampling)?);
                }
            }
        }
        Ok(Some(measured))
    }

    /// Trains the student, or goes on with it; `None` if it was interrupted.
    fn distil(
        &self,
        trial: &Trial,
        seed: u64,
        measured: &mut Measured,
    ) -> anyhow::Result<Option<Model>> {
        let Work::Distil { recipe, after, .. } = &trial.work else {
            return Ok(None);
        };
        let device = &self.context.device;
        let parent = match after {
            None => None,
            Some(name) => match self.parent(self.plan.trial(name)?, seed, measured)? {
                None => return Ok(None),
                parent => parent,
            },
        };
        let (teacher, hash) = match &parent {
            Some((model, hash)) => (model, hash),
            None => (&self.teacher, &self.teacher_hash),
        };
        let recipe = Recipe {
            seed,
            ..self.plan.at_cost(recipe.clone(), &teacher.card)?
        };
        let recipe = recipe.for_teacher(&teacher.card)?;
        measured.forwards = recipe.cost(&teacher.card)?.forwards();
        let args = self.run_args(recipe.rounds());
        let path = self.folder.join(trial.place(seed));
        let start = Start {
            recipe: recipe.clone(),
            teacher: teacher.clone(),
            hash: hash.clone(),
            perceptual: None,
            parts: Parts::default(),
            cache: self.cache,
            path: &path,
        };
        let begun = Instant::now();
        let (outcome, before) = start.run(&args, self.context)?;
        if outcome != Outcome::Finished {
            return Ok(None);
        }
        measured.seconds = before + begun.elapsed().as_secs_f64();
        let (student, _) = Model::read(&path.join(PRODUCT), device)?;
        if self.plan.directions > 0 {
            // The levels may have been searched for.
            let recipe = Recipe {
                spacing: student.card.sampling.spacing.clone(),
                ..recipe
            };
            let trajectories = self.plan.directions;
            measured.directions =
                direction_cosines(&student, &recipe, teacher, trajectories, device)?;
        }
        Ok(Some(student))
    }

    /// The student that another run starts from, and the hash of its file. It is trained if its file is not there, as when
    /// only its result is.
    fn parent(
        &self,
        trial: &Trial,
        seed: u64,
        scratch: &Measured,
    ) -> anyhow::Result<Option<(Model, String)>> {
        let file = self.folder.join(trial.place(seed)).join(PRODUCT);
        if !file.exists() && self.distil(trial, seed, &mut scratch.clone())?.is_none() {
            return Ok(None);
        }
        Ok(Some(import::open(&file, &self.context.device)?))
    }

    /// Regular metrics, so that runs can be compared along the way.
    fn run_args(&self, rounds: u64) -> RunArgs {
        RunArgs {
            out: None,
            set: Vec::new(),
            dry_run: false,
            resume: !self.overwrite,
            overwrite: self.overwrite,
            tick: Tick::Rounds(rounds.div_ceil(TICKS).max(1)),
            stop_after: None,
        }
    }

    fn sample(&self, model: &Model, sampling: Sampling) -> anyhow::Result<Sample> {
        let (device, reporter) = (&self.context.device, self.context.reporter);
        let generator = Generator::new(model, sampling, device)?;
        let seeds: Vec<u64> = (0..self.plan.images).collect();
        let drawn = draw(&generator, &seeds, &self.features, reporter)?;
        let pairs = &seeds[..self.plan.pairs.min(self.plan.images) as usize];
        if self.pairs.get().is_none() {
            let teacher = Generator::of(&self.teacher, device)?;
            let _ = self.pairs.set(batches(&teacher, pairs, reporter)?);
        }
        let theirs = self.pairs.get().context("the teacher's images")?;
        Ok(Sample {
            evaluations: generator.evaluations(),
            frechet: frechet_distance(&drawn, &self.reference)?,
            paired: apart(theirs, &generator, pairs)?.rms,
        })
    }

    fn write(&self, done: &[(&Trial, u64, Measured)]) -> anyhow::Result<()> {
        let rows = table::rows(done);
        let file = |name: &str| self.folder.join(name);
        write_atomically(&file("sweep.csv"), table::csv(&rows).as_bytes())?;
        let markdown = table::markdown(self.plan, &rows) + &table::directions(done);
        write_atomically(&file("sweep.md"), markdown.as_bytes())?;
        picture::draw(self.plan, &rows, &file("sweep.svg"))?;
        let curves = curve::series(done);
        if !curves.is_empty() {
            curve::draw(self.plan, &curves, &file("curves.svg"))?;
        }
        println!("{markdown}");
        println!("{}", self.folder.display());
        Ok(())
    }
}

/// Points of a training curve.
const TICKS: u64 = 20;
