//! What is typed for every training.

use super::change::Wish;
use super::drive::{Options, Tick};
use super::folder::Policy;
use crate::typed::whole;
use clap::Args;
use std::path::{Path, PathBuf};

/// Which recipe; it can be given with the option or without.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct RecipeArg {
    /// A recipe file, or the name of a bundled one
    #[arg(value_name = "RECIPE")]
    recipe: Option<PathBuf>,
    /// The same, as an option
    #[arg(long = "recipe", value_name = "RECIPE")]
    named: Option<PathBuf>,
}

impl RecipeArg {
    /// What was typed.
    pub fn typed(&self) -> &Path {
        let typed = self.recipe.as_deref().or(self.named.as_deref());
        typed.unwrap_or(Path::new(""))
    }
}

/// Options of every training.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Folder of the run [default: runs/ and the recipe's name]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Change a setting of the recipe, such as batch=32 or teacher-solver.order=2; with --resume one of the learning (docs/runs.md)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print the complete recipe and what it would cost, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Go on with the run in the folder, or start it if there is none yet
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// Throw away the run in the folder
    #[arg(long)]
    pub overwrite: bool,
    /// How often to write checkpoint, metrics and preview: a time such as 60s or 5m, or a number of rounds
    #[arg(long, value_name = "TICK", default_value = "60s")]
    pub tick: Tick,
    /// Leave off after so many rounds, with a checkpoint
    #[arg(long, value_name = "ROUNDS", value_parser = whole::<u64>(1..))]
    pub stop_after: Option<u64>,
    /// With --resume: let the schedule of the learning rate begin anew, over what is left of the run
    #[arg(long, requires = "resume")]
    pub restart_schedule: bool,
    /// Keep the state of every so many rounds (state-0001000.safetensors); `sample` and `evaluate` take it as a model
    #[arg(long, value_name = "ROUNDS", value_parser = whole::<u64>(1..))]
    pub snapshots: Option<u64>,
    /// Keep only the last few of them
    #[arg(long, value_name = "N", requires = "snapshots", value_parser = whole::<u16>(1..=65_535))]
    pub keep: Option<u16>,
}

impl RunArgs {
    /// What to do with a run that is there already.
    pub fn policy(&self) -> Policy {
        Policy {
            resume: self.resume,
            overwrite: self.overwrite,
        }
    }

    /// What is to change in a run that goes on.
    pub fn wish(&self, keys: &'static [&'static str]) -> Wish<'_> {
        Wish {
            sets: &self.set,
            restart: self.restart_schedule,
            keys,
        }
    }

    /// How to run.
    pub fn options(&self) -> Options {
        Options {
            tick: self.tick,
            stop_after: self.stop_after,
            snapshots: self.snapshots,
            keep: self.keep.map(usize::from),
            previews: true,
        }
    }
}
