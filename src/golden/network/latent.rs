//! Latent networks: what they answer, their gradients, and their denoisers.

use crate::denoiser::{Condition, Denoiser, Guided, Preconditioned, Preconditioning};
use crate::golden::case::Case;
use crate::golden::gradient::{Gradients, error};
use crate::golden::measure::Report;
use crate::golden::measure::{
    EXACT, Measure, Problem, normalised, normalised_each, relative, worse,
};
use crate::golden::model::{condition, denoiser, guidance, levels, numbers, trainable};
use crate::network::{Inputs, NetworkConfig};
use burn::tensor::{DType, Device, Tensor};
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
        report("gradients", gradients(case, &net, &model, device));
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

/// The gradients of sum |eps - target| / B in parameters, latents and text.
fn gradients(
    case: &Case,
    net: &NetworkConfig,
    model: &Preconditioned,
    device: &Device,
) -> Result<Measure, Problem> {
    let of = &case.config()["grad"];
    let device = device.clone().autodiff();
    let images = case
        .images(case.text(of, "x")?, net, &device)?
        .require_grad();
    let target = case.images(case.text(of, "target")?, net, &device)?;
    let batch = images.dims()[0];
    if target.dims() != images.dims() {
        return Err(case.malformed("`grad` has latents and target of different shapes"));
    }
    let times = times(case, of, batch)?;
    let mut told = condition(case, of, net, batch, &device)?;
    told.context = told.context.map(Tensor::require_grad);
    let model = trainable(model, &device);
    let eps = answer(&model, images.clone(), &times, &told);
    let loss = (eps - target).abs().sum().div_scalar(batch as f64);
    let value = loss.clone().into_scalar::<f64>();
    let want = case.values(case.text(of, "loss")?)?;
    let mut worst = Measure::new(relative(&[value], &want), case.tolerance("loss_rel")?);
    let tape = loss.backward();

    let tolerance = case.tolerance("grad")?;
    let of_input = images.grad(&tape).map(|g| numbers(&g)).unwrap_or_default();
    let want = case.values(case.text(of, "grad_x")?)?;
    worst = worst.or_worse(Measure::new(normalised(&of_input, &want), tolerance));
    if let (Some(context), false) = (&told.context, of["grad_context"].is_null()) {
        let got = context.grad(&tape).map(|g| g.into_data_dtype(DType::F32));
        let got: Vec<f64> = got.iter().flat_map(|g| g.iter::<f64>()).collect();
        let want = case.values(case.text(of, "grad_context")?)?;
        worst = worst.or_worse(Measure::new(normalised(&got, &want), tolerance));
    }
    let found = Gradients::read(&model.network, &tape).of_heads(net);
    let parameters = error(case, &found, &case.texts(of, "no_grad")?)?;
    Ok(worst.or_worse(Measure::new(parameters, tolerance)))
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

/// The relative error of values, or the absolute one below 1: a time may be 0.
fn times_error(got: &[f64], want: &[f64]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let pairs = got.iter().zip(want);
    pairs
        .map(|(g, w)| (g - w).abs() / w.abs().max(1.0))
        .fold(0.0, worse)
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
