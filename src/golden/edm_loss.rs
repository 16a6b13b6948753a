//! The training loss of a teacher.

use crate::golden::case::Case;
use crate::golden::gradient::{Gradients, error};
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, normalised_each, relative, worse};
use crate::golden::model::{condition, denoiser, numbers, trainable};
use crate::teacher::edm_loss;
use burn::tensor::Device;

/// Rows: noise levels, weights, answers, losses and gradients.
pub(crate) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let (net, model) = denoiser(case, config, device)?;
    let device = device.clone().autodiff();
    let clean = case.images("in/y", &net, &device)?;
    let noise = case.images("in/noise", &net, &device)?;
    let batch = clean.dims()[0];
    let normal = case.values("in/rnd_normal")?;
    if noise.dims() != clean.dims() || normal.len() != batch {
        return Err(case.malformed("images, noise and levels are not equally many"));
    }
    let (mean, deviation) = (
        case.number(config, "P_mean")?,
        case.number(config, "P_std")?,
    );
    let sigmas: Vec<f64> = normal
        .iter()
        .map(|n| (n * deviation + mean).exp())
        .collect();
    let strict = case.tolerance("D")?;
    let levels = relative(&sigmas, &case.values("out/sigma")?);
    report("levels", Ok(Measure::new(levels, strict)));
    let weights: Vec<f64> = sigmas
        .iter()
        .map(|s| model.preconditioning.loss_weight(*s))
        .collect();
    let weights = relative(&weights, &case.values("out/weight")?);
    report("weights", Ok(Measure::new(weights, strict)));

    let condition = condition(case, config, &net, batch, &device)?;
    let model = trainable(&model, &device);
    let terms = edm_loss(&model, clean, noise, &sigmas, &condition, None);
    let denoised = normalised_each(&numbers(&terms.denoised), &case.values("out/D")?, batch);
    report("denoised", Ok(Measure::new(denoised, strict)));
    let loss = terms.elementwise.clone().sum().div_scalar(batch as f64);
    let tolerance = case.tolerance("loss")?;
    let elements = normalised_each(
        &numbers(&terms.elementwise),
        &case.values("out/loss")?,
        batch,
    );
    let value = loss.clone().into_scalar::<f64>();
    let whole = relative(&[value], &case.values("out/loss_scalar")?);
    report("loss", Ok(Measure::new(worse(elements, whole), tolerance)));

    let found = Gradients::read(&model.network, &loss.backward());
    let tolerance = case.tolerance("grad")?;
    let small = error(case, &found, &case.texts(config, "no_grad")?)?;
    report("gradients", Ok(Measure::new(small, tolerance)));
    let names = case.texts(config, "grad_names")?;
    let norms = names.iter().map(|n| found.norm(n).unwrap_or(f64::NAN));
    let norms: Vec<f64> = norms.collect();
    let norms = relative(&norms, &case.values("out/gradnorm")?);
    report("gradient norms", Ok(Measure::new(norms, tolerance)));
    Ok(())
}
