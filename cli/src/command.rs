//! What can be typed; each verb's own arguments are in its file.

use crate::context::Global;
use crate::group::{Launched, launched};
use crate::screen::failure::wrong;
use crate::screen::say::{self, say};
use crate::typed::{matches, prepared};
#[cfg(feature = "fetch")]
use crate::verb::fetch;
use crate::verb::{
    bench, convert, demo, devices, distill, evaluate, inspect, page, report, sample, schedule,
    sweep, train, trajectories, tune, verify, watch,
};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use std::ffi::OsString;
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
  fewstep report runs/nfe2
  fewstep watch runs/nfe2
  fewstep page runs/nfe2/student.safetensors --out site
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

impl Cli {
    /// What was typed.
    pub fn typed() -> Result<Self, clap::Error> {
        let words: Vec<OsString> = std::env::args_os().collect();
        let mut found = matches(prepared(Self::command()), &words)?;
        Self::from_arg_matches_mut(&mut found)
            .map_err(|error| error.format(&mut prepared(Self::command())))
    }
}

/// What becomes of a command that is started several times together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Several {
    /// Its work is shared out.
    Share,
    /// Each does it.
    Repeat,
    /// It is refused.
    Refuse,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Distil the bundled teacher to 2 evaluations and show the result; needs no data
    Demo(demo::Verb),
    /// Download pre-trained weights
    #[cfg(feature = "fetch")]
    Fetch(fetch::Verb),
    /// Train a teacher, or a feature network, from images
    Train(train::Verb),
    /// Distil a teacher into a few-step student
    Distill(distill::Verb),
    /// Make the teacher's trajectories for `distill --cache`, on any number of machines
    Trajectories(trajectories::Verb),
    /// Draw images from a model file
    Sample(sample::Verb),
    /// Search for the noise levels that suit a model
    Schedule(schedule::Verb),
    /// Run many distillations and samplers, measure them alike, and rank them
    Sweep(sweep::Verb),
    /// Find the recipe of a distillation by short ones: levels, substeps, learning rate
    Tune(tune::Verb),
    /// Measure a model's images, or a data set: Frechet and kernel distance, precision and recall
    Evaluate(evaluate::Verb),
    /// Show what runs, sweeps, searches and measurements found, as one HTML page
    Report(report::Verb),
    /// Make a page that samples from a model in the visitor's browser
    Page(page::Verb),
    /// Look at a run in a browser while it goes on
    Watch(watch::Verb),
    /// Write a model file for PyTorch, a foreign one as ours, or a student of several step counts for one
    Convert(convert::Verb),
    /// Say what a file is
    Inspect(inspect::Verb),
    /// Check this build and device against golden cases
    Verify(verify::Verb),
    /// Time a network on this machine: forward, forward and backward, a round of distillation
    Bench(bench::Verb),
    /// List the devices to compute on
    Devices(devices::Verb),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  fewstep completions bash > ~/.local/share/bash-completion/completions/fewstep"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Command {
    /// What several processes of a launcher do with it.
    fn by_several(&self) -> Several {
        match self {
            Self::Train(_) | Self::Distill(_) | Self::Sample(_) | Self::Evaluate(_) => {
                Several::Share
            }
            // They tell each other by the files of a folder, if at all.
            Self::Trajectories(_) | Self::Completions { .. } => Several::Repeat,
            _ => Several::Refuse,
        }
    }

    /// Whether it can be run as often as a launcher has started it.
    pub fn check_processes(&self) -> anyhow::Result<()> {
        let Some(Launched { rank, size }) = launched().filter(|launched| launched.size > 1) else {
            return Ok(());
        };
        let refused = match self.by_several() {
            Several::Share if cfg!(feature = "mpi") => return Ok(()),
            Several::Repeat => return Ok(()),
            Several::Share => {
                "this build does not share work among them: build it with --features mpi (docs/runs.md), or start it once"
            }
            Several::Refuse => {
                "only `train`, `distill`, `sample` and `evaluate` share their work among them, and each would do all of this: \
                 start it once, without mpirun"
            }
        };
        if rank > 0 {
            say::hush();
        }
        Err(wrong(format!("{size} processes were started: {refused}")))
    }

    /// What to change where memory does not suffice.
    pub fn less_memory(&self) -> &'static str {
        match self {
            Self::Train(_) => {
                "lower micro-batch (--set micro-batch=1 takes least, with the same result) or batch; what is done up to the \
                 last checkpoint is kept for --resume"
            }
            Self::Distill(_) | Self::Sweep(_) | Self::Demo(_) => {
                "lower micro-batch (--set micro-batch=1 takes least, with the same result), or set \
                 gradient-checkpointing=true, or teacher-precision=bf16; what is done up to the last checkpoint is kept for \
                 --resume"
            }
            Self::Sample(_) | Self::Bench(_) => {
                "lower --batch (--batch 1 takes least); pictures that are written stay, and the same command goes on"
            }
            Self::Evaluate(_) => {
                "take fewer --images, or --metrics frechet, which keeps no features; another machine may have more memory"
            }
            Self::Trajectories(_) => {
                "lower micro-batch, here and in the distillation (--set micro-batch=1 takes least), or set teacher-precision=bf16"
            }
            Self::Schedule(_) => "take fewer --trajectories, or fewer --candidates",
            _ => "another machine may have more memory",
        }
    }
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
    use crate::model::latent::Size;
    use crate::model::levels::Levels;
    use crate::model::seeds::Seeds;
    use crate::run::drive::Tick;
    use clap::error::ErrorKind;
    use std::any::TypeId;
    use std::num::NonZeroUsize;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
        prepared(Cli::command()).debug_assert();
    }

    /// Of every verb, now and later.
    #[test]
    fn what_is_no_number_is_answered_with_the_range() {
        let numbers = [
            TypeId::of::<u64>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<usize>(),
            TypeId::of::<NonZeroUsize>(),
            TypeId::of::<f32>(),
            TypeId::of::<f64>(),
            TypeId::of::<Seeds>(),
            TypeId::of::<Size>(),
            TypeId::of::<Levels>(),
            TypeId::of::<Tick>(),
        ];
        let definition = prepared(Cli::command());
        let mut asked = 0;
        for verb in definition.get_subcommands() {
            for arg in definition.get_arguments().chain(verb.get_arguments()) {
                let kind = arg.get_value_parser().type_id();
                let number = numbers.iter().any(|number| kind == *number);
                let Some(long) = arg
                    .get_long()
                    .filter(|_| number && arg.get_action().takes_values())
                else {
                    continue;
                };
                for bad in ["-1", "-3.5", "1e99", "", "nan", "-inf", "--quiet", "two"] {
                    let words = ["fewstep", verb.get_name(), &format!("--{long}"), bad];
                    let error = definition.clone().try_get_matches_from(words).unwrap_err();
                    let said = error.to_string();
                    let range = [
                        "a whole number,",
                        "a number,",
                        "seeds are whole numbers, 0 to",
                        "whole numbers from 1 to",
                    ];
                    let range = range.iter().chain(&[
                        "at least two positive",
                        "a list such as",
                        "a time like",
                    ]);
                    assert_eq!(
                        error.kind(),
                        ErrorKind::ValueValidation,
                        "{words:?}: {said}"
                    );
                    assert!(
                        range.into_iter().any(|word| said.contains(word)),
                        "{words:?}: {said}"
                    );
                    asked += 1;
                }
            }
        }
        assert!(asked > 8 * 30, "{asked}");
    }

    #[test]
    fn texts_may_begin_with_a_dash_and_forgotten_ones_are_noticed() {
        let typed = |words: &[&str]| {
            let words = [&["fewstep", "sample", "x"], words].concat();
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            matches(prepared(Cli::command()), &words)
        };
        let text = |words: &[&str], name: &str| {
            let found = typed(words).unwrap();
            found
                .subcommand()
                .unwrap()
                .1
                .get_one::<String>(name)
                .cloned()
        };
        for prompt in [
            "-1 dog",
            "--",
            "-",
            "--no such option",
            " --seeds",
            "- a list",
            "-qq",
        ] {
            assert_eq!(text(&["--prompt", prompt], "prompt").unwrap(), prompt);
            assert_eq!(text(&["--negative", prompt], "negative").unwrap(), prompt);
        }
        for (words, option) in [
            (
                &["--prompt", "--seeds", "3"][..],
                "'--seeds' for '--prompt <TEXT>': --seeds is an option",
            ),
            (&["--negative", "--seeds=3"], "--seeds is an option"),
            (&["--prompt", "-q"], "-q is an option"),
            (&["--negative", "--threads", "2"], "--threads is an option"),
            (
                &["--batch", "--seeds", "3"],
                "--seeds is an option, and before it a",
            ),
        ] {
            let said = typed(words).unwrap_err().to_string();
            assert!(said.contains(option), "{words:?}: {said}");
        }
        // A forgotten path is not what follows it.
        let said = typed(&["--out", "--grid"]).unwrap_err().to_string();
        assert!(
            said.contains("a value is required for '--out <DIR>'"),
            "{said}"
        );
    }
}
