//! Golden cases: outputs of the reference implementation that ours must reproduce.
//!
//! A case is a safetensors file whose metadata says, in JSON under `case`, what was computed, from what, and how far off
//! a correct implementation may be. [`verify`] runs them on any device, so users can check their GPU or their build with
//! the same cases that the tests use. Cases about something not built yet are listed, not failed.

mod case;
mod edm_loss;
mod feature;
mod file;
mod gradient;
mod measure;
mod metric;
mod model;
mod network;
mod part;
mod sampling;
mod train;

use crate::Error;
use burn::tensor::Device;
use case::Case;
use measure::{Measure, Problem, Report};
use std::path::{Path, PathBuf};

/// One comparison.
#[derive(Debug)]
pub struct Row {
    /// Name of the case's file, without extension.
    pub case: String,
    /// Which run or which result of the case; empty where the whole case is meant.
    pub run: String,
    /// The largest error, in the case's own measure; `None` where nothing was compared.
    pub error: Option<f64>,
    /// How large it may be.
    pub tolerance: Option<f64>,
    /// The tensor that is off by so much, where several were compared by name.
    pub tensor: Option<String>,
    /// What follows.
    pub outcome: Outcome,
}

/// What a comparison says.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The error is within its tolerance.
    Passed,
    /// It is not.
    Failed,
    /// It is not, in a run that only documents a quirk of the reference; or it is.
    Informational,
    /// The case is about something that is not built yet, or that the device cannot do.
    Unsupported(String),
    /// The case could not be read or run.
    Error(Error),
}

/// How all comparisons went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Comparisons within tolerance.
    pub passed: usize,
    /// Comparisons out of tolerance, and cases that could not be read or run.
    pub failed: usize,
    /// Cases or runs that were not compared.
    pub unsupported: usize,
    /// Comparisons that count neither way.
    pub informational: usize,
    /// The comparison nearest to its tolerance, or furthest above.
    pub worst: Option<Worst>,
}

/// A comparison and its error as a part of the tolerance.
#[derive(Clone, Debug, PartialEq)]
pub struct Worst {
    /// Name of the case's file, without extension.
    pub case: String,
    /// Which run or result.
    pub run: String,
    /// Error divided by tolerance: at most 1 in a passed comparison; may not be a number in a failed one.
    pub ratio: f64,
}

/// Runs golden cases, and calls `report` for each comparison as soon as it is made.
///
/// A folder stands for its `*.safetensors` in the order of their names. Files that hold weights only are no cases.
///
/// # Errors
/// [`Error::File`] for a path that cannot be opened, [`Error::InvalidValue`] if there is no case under the paths. What is
/// wrong with one case is in its row instead.
pub fn verify(
    paths: &[PathBuf],
    device: &Device,
    report: &mut dyn FnMut(&Row),
) -> Result<Summary, Error> {
    let mut summary = Summary::default();
    let mut rows = 0;
    for path in files(paths)? {
        run(&path, device, &mut |row| {
            rows += 1;
            summary.count(&row);
            report(&row);
        });
    }
    if rows == 0 {
        let paths: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        let remedy = "a golden case or a folder with some (*.safetensors, not only weights)";
        return Err(Error::invalid("path", paths.join(", "), remedy));
    }
    Ok(summary)
}

/// All files to read, folders opened.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        let metadata = std::fs::metadata(path).map_err(Error::file("read", path))?;
        if !metadata.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(Error::file("read", path))? {
            let file = entry.map_err(Error::file("read", path))?.path();
            if file.extension().is_some_and(|e| e == "safetensors") {
                inside.push(file);
            }
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// Runs one file.
fn run(path: &Path, device: &Device, report: &mut dyn FnMut(Row)) {
    let name = path.file_stem().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let mut report = |run: &str, result| report(Row::new(&name, run, result));
    let wanted = |kind: &str| runner(kind).is_some() || kind == "weights";
    let outcome = Case::read(path, wanted)
        .map_err(Problem::Error)
        .and_then(|case| match (case.kind.as_str(), runner(&case.kind)) {
            ("weights", _) => match part::whole::weights(&case) {
                Some(row) => {
                    report("names and shapes", row);
                    Ok(())
                }
                None => file::layout::run_weights(&case, &mut report),
            },
            (_, Some(runner)) => runner(&case, device, &mut report),
            (kind, None) => Err(Problem::unsupported(format!("cases of kind {kind:?}"))),
        });
    if let Err(problem) = outcome {
        report("", Err(problem));
    }
}

type Runner = fn(&Case, &Device, Report<'_>) -> Result<(), Problem>;

/// What runs a kind of case; `None` for kinds that we do not know yet.
fn runner(kind: &str) -> Option<Runner> {
    Some(match kind {
        "gits" => sampling::gits::run,
        "schedule" => sampling::schedule::run,
        "network" => network::edm::run,
        "pickle" => file::run,
        "edm_loss" => edm_loss::run,
        "solver" => sampling::solver::run,
        "solver_analytic" => sampling::solver::run_analytic,
        "train" => train::run,
        "metrics" => metric::run,
        "noise" => sampling::noise::run,
        "autoencoder" => part::autoencoder::run,
        "text_encoder" => part::text_encoder::run,
        "tokenizer" => part::tokenizer::run,
        "latent_family" => part::family::run,
        "latent_network" => network::latent::run_network,
        "lora" => network::adapter::run,
        "latent_denoiser" => network::latent::run_denoiser,
        "latent_solver" => sampling::solver::run_latent,
        "latent_train" => train::run,
        "guidance_timesteps" => sampling::guidance::run,
        "clip" => feature::clip,
        "inception" => feature::inception,
        "layout" => file::layout::run,
        "diffusers_layout" => file::compvis::run_folder,
        _ => return None,
    })
}

impl Row {
    fn new(case: &str, run: &str, result: Result<Measure, Problem>) -> Self {
        let measure = result.as_ref().ok().cloned();
        let outcome = match result {
            Ok(measure) if !measure.required => Outcome::Informational,
            // Not `error > tolerance`, which is false for what is not a number.
            Ok(measure) if measure.error <= measure.tolerance => Outcome::Passed,
            Ok(_) => Outcome::Failed,
            Err(Problem::Unsupported(what)) => Outcome::Unsupported(what),
            Err(Problem::Error(error)) => Outcome::Error(error),
        };
        Self {
            case: case.to_string(),
            run: run.to_string(),
            error: measure.as_ref().map(|m| m.error),
            tolerance: measure.as_ref().map(|m| m.tolerance),
            tensor: measure.and_then(|m| m.tensor),
            outcome,
        }
    }

    /// Error divided by tolerance.
    pub fn ratio(&self) -> Option<f64> {
        Some(measure::ratio(self.error?, self.tolerance?))
    }
}

impl Summary {
    fn count(&mut self, row: &Row) {
        match row.outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed | Outcome::Error(_) => self.failed += 1,
            Outcome::Unsupported(_) => self.unsupported += 1,
            Outcome::Informational => self.informational += 1,
        }
        let counts = matches!(row.outcome, Outcome::Passed | Outcome::Failed);
        let (true, Some(ratio)) = (counts, row.ratio()) else {
            return;
        };
        let worst = self.worst.as_ref().map_or(-1.0, |w| w.ratio);
        if !worst.is_nan() && (ratio > worst || ratio.is_nan()) {
            self.worst = Some(Worst {
                case: row.case.clone(),
                run: row.run.clone(),
                ratio,
            });
        }
    }
}
