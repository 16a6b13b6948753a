//! Solvers: whole trajectories, with a network and with exact denoisers.

use crate::Images;
use crate::denoiser::{Condition, Denoiser, Gaussian, Guided, Mixture};
use crate::golden::case::Case;
use crate::golden::measure::EXACT;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, normalised, relative, worse};
use crate::golden::model::{condition, denoiser, numbers};
use crate::golden::model::{guidance, table};
use crate::grid::{SigmaGrid, Spacing};
use crate::sampler::Sampler;
use crate::solver::{DeisTime, Prediction, SolverConfig, UniPcVariant};
use burn::tensor::{DType, Device};
use serde_json::Value;

/// A row for each run. Network, weights and start are those of the run, or else of the whole case.
pub(crate) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let shared = case.config();
    let common = match shared["net"] {
        Value::Null => None,
        _ => Some(denoiser(case, shared, device)?),
    };
    for run in case.list(shared, "runs")? {
        let own = || -> Result<Measure, Problem> {
            let solver = configuration(case, run, "solver")?;
            let (net, model) = match (&common, &run["net"]) {
                (Some(common), Value::Null) => common.clone(),
                _ => denoiser(case, run, device)?,
            };
            let key = |of: &Value| case.text(of, "latents").map(str::to_string);
            let latents = key(run).or_else(|_| key(shared))?;
            let latents = case.images(&latents, &net, device)?;
            let mut told = run.clone();
            for key in ["context", "uncond_context"] {
                if told[key].is_null() && told.is_object() {
                    told[key] = shared[key].clone();
                }
            }
            let condition = condition(case, &told, &net, latents.dims()[0], device)?;
            let model = Guided {
                denoiser: model,
                weight: guidance(case, run)?,
            };
            compare(case, run, solver, &model, latents, &condition)
        };
        report(case.text(run, "id")?, own());
    }
    Ok(())
}

/// As [`run`], with a row for each of the grids before it.
pub(crate) fn run_latent(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let Some(grids) = config["t_steps_f64"].as_object() else {
        return Err(case.malformed("`t_steps_f64` is no table"));
    };
    for timestamps in grids.keys() {
        let own = || -> Result<Measure, Problem> {
            let want = case.values(case.text(&config["t_steps_f64"], timestamps)?)?;
            let runs = case.list(config, "runs")?.iter();
            let wanted = timestamps.parse::<u64>().ok();
            let mut runs =
                runs.filter(|run| wanted.is_some() && run["num_steps"].as_u64() == wanted);
            let run = runs.next().filter(|_| (2..1000).contains(&want.len()));
            let run = run.ok_or_else(|| case.malformed("a grid belongs to no run"))?;
            let table = table(case, &config["net"])?;
            let sigma_max = table.sigma_max();
            let rho = case.number(run, "schedule_rho")?;
            let spacing = Spacing::Discrete { rho, table };
            let sigma_min = case.number(run, "sigma_min")?;
            let grid = spacing.grid(want.len() - 1, sigma_min, sigma_max)?;
            Ok(Measure::new(relative(grid.levels(), &want), EXACT))
        };
        report(&format!("{timestamps} levels"), own());
    }
    run(case, device, report)
}

/// A row for each run with an exact denoiser, in f64.
pub(crate) fn run_analytic(
    case: &Case,
    device: &Device,
    report: Report<'_>,
) -> Result<(), Problem> {
    if !device.supports_dtype(DType::F64) {
        return Err(Problem::unsupported("f64 on this device"));
    }
    let denoiser = exact(case, device)?;
    let latents = case.tensor::<4>("in/latents", device, DType::F64)?;
    for run in case.list(case.config(), "runs")? {
        let result = configuration(case, run, "solver").and_then(|solver| {
            let condition = Condition::default();
            compare(
                case,
                run,
                solver,
                denoiser.as_ref(),
                latents.clone(),
                &condition,
            )
        });
        report(case.text(run, "id")?, result);
    }
    Ok(())
}

/// The denoiser of an analytic case.
pub(crate) fn exact(case: &Case, device: &Device) -> Result<Box<dyn Denoiser>, Problem> {
    let config = case.config();
    let shape = case.tensor::<4>("in/latents", device, DType::F64)?.dims();
    let fits = |dims: &[usize]| {
        let fine = dims == &shape[1..];
        let wrong = || case.malformed(format!("means of shape {dims:?} for latents {shape:?}"));
        if fine { Ok(()) } else { Err(wrong()) }
    };
    match case.text(config, "denoiser")? {
        "gauss" => {
            let mean = case.tensor::<3>(case.text(config, "mean")?, device, DType::F64)?;
            fits(&mean.dims())?;
            let std = case.number(config, "s")?;
            Ok(Box::new(Gaussian::new(mean.unsqueeze(), std)?))
        }
        "gmm" => {
            let means = case.tensor::<4>(case.text(config, "means")?, device, DType::F64)?;
            fits(&means.dims()[1..])?;
            let weights = case.values(case.text(config, "weights")?)?;
            let stds = case.values(case.text(config, "stds")?)?;
            Ok(Box::new(Mixture::new(&weights, means, &stds)?))
        }
        other => Err(Problem::unsupported(format!("denoiser {other:?}"))),
    }
}

/// The solver that a run or a trace names under `key`, with its settings beside it.
pub(crate) fn configuration(case: &Case, of: &Value, key: &str) -> Result<SolverConfig, Problem> {
    let config = match case.text(of, key)? {
        "euler" => SolverConfig::Euler {},
        "heun" => SolverConfig::Heun {},
        "dpm" => SolverConfig::Dpm2 {},
        "ipndm" => SolverConfig::Ipndm {
            order: case.count(of, "max_order")?,
        },
        "dpmpp" => SolverConfig::DpmSolverPp {
            order: case.count(of, "max_order")?,
            prediction: prediction(case, of)?,
            lower_order_final: case.flag(of, "lower_order_final")?,
            thresholding: thresholding(case, of)?,
            corrected: false,
        },
        // The stored runs follow the official coefficients.
        "ipndm_v" => SolverConfig::IpndmV {
            order: case.count(of, "max_order")?,
            official: true,
        },
        "deis" => {
            let time = match case.text(of, "deis_mode")? {
                "tab" => DeisTime::Tab,
                "rhoab" => DeisTime::Rhoab,
                other => return Err(Problem::unsupported(format!("DEIS {other:?}"))),
            };
            SolverConfig::Deis {
                order: case.count(of, "max_order")?,
                time,
                official: time == DeisTime::Tab,
            }
        }
        "unipc" => SolverConfig::UniPc {
            order: case.count(of, "max_order")?,
            variant: match case.text(of, "variant")? {
                "bh1" => UniPcVariant::Bh1,
                "bh2" => UniPcVariant::Bh2,
                other => return Err(Problem::unsupported(format!("UniPC {other:?}"))),
            },
            prediction: prediction(case, of)?,
            lower_order_final: case.flag(of, "lower_order_final")?,
            thresholding: thresholding(case, of)?,
        },
        other => return Err(Problem::unsupported(format!("solver {other:?}"))),
    };
    Ok(config)
}

fn prediction(case: &Case, of: &Value) -> Result<Prediction, Problem> {
    Ok(if case.flag(of, "predict_x0")? {
        Prediction::Data
    } else {
        Prediction::Noise
    })
}

/// The official code takes it beside noise prediction as well, and does nothing with it there; our solvers refuse the two
/// together, since who asks for it expects an effect.
fn thresholding(case: &Case, of: &Value) -> Result<bool, Problem> {
    let on = case.flag(of, "thresholding")?;
    Ok(on && prediction(case, of)? == Prediction::Data)
}

/// Solves a run on its own times and compares every state.
pub(crate) fn compare(
    case: &Case,
    run: &Value,
    solver: SolverConfig,
    denoiser: &dyn Denoiser,
    latents: Images,
    condition: &Condition,
) -> Result<Measure, Problem> {
    let grid = SigmaGrid::new(case.values(case.text(run, "t_steps")?)?)?;
    let solver = solver.build()?;
    let sampler = Sampler {
        denoiser,
        solver: solver.as_ref(),
        grid: &grid,
        analytic_first_step: case.flag(run, "afs")?,
        denoise_to_zero: case.flag(run, "denoise_to_zero")?,
    };
    let start = latents.mul_scalar(grid.sigma_max());
    let states = sampler.trajectory(start, condition).states;
    let required = run["required"].is_null() || case.flag(run, "required")?;
    let stored = |states: &[Images], trajectory: &str, tolerance: &str| {
        let want = case.values(case.text(run, trajectory)?)?;
        let error = states_error(states, &want);
        Ok::<_, Problem>(Measure {
            required,
            ..Measure::new(error, case.number(run, tolerance)?)
        })
    };
    let mut measure = stored(&states, "traj", "tol")?;
    // The same with coefficients that the reference was made to compute in f64, as ours always are.
    if !run["traj_c64"].is_null() {
        measure = measure.or_worse(stored(&states, "traj_c64", "tol_c64")?);
    }
    Ok(measure)
}

/// The error of the worst state; `want` holds them one after the other.
pub(crate) fn states_error(states: &[Images], want: &[f64]) -> f64 {
    let size = want.len() / states.len().max(1);
    if size == 0 || want.len() != size * states.len() {
        return f64::INFINITY;
    }
    let pairs = states.iter().zip(want.chunks(size));
    pairs
        .map(|(got, want)| normalised(&numbers(got), want))
        .fold(0.0, worse)
}
