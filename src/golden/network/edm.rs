//! Denoising networks: what they answer, and their gradients.

use crate::denoiser::Preconditioned;
use crate::golden::case::Case;
use crate::golden::gradient::{Gradients, error};
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, normalised, normalised_each, relative};
use crate::golden::model::{condition, denoiser, levels, numbers, trainable};
use crate::network::NetworkConfig;
use burn::tensor::Device;
use serde_json::Value;

/// A row for each evaluation, and one for the gradients.
pub(crate) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let (net, model) = denoiser(case, config, device)?;
    let tolerance = case.tolerance("D")?;
    for eval in case.list(config, "evals")? {
        let result =
            evaluate(case, eval, &net, &model, device).map(|error| Measure::new(error, tolerance));
        report(case.text(eval, "id")?, result);
    }
    report("gradients", gradients(case, &net, &model, device));
    Ok(())
}

fn evaluate(
    case: &Case,
    eval: &Value,
    net: &NetworkConfig,
    model: &Preconditioned,
    device: &Device,
) -> Result<f64, Problem> {
    let noisy = case.images(case.text(eval, "x")?, net, device)?;
    let batch = noisy.dims()[0];
    let sigmas = levels(case, eval, batch)?;
    let condition = condition(case, eval, net, batch, device)?;
    let got = model.denoise_each(noisy, &sigmas, &condition, None);
    let want = case.values(case.text(eval, "out")?)?;
    Ok(normalised_each(&numbers(&got), &want, batch))
}

/// The gradients of sum |D - target| / B.
fn gradients(
    case: &Case,
    net: &NetworkConfig,
    model: &Preconditioned,
    device: &Device,
) -> Result<Measure, Problem> {
    let of = &case.config()["grad"];
    let device = device.clone().autodiff();
    let noisy = case
        .images(case.text(of, "x")?, net, &device)?
        .require_grad();
    let target = case.images(case.text(of, "target")?, net, &device)?;
    let batch = noisy.dims()[0];
    if target.dims() != noisy.dims() {
        return Err(case.malformed("`grad` has images and target of different shapes"));
    }
    let sigmas = levels(case, of, batch)?;
    let condition = condition(case, of, net, batch, &device)?;
    let model = trainable(model, &device);
    let denoised = model.denoise_each(noisy.clone(), &sigmas, &condition, None);
    let loss = (denoised - target).abs().sum().div_scalar(batch as f64);
    let value = loss.clone().into_scalar::<f64>();
    let want = case.values(case.text(of, "loss")?)?;
    let worst = Measure::new(relative(&[value], &want), case.tolerance("loss_rel")?);
    let tape = loss.backward();

    let tolerance = case.tolerance("grad")?;
    let of_input = noisy.grad(&tape).map(|g| numbers(&g)).unwrap_or_default();
    let want = case.values(case.text(of, "grad_x")?)?;
    let input = Measure::new(normalised(&of_input, &want), tolerance);
    let found = Gradients::read(&model.network, &tape);
    let parameters = error(case, &found, &case.texts(of, "no_grad")?)?;
    Ok(worst
        .or_worse(input)
        .or_worse(Measure::new(parameters, tolerance)))
}
