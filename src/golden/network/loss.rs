//! The gradients of sum |answer - target| / B against stored ones: in the images, in the text, and in the parameters.

use crate::Images;
use crate::denoiser::{Condition, Preconditioned};
use crate::golden::case::Case;
use crate::golden::gradient::{Gradients, error};
use crate::golden::measure::{Measure, Problem, normalised, relative};
use crate::golden::model::{condition, numbers, trainable};
use crate::network::NetworkConfig;
use burn::tensor::{DType, Device, Tensor};
use serde_json::Value;

/// The answer of a model for some images: at which levels or times is in the description of the case's gradients.
pub(super) type Answer<'a> =
    &'a dyn Fn(&Preconditioned, Images, &Condition, &Value) -> Result<Images, Problem>;

/// One row for loss and all gradients, the worst of them.
pub(super) fn gradients(
    case: &Case,
    net: &NetworkConfig,
    model: &Preconditioned,
    device: &Device,
    answer: Answer<'_>,
) -> Result<Measure, Problem> {
    let of = &case.config()["grad"];
    let device = device.clone().autodiff();
    let images = case
        .images(case.text(of, "x")?, net, &device)?
        .require_grad();
    let target = case.images(case.text(of, "target")?, net, &device)?;
    let batch = images.dims()[0];
    if target.dims() != images.dims() {
        return Err(case.malformed("`grad` has images and target of different shapes"));
    }
    let mut told = condition(case, of, net, batch, &device)?;
    told.context = told.context.map(Tensor::require_grad);
    let model = trainable(model, &device);
    let answer = answer(&model, images.clone(), &told, of)?;
    let loss = (answer - target).abs().sum().div_scalar(batch as f64);
    let value = loss.clone().into_scalar::<f64>();
    let want = case.values(case.text(of, "loss")?)?;
    let mut worst = Measure::new(relative(&[value], &want), case.tolerance("loss_rel")?);
    let tape = loss.backward();

    let tolerance = case.tolerance("grad")?;
    let of_images = images.grad(&tape).map(|g| numbers(&g)).unwrap_or_default();
    let want = case.values(case.text(of, "grad_x")?)?;
    worst = worst.or_worse(Measure::new(normalised(&of_images, &want), tolerance));
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
