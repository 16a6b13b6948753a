//! Denoising networks: what they answer, and their gradients.

use super::Report;
use super::case::Case;
use super::gradient::{Gradients, error};
use super::latent;
use super::measure::{Measure, Problem, normalised, normalised_each, relative};
use crate::Images;
use crate::denoiser::{Condition, Preconditioned, Preconditioning};
use crate::network::{DhariwalUNetConfig, Network, NetworkConfig, SongUNetConfig, load};
use burn::tensor::{DType, Device};
use serde_json::Value;
use std::collections::BTreeMap;

/// A row for each evaluation, and one for the gradients.
pub(super) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
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

/// The denoiser of `of["net"]` with the weights of the file `of["weights"]`.
pub(super) fn denoiser(
    case: &Case,
    of: &Value,
    device: &Device,
) -> Result<(NetworkConfig, Preconditioned), Problem> {
    let net = &of["net"];
    let config = configuration(case, net)?;
    let preconditioning: Preconditioning = match latent::is_latent(net) {
        true => latent::table(case, net)?.into(),
        false => case.number(net, "sigma_data")?.into(),
    };
    let file = case.companion(case.text(of, "weights")?)?;
    let network = weights(&config, &file, device)?;
    Ok((config, Preconditioned::new(network, preconditioning)))
}

fn weights(config: &NetworkConfig, file: &Case, device: &Device) -> Result<Network, Problem> {
    let network = config.blank(device)?;
    let named = file.tensors("w/").map(|(n, d)| (n.to_string(), d.clone()));
    let named: BTreeMap<_, _> = named.collect();
    Ok(load(network, &named, &|_| false, file.path())?)
}

/// The network that a case describes in the official code's words.
pub(super) fn configuration(case: &Case, net: &Value) -> Result<NetworkConfig, Problem> {
    let config = match latent::is_latent(net) {
        true => latent::configuration(case, net)?,
        false => of_edm(case, net)?,
    };
    let [_, _, width] = config.image_shape();
    if config.parameter_count() > MOST_WEIGHTS || width > LARGEST {
        return Err(case.malformed("`net` describes a network too large to be a test"));
    }
    Ok(config)
}

/// The same of EDM's networks.
fn of_edm(case: &Case, net: &Value) -> Result<NetworkConfig, Problem> {
    let adm = DhariwalUNetConfig {
        resolution: case.count(net, "img_resolution")?,
        channels: case.count(net, "img_channels")?,
        classes: case.count(net, "label_dim")?,
        model_channels: case.count(net, "model_channels")?,
        channel_multipliers: case.counts(net, "channel_mult")?,
        blocks: case.count(net, "num_blocks")?,
        attention_resolutions: case.counts(net, "attn_resolutions")?,
        augment_labels: case.count(net, "augment_dim")?,
        dropout: case.number(net, "dropout")?,
        step_branch: case.flag(net, "has_step_layers")?,
    };
    if case.count(net, "channel_mult_emb")? != 4 {
        return Err(Problem::unsupported(
            "an embedding other than 4 times as wide",
        ));
    }
    let config = match case.text(net, "arch")? {
        "adm" if case.count(net, "channels_per_head")? != 64 => {
            return Err(Problem::unsupported(
                "attention heads of other than 64 channels",
            ));
        }
        "adm" => NetworkConfig::DhariwalUnet(adm),
        "song" => NetworkConfig::SongUnet(SongUNetConfig {
            resolution: adm.resolution,
            channels: adm.channels,
            classes: adm.classes,
            model_channels: adm.model_channels,
            channel_multipliers: adm.channel_multipliers,
            blocks: adm.blocks,
            attention_resolutions: adm.attention_resolutions,
            augment_labels: adm.augment_labels,
            dropout: adm.dropout,
            step_branch: adm.step_branch,
            // DDPM++.
            ..SongUNetConfig::default()
        }),
        other => return Err(Problem::unsupported(format!("network {other:?}"))),
    };
    config.check()?;
    Ok(config)
}

/// A file must not be able to ask for all memory.
const MOST_WEIGHTS: u64 = 500_000_000;

/// Attention takes the fourth power of this.
pub(super) const LARGEST: usize = 64;

/// What the network is told in a run or an evaluation.
pub(super) fn condition(
    case: &Case,
    of: &Value,
    net: &NetworkConfig,
    batch: usize,
    device: &Device,
) -> Result<Condition, Problem> {
    let steps = match of["step_condition"] {
        Value::Null => None,
        _ => Some(case.count(of, "step_condition")?),
    };
    let width = net.context_width().unwrap_or(0);
    let context = case.text_tokens(of, "context", [batch, width], device)?;
    let negative = case.text_tokens(of, "uncond_context", [batch, width], device)?;
    if let (Some(context), Some(negative)) = (&context, &negative)
        && context.dims() != negative.dims()
    {
        return Err(case.malformed("`context` and `uncond_context` have not as many tokens"));
    }
    Ok(Condition {
        context,
        negative,
        labels: case.rows(of, "labels", [batch, net.classes()], device)?,
        augment: case.rows(of, "augment_labels", [batch, net.augment_labels()], device)?,
        steps,
    })
}

/// The noise levels of an evaluation: one for all images, or one for each.
pub(super) fn levels(case: &Case, of: &Value, batch: usize) -> Result<Vec<f64>, Problem> {
    let name = case.text(of, "sigma")?;
    let sigmas = case.values(name)?;
    let fine = sigmas.iter().all(|s| *s > 0.0 && s.is_finite());
    if fine && (sigmas.len() == 1 || sigmas.len() == batch) {
        return Ok(sigmas);
    }
    Err(case.malformed(format!("{name} is not one positive level, or {batch}")))
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

/// The same denoiser, recording what is needed for gradients.
pub(super) fn trainable(model: &Preconditioned, device: &Device) -> Preconditioned {
    use burn::module::Module;
    Preconditioned {
        network: model.network.clone().to_device(device).train(),
        ..model.clone()
    }
}

/// All numbers of images, row-major.
pub(super) fn numbers(images: &Images) -> Vec<f64> {
    let data = images.clone().into_data();
    debug_assert!(matches!(data.dtype(), DType::F32 | DType::F64));
    data.iter::<f64>().collect()
}
