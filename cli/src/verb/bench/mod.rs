//! `fewstep bench`: how fast a network is on this machine.

#[cfg(feature = "gpu")]
mod launch;

use crate::context::{Context, label};
use crate::output::Outputs;
use crate::run::memory::peak_memory;
use crate::screen::failure::wrong;
use crate::screen::progress::{bytes, figure};
use crate::screen::say::say;
use crate::typed::whole;
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use fewstep::model::{Card, Model};
use fewstep::network::Precision;
use fewstep::transfer::Transfers;
use fewstep::workload::{Preset, Workload};
use fewstep::{Device, import};
use serde_json::json;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  fewstep bench
  fewstep bench bench64 --threads 1
  fewstep bench teacher.safetensors --batch 32 --work forward,gradient
  fewstep bench cifar10 --work round --repeats 3 --json
  fewstep bench cifar10 --batch 128 --precision bf16 --device cuda:0
  fewstep bench cifar10 --batch 128 --launches --device cuda:0
  fewstep bench bench64 --write-model bench64.safetensors --write-results results.safetensors

forward is one call of the network as a teacher makes it, gradient one call forward and backward as a student's step makes
it, round a whole round of distillation: 3 steps with 4 substeps, DPM-Solver++(3M), analytical first step. Each is done once
before it is timed. benches/pytorch/ compares all of it with PyTorch.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A model file, or a network with random weights: fashion-mnist, bench64, cifar10, lsun-bedroom, stable-diffusion
    /// or stable-diffusion-xl
    #[arg(default_value = "fashion-mnist")]
    model: PathBuf,
    /// Images computed at once [default: 8; 2 from cifar10 on, 1 of stable-diffusion-xl]
    #[arg(long, value_name = "N", value_parser = whole::<NonZeroUsize>(1..=65_536))]
    batch: Option<NonZeroUsize>,
    /// What to time
    #[arg(
        long,
        value_name = "WORK,...",
        value_enum,
        value_delimiter = ',',
        default_values_t = Work::ALL
    )]
    work: Vec<Work>,
    /// What networks compute in; weights are held in f32
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    precision: Number,
    /// Count what each sends to the device and reads from it and, on a GPU, the kernels that it launches, instead of timing it
    #[arg(long, conflicts_with_all = ["repeats", "write_model", "write_results"])]
    launches: bool,
    /// How often to time each
    #[arg(long, value_name = "N", default_value = "5", value_parser = whole::<NonZeroUsize>(1..=1_000_000))]
    repeats: NonZeroUsize,
    /// Print JSON, with every time
    #[arg(long)]
    json: bool,
    /// Write the model to a file, and time nothing
    #[arg(long, value_name = "FILE")]
    write_model: Option<PathBuf>,
    /// Write inputs and results of all work (with --work forward, of that alone) to a safetensors file, for a comparison with
    /// another implementation, and time nothing
    #[arg(long, value_name = "FILE")]
    write_results: Option<PathBuf>,
}

/// A type of numbers, as in a recipe's `compute-precision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Number {
    F32,
    Bf16,
    F16,
}

impl Number {
    fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
            Self::F16 => Precision::F16,
        }
    }
}

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Work {
    /// One call of the network, without gradients.
    Forward,
    /// One call of the network, forward and backward.
    Gradient,
    /// A round of distillation.
    Round,
}

impl Work {
    const ALL: [Self; 3] = [Self::Forward, Self::Gradient, Self::Round];

    fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Gradient => "gradient",
            Self::Round => "round",
        }
    }

    fn run(self, workload: &mut Workload) -> anyhow::Result<()> {
        match self {
            Self::Forward => drop(black_box(workload.forward())),
            Self::Gradient => drop(black_box(workload.gradient())),
            Self::Round => drop(black_box(workload.round()?)),
        }
        Ok(())
    }

    /// Multiply-adds in calls of a network that has `each` in one; a backward pass counts twice.
    fn multiply_adds(self, each: f64, workload: &Workload) -> anyhow::Result<f64> {
        Ok(match self {
            Self::Forward => each,
            Self::Gradient => 3.0 * each,
            Self::Round => {
                let [teacher, student] = workload.calls()?;
                (teacher + 3 * student) as f64 * each
            }
        })
    }
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let device = &context.device;
    let mut outputs = Outputs::default();
    outputs.file_if(verb.write_model.as_deref())?;
    outputs.file_if(verb.write_results.as_deref())?;
    let (model, usual) = open(&verb.model, device)?;
    let batch = verb.batch.map_or(usual, usize::from);
    let precision = verb.precision.precision();
    let workload = |batch| Workload::in_precision(&model, batch, precision, device);
    if verb.write_model.is_some() || verb.write_results.is_some() {
        if let Some(path) = &verb.write_model {
            model.write(path)?;
            say!("{}", path.display());
        }
        if let Some(path) = &verb.write_results {
            let workload = workload(batch)?;
            let results = match verb.work.as_slice() {
                [Work::Forward] => workload.forward_results()?,
                _ => workload.results()?,
            };
            results.write(path)?;
            say!("{}", path.display());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut workload = workload(batch)?;
    if verb.launches {
        say!("{}", headline(&verb.model, &model.card, batch));
        return launches(verb, &mut workload, context);
    }
    let mut rows = Vec::new();
    let mut progress = context.reporter.start(
        "measuring",
        0,
        (verb.work.len() * (verb.repeats.get() + 1)) as u64,
    );
    for work in &verb.work {
        let mut seconds = Vec::new();
        for repeat in 0..=verb.repeats.get() {
            // A GPU is only told what to do; what counts is when it is done.
            device.sync()?;
            let started = Instant::now();
            work.run(&mut workload)?;
            device.sync()?;
            // The first time finds caches and memory cold.
            if repeat > 0 {
                seconds.push(started.elapsed().as_secs_f64());
            }
            let done = rows.len() * (verb.repeats.get() + 1) + repeat + 1;
            progress.set(done as u64, work.name());
        }
        rows.push((*work, seconds));
    }
    progress.finish();
    if verb.json {
        let rows = rows.into_iter();
        let text = json!({
            "model": verb.model.display().to_string(),
            "batch": batch,
            "precision": precision,
            "device": label(device),
            "threads": rayon::current_num_threads(),
            "version": env!("CARGO_PKG_VERSION"),
            "work": rows
                .map(|(work, seconds)| json!({ "work": work.name(), "seconds": seconds }))
                .collect::<Vec<_>>(),
            "peak-memory": peak_memory(),
        });
        let text = serde_json::to_string_pretty(&text).context("cannot print")?;
        say!("{text}");
    } else {
        say!("{}", headline(&verb.model, &model.card, batch));
        say!("work           median      least       most   images/s   GFLOP/s");
        for (work, seconds) in rows {
            let each = model.card.network.multiply_adds() as f64;
            let operations = 2.0 * batch as f64 * work.multiply_adds(each, &workload)?;
            say!("{}", row(work.name(), seconds, batch, operations));
        }
        if let Some(peak) = peak_memory() {
            say!("\npeak memory: {}", bytes(peak));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what goes to and from the device in each piece of work, and what it launches there.
fn launches(verb: &Verb, workload: &mut Workload, context: &Context) -> anyhow::Result<ExitCode> {
    let device = &context.device;
    for work in &verb.work {
        // The first time compiles kernels, and finds out which are fast.
        work.run(workload)?;
        device.sync()?;
        let started = Instant::now();
        let (moved, done) = Transfers::of(|| work.run(workload));
        done?;
        device.sync()?;
        let wall = started.elapsed().as_secs_f64();
        say!(
            "{:<10} {} ms; {} tensors sent, {} bytes; {} read, {} bytes",
            work.name(),
            figure(wall * 1e3),
            moved.sent,
            moved.sent_bytes,
            moved.read,
            moved.read_bytes
        );
        #[cfg(feature = "gpu")]
        launch::say_kernels(|| {
            work.run(workload)?;
            Ok(device.sync()?)
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A file, or a preset by its name; and the usual batch.
fn open(typed: &Path, device: &Device) -> anyhow::Result<(Model, usize)> {
    if typed.exists() {
        let (model, _) = import::open(typed, device)?;
        return Ok((model, Preset::Bench64.batch()));
    }
    let named = |preset: &Preset| typed.as_os_str() == preset.name();
    match Preset::ALL.into_iter().find(named) {
        Some(preset) => Ok((preset.model(device)?, preset.batch())),
        None => Err(wrong(format!(
            "there is no file {}, and no network of that name ({})",
            typed.display(),
            Preset::ALL.map(Preset::name).join(", ")
        ))),
    }
}

fn headline(name: &Path, card: &Card, batch: usize) -> String {
    let network = &card.network;
    let [channels, height, width] = network.image_shape();
    format!(
        "{}: {channels} x {height} x {width}, {} million parameters, {} million multiply-adds an image\nbatch {batch}, \
         threads {}, fewstep {}\n",
        name.display(),
        figure(network.parameter_count() as f64 / 1e6),
        figure(network.multiply_adds() as f64 / 1e6),
        rayon::current_num_threads(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// A line of the table; `operations` are floating point operations.
fn row(name: &str, mut seconds: Vec<f64>, batch: usize, operations: f64) -> String {
    seconds.sort_by(f64::total_cmp);
    let middle = median(&seconds);
    let (least, most) = (seconds[0], seconds[seconds.len() - 1]);
    let time = |seconds: f64| format!("{} ms", figure(seconds * 1e3));
    format!(
        "{name:<10} {:>10} {:>10} {:>10} {:>10} {:>9}",
        time(middle),
        time(least),
        time(most),
        figure(batch as f64 / middle),
        figure(operations / middle / 1e9)
    )
}

/// The median of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        return (sorted[half - 1] + sorted[half]) / 2.0;
    }
    sorted[half]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_median_and_rates_that_go_with_it() {
        assert_eq!(median(&[1.0, 2.0, 4.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        let row = row("forward", vec![0.4, 0.1, 0.2], 8, 1e9);
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "forward", "200", "ms", "100", "ms", "400", "ms", "40.0", "5.00"
            ]
        );
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_those_that_are() {
        let error = open(Path::new("bench65"), &Device::flex()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("bench65") && text.contains("bench64"),
            "{text}"
        );
        let (model, batch) = open(Path::new("fashion-mnist"), &Device::flex()).unwrap();
        assert_eq!((model.card.network.classes(), batch), (10, 8));
    }
}
