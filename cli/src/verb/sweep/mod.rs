//! `fewstep sweep`: many distillations and samplers measured in the same way, ranked and drawn.

mod check;
mod curve;
mod forecast;
mod gauge;
mod latent;
mod measured;
mod picture;
mod plan;
mod setup;
mod table;
mod text;
mod trial;
mod work;

use crate::context::Context;
use crate::model::seeds::Seeds;
use crate::output::Outputs;
use crate::page::{self, Wish};
use crate::screen::failure::{diverged, wrong};
use crate::screen::say::say;
use crate::screen::signal;
use anyhow::bail;
use clap::Args;
use fewstep::model::write_atomically;
use forecast::Forecast;
use indicatif::HumanCount;
use measured::{Measured, Results, key};
use plan::Plan;
use setup::Sweep;
use std::path::PathBuf;
use std::process::ExitCode;
use trial::{Trial, Work};

const EXAMPLES: &str = "\
Examples:
  fewstep sweep experiments/c-substeps.toml
  fewstep sweep experiments/*.toml --out runs/experiments
  fewstep sweep my.toml --dry-run
  fewstep sweep experiments/*.toml --known experiments/results.jsonl --tables

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
    /// Write the tables and plots of what is measured already, and stop
    #[arg(long, conflicts_with_all = ["dry_run", "overwrite", "cache"])]
    tables: bool,
    /// Go on with a sweep; this is done in any case
    #[arg(long, hide = true)]
    resume: bool,
    /// Start every run without a result anew, whatever its folder holds
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
    if !verb.dry_run && !verb.tables {
        signal::catch("round or batch")?;
    }
    let open = |plan| {
        Sweep::open(
            plan,
            &verb.out,
            verb.overwrite,
            verb.cache.as_deref(),
            context,
        )
    };
    let mut outputs = Outputs::default();
    if !verb.dry_run {
        outputs.folder(&verb.out)?;
        if let Some(folder) = &verb.cache {
            outputs.folder(folder)?;
        }
    }
    let mut results = Results::read(&verb.out, &verb.known)?;
    let mut work = Forecast::default();
    for plan in &plans {
        let sweep = open(plan)?;
        sweep.check()?;
        work.add(&sweep, &results)?;
    }
    let mut failed = 0;
    for plan in &plans {
        let sweep = open(plan)?;
        if verb.dry_run {
            sweep.print_plan(&results)?;
        } else if verb.tables {
            sweep.write_known(&results)?;
        } else {
            let Some(failures) = sweep.run(&mut results, &mut work)? else {
                return Ok(ExitCode::from(signal::status()));
            };
            failed += failures;
        }
    }
    if verb.dry_run {
        say!("{}", work.describe());
    }
    if failed > 0 {
        bail!("{failed} runs failed, as said above; everything else is done");
    }
    Ok(ExitCode::SUCCESS)
}

impl Sweep<'_> {
    /// Says what would be done.
    fn print_plan(&self, results: &Results) -> anyhow::Result<()> {
        say!("# {}", self.plan.title);
        for trial in &self.plan.trials {
            let name = &trial.name;
            let mut runs = 0;
            for seed in &trial.seeds {
                let known = results.find(&self.identity(trial, *seed)?)?.is_some();
                runs += u64::from(!known);
            }
            match &trial.work {
                _ if runs == 0 => say!("{name}: measured already"),
                Work::Sample(rows) => say!("{name}: {} measurements", rows.len()),
                Work::Distil {
                    after: Some(first), ..
                } => say!("{name}: {runs} runs, each after one of {first}"),
                Work::Distil { recipe, .. } => {
                    let card = &self.teacher.card;
                    let recipe = self.plan.at_cost(recipe.clone(), card)?;
                    let cost = recipe.cost(card)?.forwards();
                    say!(
                        "{name}: {runs} runs, {} trajectories and {} network forwards each",
                        HumanCount(recipe.trajectories),
                        HumanCount(cost)
                    );
                }
            }
        }
        Ok(())
    }

    /// Does what is missing and writes the tables. A training that diverges is said, and the others go on: how many did, or
    /// `None` if the sweep was interrupted.
    fn run(&self, results: &mut Results, work: &mut Forecast) -> anyhow::Result<Option<usize>> {
        let reporter = self.context.reporter;
        if let Some(warning) = self.gauge.too_few(self.counts) {
            reporter.warn(warning);
        }
        let jobs: Vec<(&Trial, u64)> = self.plan.jobs().collect();
        let (mut done, mut failures) = (Vec::new(), Vec::new());
        for (at, (trial, seed)) in jobs.iter().enumerate() {
            let identity = self.identity(trial, *seed)?;
            let measured = match results.find(&identity)? {
                Some(measured) => measured.clone(),
                None => {
                    reporter.say(format!(
                        "{} {} of {}{}: {}, seed {seed}",
                        self.plan.name,
                        at + 1,
                        jobs.len(),
                        work.eta(),
                        trial.name
                    ));
                    work.begin();
                    let key = key(&identity)?;
                    let found = self.measure(trial, *seed, identity);
                    work.end(&key);
                    match found {
                        Ok(Some(measured)) => {
                            if let Err(error) = results.add(&measured) {
                                // Hours may be in it: the line can be put into the file by hand.
                                say!("{}", measured.line()?);
                                return Err(error);
                            }
                            measured
                        }
                        Ok(None) => return Ok(None),
                        Err(error) if diverged(&error) => {
                            let failure = format!("{}, seed {seed}: {error:#}", trial.name);
                            reporter.warn(format!("{failure}; going on with the others"));
                            failures.push(failure);
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            done.push((*trial, *seed, measured));
            if signal::asked() && at + 1 < jobs.len() {
                reporter.say("stopped; the same command goes on");
                return Ok(None);
            }
        }
        let remarks = failures.iter().map(|f| format!("\nFailed: {f}\n"));
        if !done.is_empty() {
            self.write(&done, &remarks.collect::<String>())?;
        }
        Ok(Some(failures.len()))
    }

    /// Writes the tables of what is there.
    fn write_known(&self, results: &Results) -> anyhow::Result<()> {
        let mut done = Vec::new();
        for (trial, seed) in self.plan.jobs() {
            if let Some(measured) = results.find(&self.identity(trial, seed)?)? {
                done.push((trial, seed, measured.clone()));
            }
        }
        let (all, name) = (self.plan.jobs().count(), &self.plan.name);
        let missing = match all - done.len() {
            0 => String::new(),
            missing => format!("\n{missing} of {all} runs are not measured yet.\n"),
        };
        if done.is_empty() {
            self.context
                .reporter
                .warn(format!("{name}: none of {all} runs is measured yet"));
            return Ok(());
        }
        self.write(&done, &missing)
    }

    /// Writes tables and plots, with a remark under the table.
    fn write(&self, done: &[(&Trial, u64, Measured)], remark: &str) -> anyhow::Result<()> {
        let rows = table::rows(done);
        let file = |name: &str| self.folder.join(name);
        let markdown =
            table::markdown(self.plan, self.counts, &rows) + remark + &table::directions(done);
        // What was found first: writing it can still fail.
        say!("{markdown}");
        write_atomically(&file("sweep.csv"), table::csv(&rows).as_bytes())?;
        write_atomically(&file("sweep.md"), markdown.as_bytes())?;
        picture::draw(self.plan, &rows, &file("sweep.svg"))?;
        let curves = curve::series(done);
        if !curves.is_empty() {
            curve::draw(self.plan, &curves, &file("curves.svg"))?;
        }
        let (folder, page) = (self.folder.clone(), file(page::FILE));
        page::write(&[folder], &Wish::default(), &page, self.context)?;
        say!("{}", self.folder.display());
        Ok(())
    }
}
