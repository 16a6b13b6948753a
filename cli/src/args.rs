//! What can be typed; each verb's own arguments are in its file.

use crate::{demo, distill, evaluate, inspect, sample, train, verify};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::num::NonZeroUsize;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep demo
  fewstep train fashion-mnist-teacher --data fashion-mnist/ --out runs/teacher
  fewstep distill fashion-mnist-nfe2 --teacher runs/teacher/teacher.safetensors --out runs/nfe2
  fewstep sample runs/nfe2/student.safetensors --seeds 0-63 --out images --grid
  fewstep evaluate runs/nfe2/student.safetensors --reference assets/fashion-mnist-statistics.safetensors
  fewstep inspect runs/nfe2/student.safetensors
  fewstep verify

Exit status: 0 done, 1 the run failed, 2 the command or recipe was wrong, 130 interrupted.";

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
    /// Where to compute: cpu
    #[arg(long, global = true, value_name = "NAME", default_value = "cpu", env = "FEWSTEP_DEVICE")]
    pub device: String,
    /// Show no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Distil the bundled teacher to 2 evaluations and show the result; needs no data
    Demo(demo::Verb),
    /// Train a teacher, or a feature network, from images
    Train(train::Verb),
    /// Distil a teacher into a few-step student
    Distill(distill::Verb),
    /// Draw images from a model file
    Sample(sample::Verb),
    /// Measure the Frechet distance of a model's images, or of a data set
    Evaluate(evaluate::Verb),
    /// Say what a file is
    Inspect(inspect::Verb),
    /// Check this build and device against golden cases
    Verify(verify::Verb),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  fewstep completions bash > ~/.local/share/bash-completion/completions/fewstep")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Prints the completion script.
pub fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    clap_complete::generate(shell, &mut Cli::command(), "fewstep", &mut std::io::stdout());
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
