//! Denoising networks: what they answer, and their gradients.

use super::loss::gradients;
use crate::Images;
use crate::denoiser::{Condition, Preconditioned};
use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, normalised_each};
use crate::golden::model::{condition, denoiser, levels, numbers};
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
    let denoised = |model: &Preconditioned, noisy: Images, told: &Condition, of: &Value| {
        let sigmas = levels(case, of, noisy.dims()[0])?;
        Ok(model.denoise_each(noisy, &sigmas, told, None))
    };
    let found = gradients(case, &net, &model, device, &denoised);
    report("gradients", found);
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
