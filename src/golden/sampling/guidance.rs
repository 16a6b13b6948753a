//! Paths of another library's samplers, which count time in whole steps of the noise table.

use crate::denoiser::{Denoiser, Guided};
use crate::golden::case::Case;
use crate::golden::measure::EXACT;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, normalised_each, relative};
use crate::golden::model::{condition, denoiser, numbers};
use crate::golden::model::{guidance, table};
use crate::golden::sampling::solver::{configuration, states_error};
use crate::grid::SigmaGrid;
use crate::sampler::Sampler;
use burn::tensor::Device;
use serde_json::Value;

/// Two rows for each run: its noise levels, as whole positions of the table, and its states.
pub(crate) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    for run in case.list(config, "runs")? {
        let id = case.text(run, "id")?;
        report(&format!("{id} levels"), levels(case, run));
        report(id, states(case, run, device));
    }
    Ok(())
}

fn levels(case: &Case, run: &Value) -> Result<Measure, Problem> {
    let net = &case.config()["net"];
    let table = table(case, net)?;
    let count = case.count(net, "timesteps")? as f64;
    let positions = case.values(case.text(run, "timesteps")?)?;
    let want = case.values(case.text(run, "t_steps")?)?;
    let levels: Vec<f64> = positions
        .iter()
        .map(|k| table.sigma_of_t((k + 1.0) / count))
        .collect();
    let there = Measure::new(relative(&levels, &want), EXACT);
    let back: Vec<f64> = want
        .iter()
        .map(|s| table.position_of_sigma(*s) + 1.0)
        .collect();
    let positions: Vec<f64> = positions.iter().map(|k| k + 1.0).collect();
    Ok(there.or_worse(Measure::new(relative(&back, &positions), EXACT)))
}

fn states(case: &Case, run: &Value, device: &Device) -> Result<Measure, Problem> {
    let config = case.config();
    let (net, model) = denoiser(case, config, device)?;
    let solver = configuration(case, run, "solver")?.build()?;
    let grid = SigmaGrid::new(case.values(case.text(run, "t_steps")?)?)?;
    let latents = case.images(case.text(run, "latents")?, &net, device)?;
    let batch = latents.dims()[0];
    let told = condition(case, config, &net, batch, device)?;
    let guided = Guided {
        denoiser: model,
        weight: guidance(case, run)?,
    };
    let sampler = Sampler {
        denoiser: &guided,
        solver: solver.as_ref(),
        grid: &grid,
        analytic_first_step: false,
        denoise_to_zero: false,
    };
    let tolerance = case.number(run, "tol")?;
    let start = latents.mul_scalar(grid.sigma_max());
    let sigma = grid.sigma_max();
    let denoised = guided.denoise(start.clone(), sigma, &told);
    let eps = (start.clone() - denoised).div_scalar(sigma);
    let want = case.values(case.text(run, "first_eps")?)?;
    let first = Measure::new(normalised_each(&numbers(&eps), &want, batch), tolerance);
    let states = sampler.trajectory(start, &told).states;
    let want = case.values(case.text(run, "traj")?)?;
    Ok(first.or_worse(Measure::new(states_error(&states, &want), tolerance)))
}
