//! `fewstep schedule`: the noise levels that suit a model best.

use crate::context::Context;
use crate::model::levels::{list, to_toml};
use crate::model::sampling::solver;
use crate::output::Outputs;
use crate::picture::map::map;
use crate::screen::failure::wrong;
use crate::screen::say::say;
use crate::typed::{real, whole};
use clap::{Args, ValueEnum};
use fewstep::grid::{JumpCost, Search, Spacing};
use fewstep::import::open;
use fewstep::model::write_atomically;
use fewstep::schedule::{Schedule, ScheduleSearch};
use fewstep::solver::SolverConfig;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep schedule teacher.safetensors --steps 5 --out levels.toml
  fewstep sample teacher.safetensors --solver ipndm --levels levels.toml --seeds 0-63 --grid
  fewstep schedule teacher.safetensors --steps 3 --analytic-first-step true --cost l2 --picture costs.png

The levels are printed as a list for --levels. In a recipe for `distill`, spacing = { kind = \"searched\" } does the same
before the run.";

/// What a jump costs, as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Cost {
    Deviation,
    L1,
    L2,
}

impl Cost {
    fn jump(self) -> JumpCost {
        match self {
            Self::Deviation => JumpCost::Deviation,
            Self::L1 => JumpCost::L1,
            Self::L2 => JumpCost::L2,
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A model file
    file: PathBuf,
    /// Steps of the grid to find, an analytical first one included
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=500))]
    steps: usize,
    /// Steps of the fine grid to choose from
    #[arg(long, value_name = "N", default_value_t = Search::default().candidates, value_parser = whole::<usize>(2..=500))]
    candidates: usize,
    /// Paths to look at
    #[arg(long, value_name = "N", default_value_t = Search::default().trajectories, value_parser = whole::<usize>(1..))]
    trajectories: usize,
    /// What makes a long step dear
    #[arg(long, value_name = "COST", value_enum, default_value_t = Cost::Deviation)]
    cost: Cost,
    /// What the cost of a step counts for each step before it
    #[arg(long, value_name = "FACTOR", default_value_t = Search::default().gamma, value_parser = real(1e-3, 1e3))]
    gamma: f64,
    /// Solver of the fine paths
    #[arg(long, value_name = "NAME[:ORDER]", default_value = "ipndm:4")]
    solver: String,
    /// Whether the first step of the grid will be taken without calling the network [default: as the file says]
    #[arg(long, value_name = "BOOL")]
    analytic_first_step: Option<bool>,
    /// Seed of the paths' noise
    #[arg(long, value_name = "SEED", default_value_t = 0, value_parser = whole::<u64>(0..))]
    seed: u64,
    /// Write the levels to a file: for --levels, or its lines below [spacing] in a recipe
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write a picture of the costs and the chosen steps
    #[arg(long, value_name = "FILE.png")]
    picture: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    check_picture(verb)?;
    let mut outputs = Outputs::default();
    outputs.file_if(verb.out.as_deref())?;
    outputs.file_if(verb.picture.as_deref())?;
    let (model, _) = open(&verb.file, &context.device)?;
    if model.card.takes_text() {
        return Err(wrong(format!(
            "{}: the search has no texts to ask this model with; take its own levels",
            verb.file.display()
        )));
    }
    let sampling = &model.card.sampling;
    let rule = match &sampling.spacing {
        // A student's levels may be a list; what is between them follows its rule.
        Spacing::Levels { spacing, .. } | Spacing::Curve { spacing, .. } => (**spacing).clone(),
        Spacing::Searched(search) => (*search.spacing).clone(),
        rule => rule.clone(),
    };
    let analytic_first_step = verb
        .analytic_first_step
        .unwrap_or(sampling.analytic_first_step);
    let config: SolverConfig = solver(&verb.solver)?;
    let solver = config.build()?;
    let search = Search {
        cost: verb.cost.jump(),
        gamma: verb.gamma,
        candidates: verb.candidates,
        trajectories: verb.trajectories,
        spacing: Box::new(rule),
        levels: None,
    };
    search.check()?;
    // With an analytical first step there is a reason of its own against a single one.
    let least = if analytic_first_step { 1 } else { 2 };
    if !(least..=search.candidates).contains(&verb.steps) {
        return Err(wrong(format!(
            "--steps {}: there is something to choose from 2 steps up to the {} of --candidates",
            verb.steps, search.candidates
        )));
    }
    let task = ScheduleSearch {
        denoiser: &model.denoiser(),
        image_shape: model.card.network.image_shape(),
        classes: model.card.network.classes(),
        solver: solver.as_ref(),
        search: &search,
        steps: verb.steps,
        sigma_min: sampling.sigma_min,
        sigma_max: sampling.sigma_max,
        analytic_first_step,
        seed: verb.seed,
        device: &context.device,
    };
    let reporter = context.reporter;
    let calls = solver.evaluations(verb.candidates, false);
    reporter.say(format!(
        "{}: {} paths of {calls} evaluations ({config})",
        verb.file.display(),
        verb.trajectories
    ));
    let mut progress = reporter.start("paths", 0, verb.trajectories as u64);
    let found = task.run(&mut |done| progress.set(done as u64, ""))?;
    progress.finish();
    reporter.say(compare(&found, verb.steps));
    // What was found first: what was asked for besides can still fail.
    say!("{}", list(found.grid.levels()));
    if let Some(path) = &verb.out {
        let spacing = Spacing::Levels {
            levels: found.grid.levels().to_vec(),
            spacing: search.spacing.clone(),
        };
        write_atomically(path, to_toml(&spacing)?.as_bytes())?;
    }
    if let Some(path) = &verb.picture {
        map(&found).write_png(path, &[])?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a picture under the name of another kind, before the search.
fn check_picture(verb: &Verb) -> anyhow::Result<()> {
    let Some(path) = &verb.picture else {
        return Ok(());
    };
    let png = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("png"));
    if png {
        return Ok(());
    }
    let path = path.display();
    Err(wrong(format!(
        "--picture {path}: it will be a PNG; name it .png"
    )))
}

/// What the found levels cost beside those of the rule, where the fine grid holds those.
fn compare(found: &Schedule, steps: usize) -> String {
    let cost = found.costs.total(&found.indices);
    let fine = found.fine.steps();
    if !fine.is_multiple_of(steps) {
        return format!("cost {cost:.4}");
    }
    let rule: Vec<usize> = (0..=steps).map(|i| i * fine / steps).collect();
    let before = found.costs.total(&rule);
    format!("cost {cost:.4}, of the rule's own levels {before:.4}")
}
