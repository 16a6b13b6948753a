//! What can be typed; each verb's own arguments are in its file.

use crate::folder::Policy;
use crate::run::{Options, Tick};
use crate::say::say;
use crate::{
    bench, convert, demo, device, distill, evaluate, fetch, inspect, sample, schedule, sweep,
    train, verify,
};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep demo
  fewstep train fashion-mnist-teacher --data fashion-mnist/ --out runs/teacher
  fewstep distill fashion-mnist-nfe2 --teacher runs/teacher/teacher.safetensors --out runs/nfe2
  fewstep sample runs/nfe2/student.safetensors --seeds 0-63 --out images --grid
  fewstep sample stable-diffusion-v1-5/ --prompt 'a lighthouse in a storm' --seeds 0-3
  fewstep evaluate runs/nfe2/student.safetensors --reference assets/fashion-mnist-statistics.safetensors
  fewstep sweep experiments/c-substeps.toml
  fewstep convert runs/several/student.safetensors nfe3.safetensors --nfe 3
  fewstep inspect runs/nfe2/student.safetensors
  fewstep fetch edm-cifar10
  fewstep convert weights/edm-cifar10-32x32-uncond-vp.pkl teacher.safetensors
  fewstep verify
  fewstep bench

Exit status: 0 done, 1 the run failed, 2 the command or recipe was wrong, 130 interrupted, 143 terminated,
129 hung up.";

/// Turns a slow diffusion model into a sampler of one to five network calls.
#[derive(Debug, Parser)]
#[command(name = "fewstep", version, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every verb.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Processor threads to use [default: all cores]
    #[arg(long, global = true, value_name = "N", env = "FEWSTEP_THREADS")]
    pub threads: Option<NonZeroUsize>,
    /// Where to compute: cpu, auto, or in a build with GPUs one such as vulkan:0 (`fewstep devices` lists them)
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "cpu",
        env = "FEWSTEP_DEVICE"
    )]
    pub device: String,
    /// Show no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

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
    /// Change a setting of the recipe, such as batch=32 or teacher-solver.order=2
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
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub stop_after: Option<u64>,
}

impl RunArgs {
    /// What to do with a run that is there already.
    pub fn policy(&self) -> Policy {
        Policy {
            resume: self.resume,
            overwrite: self.overwrite,
        }
    }

    /// How to run.
    pub fn options(&self) -> Options {
        Options {
            tick: self.tick,
            stop_after: self.stop_after,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Distil the bundled teacher to 2 evaluations and show the result; needs no data
    Demo(demo::Verb),
    /// Download pre-trained weights
    Fetch(fetch::Verb),
    /// Train a teacher, or a feature network, from images
    Train(train::Verb),
    /// Distil a teacher into a few-step student
    Distill(distill::Verb),
    /// Draw images from a model file
    Sample(sample::Verb),
    /// Search for the noise levels that suit a model
    Schedule(schedule::Verb),
    /// Run many distillations and samplers, measure them alike, and rank them
    Sweep(sweep::Verb),
    /// Measure a model's images, or a data set: Frechet and kernel distance, precision and recall
    Evaluate(evaluate::Verb),
    /// Write a model file for PyTorch, a foreign one as ours, or a student of several step counts for one
    Convert(convert::Verb),
    /// Say what a file is
    Inspect(inspect::Verb),
    /// Check this build and device against golden cases
    Verify(verify::Verb),
    /// Time a network on this machine: forward, forward and backward, a round of distillation
    Bench(bench::Verb),
    /// List the devices to compute on
    Devices(device::Verb),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  fewstep completions bash > ~/.local/share/bash-completion/completions/fewstep"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Prints the completion script.
pub fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    // Into memory first: it panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fewstep", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
