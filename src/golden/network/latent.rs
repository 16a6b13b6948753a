//! Latent networks: what they answer, their gradients, and their denoisers.

use super::loss::gradients;
use crate::denoiser::{Condition, Denoiser, Guided, Preconditioned, Preconditioning};
use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{EXACT, Measure, Problem, normalised_each, relative, times_error};
use crate::golden::model::{condition, denoiser, guidance, levels, numbers};
use crate::network::Inputs;
use burn::tensor::{Device, Tensor};
use serde_json::Value;

/// A row for each evaluation of the raw network, and one for its gradients.
pub(crate) fn run_network(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let (net, model) = denoiser(case, config, device)?;
    for eval in case.list(config, "evals")? {
        let own = || {
            let images = case.images(case.text(eval, "x")?, &net, device)?;
            let batch = images.dims()[0];
            let told = condition(case, eval, &net, batch, device)?;
            let times = times(case, eval, batch)?;
            let got = answer(&model, images, &times, &told);
            let want = case.values(case.text(eval, "out")?)?;
            let error = normalised_each(&numbers(&got), &want, batch);
            Ok(Measure::new(error, case.number(eval, "tol")?))
        };
        report(case.text(eval, "id")?, own());
    }
    if !config["grad"].is_null() {
        let predicted =
            |model: &Preconditioned, latents: Tensor<4>, told: &Condition, of: &Value| {
                let times = times(case, of, latents.dims()[0])?;
                Ok(answer(model, latents, &times, told))
            };
        let found = gradients(case, &net, &model, device, &predicted);
        report("gradients", found);
    }
    Ok(())
}

/// The times of an evaluation, one for each image.
fn times(case: &Case, of: &Value, batch: usize) -> Result<Vec<f64>, Problem> {
    let name = case.text(of, "t")?;
    let times = case.values(name)?;
    if times.len() == batch && times.iter().all(|t| t.is_finite()) {
        return Ok(times);
    }
    Err(case.malformed(format!("{name} is not one time for each of {batch} images")))
}

fn answer(model: &Preconditioned, images: Tensor<4>, times: &[f64], told: &Condition) -> Tensor<4> {
    let inputs = Inputs {
        noise: times,
        context: told.context.as_ref(),
        steps: told.steps,
        ..Inputs::default()
    };
    model.network.forward(images, inputs)
}

/// A row for each evaluation of the denoiser, with or without guidance, and for each part of the map between noise levels
/// and times.
pub(crate) fn run_denoiser(
    case: &Case,
    device: &Device,
    report: Report<'_>,
) -> Result<(), Problem> {
    let config = case.config();
    let (net, model) = denoiser(case, config, device)?;
    let Preconditioning::Discrete(table) = &model.preconditioning else {
        return Err(case.malformed("`net` is no latent network"));
    };
    for eval in case.list(config, "evals")? {
        let own = || -> Result<Measure, Problem> {
            let noisy = case.images(case.text(eval, "x")?, &net, device)?;
            let batch = noisy.dims()[0];
            let sigmas = levels(case, eval, batch)?;
            let told = condition(case, eval, &net, batch, device)?;
            let weight = guidance(case, eval)?;
            let guided = Guided {
                denoiser: Each {
                    model: &model,
                    sigmas: &sigmas,
                },
                weight,
            };
            let got = guided.denoise(noisy, sigmas[0], &told);
            let want = case.values(case.text(eval, "out")?)?;
            let error = normalised_each(&numbers(&got), &want, batch);
            let answer = Measure::new(error, case.number(eval, "tol")?);
            let times: Vec<f64> = sigmas.iter().map(|s| table.position_of_sigma(*s)).collect();
            let want = case.values(case.text(eval, "t_input")?)?;
            Ok(answer.or_worse(Measure::new(times_error(&times, &want), EXACT)))
        };
        report(case.text(eval, "id")?, own());
    }
    let map = &config["map"];
    let mut compare = |row: &str, given: &str, wanted: &str, of: &dyn Fn(f64) -> f64| {
        let own = || -> Result<Measure, Problem> {
            let given = case.values(case.text(map, given)?)?;
            let want = case.values(case.text(map, wanted)?)?;
            let got: Vec<f64> = given.into_iter().map(of).collect();
            Ok(Measure::new(times_error(&got, &want), EXACT))
        };
        report(row, own());
    };
    compare("times", "sigma", "t_input", &|s| table.position_of_sigma(s));
    compare("levels", "t", "sigma_of_t", &|t| table.sigma_of_t(t));
    let fixed = |key: &str, got: &[f64]| -> Result<Measure, Problem> {
        let want = case.values(case.text(map, key)?)?;
        Ok(Measure::new(relative(got, &want), EXACT))
    };
    let step = 1.0 / case.count(&config["net"], "timesteps")? as f64;
    let ends = [table.sigma_of_t(step), table.sigma_of_t(1.0)];
    report("ends", fixed("sigma_max", &ends));
    report("alphas", fixed("alphas_cumprod", &table.alphas_cumprod()));
    Ok(())
}

/// A denoiser with a noise level for each image of a batch, whichever it is asked for.
struct Each<'a> {
    model: &'a Preconditioned,
    sigmas: &'a [f64],
}

impl Denoiser for Each<'_> {
    fn denoise(&self, noisy: Tensor<4>, _sigma: f64, condition: &Condition) -> Tensor<4> {
        let sigmas = match self.sigmas {
            [only] => vec![*only],
            // Guidance doubles the batch.
            all => all.iter().cycle().take(noisy.dims()[0]).copied().collect(),
        };
        self.model.denoise_each(noisy, &sigmas, condition, None)
    }
}
