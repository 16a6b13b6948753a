//! A denoiser from a case, and what it is told.

use super::{edm, latent};
use crate::Images;
use crate::denoiser::{Condition, Preconditioned, Preconditioning};
use crate::golden::case::{Case, LARGEST};
use crate::golden::measure::Problem;
use crate::network::{Added, Network, NetworkConfig, PictureSizes, attach_whole, load};
use burn::tensor::{DType, Device, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;

/// The denoiser of `of["net"]` with the weights of the file `of["weights"]`.
pub(crate) fn denoiser(
    case: &Case,
    of: &Value,
    device: &Device,
) -> Result<(NetworkConfig, Preconditioned), Problem> {
    let net = &of["net"];
    let config = configuration(case, net)?;
    let preconditioning: Preconditioning = match latent::is_latent_unet(net) {
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
pub(crate) fn configuration(case: &Case, net: &Value) -> Result<NetworkConfig, Problem> {
    let config = match latent::is_latent_unet(net) {
        true => latent::configuration(case, net)?,
        false => edm::configuration(case, net)?,
    };
    let [_, _, width] = config.image_shape();
    if config.parameter_count() > MOST_WEIGHTS || width > LARGEST {
        return Err(case.malformed("`net` describes a network too large to be a test"));
    }
    Ok(config)
}

/// A file must not be able to ask for all memory.
const MOST_WEIGHTS: u64 = 500_000_000;

/// What the network is told in a run or an evaluation.
pub(crate) fn condition(
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
pub(crate) fn levels(case: &Case, of: &Value, batch: usize) -> Result<Vec<f64>, Problem> {
    let name = case.text(of, "sigma")?;
    let sigmas = case.values(name)?;
    let fine = sigmas.iter().all(|s| *s > 0.0 && s.is_finite());
    if fine && (sigmas.len() == 1 || sigmas.len() == batch) {
        return Ok(sigmas);
    }
    Err(case.malformed(format!("{name} is not one positive level, or {batch}")))
}

/// The same denoiser, recording what is needed for gradients.
pub(crate) fn trainable(model: &Preconditioned, device: &Device) -> Preconditioned {
    use burn::module::Module;
    Preconditioned {
        network: model.network.clone().to_device(device).train(),
        ..model.clone()
    }
}

/// The tokens of texts with each text as a whole, which is the tensor `whole` of the case, and six sizes.
pub(crate) fn with_whole(
    case: &Case,
    tokens: Tensor<3>,
    whole: &str,
    added: Added,
    device: &Device,
) -> Result<Tensor<3>, Problem> {
    let whole = case.tensor::<2>(whole, device, DType::F32)?;
    let context = attach_whole(tokens, whole)?;
    let numbers = case.values("in/time_ids")?;
    let mut sized = Vec::new();
    for text in 0..context.dims()[0] {
        let &[a, b, c, d, e, f] = numbers.get(6 * text..6 * text + 6).unwrap_or_default() else {
            return Err(case.malformed("in/time_ids has not six numbers for each text"));
        };
        let pair = |a: f64, b: f64| [a as usize, b as usize];
        let sizes = PictureSizes {
            original: pair(a, b),
            crop: pair(c, d),
            target: pair(e, f),
        };
        sized.push(added.size(context.clone().narrow(0, text, 1), &sizes));
    }
    Ok(Tensor::cat(sized, 0))
}

/// All numbers of images, row-major.
pub(crate) fn numbers(images: &Images) -> Vec<f64> {
    let data = images.clone().into_data();
    debug_assert!(matches!(data.dtype(), DType::F32 | DType::F64));
    data.iter::<f64>().collect()
}
