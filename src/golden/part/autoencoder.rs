//! Autoencoders: encoding, quantisation, decoding.

use crate::autoencoder::{Autoencoder, AutoencoderConfig, Bottleneck};
use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, largest, normalised_each};
use crate::golden::model::numbers;
use crate::image::Picture;
use crate::parameter::load;
use crate::{Error, Images};
use burn::tensor::{DType, Device, TensorData};
use serde_json::Value;
use std::collections::BTreeMap;

/// A row for each encoding and decoding, of whatever in it is nearest to its tolerance.
pub(crate) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let sizes = configuration(case, &config["net"])?;
    let weights = weights(case, &config["net"])?;
    let blank = sizes.blank(device)?;
    let autoencoder = load(blank, &weights, &|_| false, case.path())?;
    for of in case.list(config, "encode")? {
        report(case.text(of, "id")?, encode(case, of, &autoencoder, device));
    }
    for of in case.list(config, "decode")? {
        report(case.text(of, "id")?, decode(case, of, &autoencoder, device));
    }
    Ok(())
}

/// A file must not be able to ask for all memory.
const MOST_WEIGHTS: u64 = 200_000_000;
const LARGEST: usize = 512;

/// The sizes that a case describes in the official code's words.
pub(crate) fn configuration(case: &Case, net: &Value) -> Result<AutoencoderConfig, Problem> {
    let counts = |key: &str| -> Result<Vec<usize>, Problem> {
        let list = case.list(net, key)?.iter().map(Value::as_u64);
        let list: Option<Vec<u64>> = list.collect();
        let list =
            list.ok_or_else(|| case.malformed(format!("`{key}` is not a list of counts")))?;
        Ok(list.into_iter().map(|n| n.min(1 << 20) as usize).collect())
    };
    let channel_multipliers = counts("ch_mult")?;
    let resolution = case.count(net, "resolution")?;
    let attention = counts("attn_resolutions")?;
    let levels = 0..channel_multipliers.len().min(16);
    let channels = case.count(net, "in_channels")?;
    if case.count(net, "out_ch")? != channels {
        return Err(Problem::unsupported(
            "autoencoders whose pictures change their channels",
        ));
    }
    let config = AutoencoderConfig {
        channels,
        model_channels: case.count(net, "ch")?,
        attention_levels: levels
            .filter(|level| attention.contains(&(resolution >> level)))
            .collect(),
        channel_multipliers,
        blocks: case.count(net, "num_res_blocks")?,
        inner_channels: case.count(net, "z_channels")?,
        latent_channels: case.count(net, "embed_dim")?,
        bottleneck: match case.text(net, "arch")? {
            "kl" => Bottleneck::Normal {},
            "vq" => Bottleneck::Codebook {
                codes: case.count(net, "n_embed")?,
            },
            other => return Err(Problem::unsupported(format!("network {other:?}"))),
        },
        scale: case.number(net, "scale_factor")?,
    };
    config.check()?;
    if config.parameter_count() > MOST_WEIGHTS {
        return Err(case.malformed("`net` describes a network too large to be a test"));
    }
    Ok(config)
}

/// The weights of the companion file without the prefix that `net` says.
pub(crate) fn weights(case: &Case, net: &Value) -> Result<BTreeMap<String, TensorData>, Problem> {
    let file = case.companion(case.text(case.config(), "weights")?)?;
    let prefix = format!("w/{}", case.text(net, "state_dict_prefix")?);
    let named = file.tensors(&prefix);
    Ok(named.map(|(n, d)| (n.to_string(), d.clone())).collect())
}

/// Pictures or latents of a bearable size.
pub(crate) fn images(
    case: &Case,
    of: &Value,
    key: &str,
    device: &Device,
) -> Result<Images, Problem> {
    let name = case.text(of, key)?;
    let images = case.tensor::<4>(name, device, DType::F32)?;
    let [_, _, h, w] = images.dims();
    match h.max(w) <= LARGEST {
        true => Ok(images),
        false => Err(case.malformed(format!("{name} is larger than {LARGEST} x {LARGEST}"))),
    }
}

fn encode(
    case: &Case,
    of: &Value,
    autoencoder: &Autoencoder,
    device: &Device,
) -> Result<Measure, Problem> {
    let images = images(case, of, "x", device)?;
    let encoding = autoencoder.encode(images)?;
    let relative = |key: &str, got: &Images, tolerance: &str| -> Result<Measure, Problem> {
        let want = case.values(case.text(of, key)?)?;
        let error = normalised_each(&numbers(got), &want, got.dims()[0]);
        Ok(Measure::new(error, case.tolerance(tolerance)?))
    };
    let Some(log) = &encoding.log_variance else {
        let worst = relative("h", &encoding.latents(), "h")?;
        let (indices, quantised) = autoencoder.quantise(encoding.latents())?;
        let same = codes(case, of, indices)?;
        let rows = relative("quantized", &quantised, "quantized")?;
        return Ok(worst.or_worse(rows).or_worse(same));
    };
    let absolute = |key: &str, got: &Images, tolerance: &str| -> Result<Measure, Problem> {
        let want = case.values(case.text(of, key)?)?;
        let error = largest(&numbers(got), &want, |g, w| (g - w).abs());
        Ok(Measure::new(error, case.tolerance(tolerance)?))
    };
    Ok(relative("mean", &encoding.mean, "mean")?
        .or_worse(relative("z_mode_scaled", &encoding.latents(), "mean")?)
        .or_worse(absolute("moments", &encoding.moments, "moments_abs")?)
        .or_worse(absolute("logvar", log, "logvar_abs")?))
}

fn decode(
    case: &Case,
    of: &Value,
    autoencoder: &Autoencoder,
    device: &Device,
) -> Result<Measure, Problem> {
    let latents = images(case, of, "z", device)?;
    let tolerance = case.tolerance("image")?;
    let image = autoencoder.decode(latents.clone())?;
    let mut worst = compare(case, case.text(of, "image")?, &image, tolerance)?;
    worst = worst.or_worse(bytes(case, case.text(of, "u8")?, &image, tolerance)?);
    if !of["indices"].is_null() {
        let (indices, _) = autoencoder.quantise(latents.clone())?;
        worst = worst.or_worse(codes(case, of, indices)?);
        let scale = autoencoder.config().scale;
        let raw = autoencoder.decode_quantised(latents.div_scalar(scale))?;
        let want = case.text(of, "image_not_quantized")?;
        worst = worst.or_worse(compare(case, want, &raw, tolerance)?);
    }
    Ok(worst)
}

/// Pictures against a tensor.
pub(crate) fn compare(
    case: &Case,
    want: &str,
    got: &Images,
    tolerance: f64,
) -> Result<Measure, Problem> {
    let want = case.values(want)?;
    let error = normalised_each(&numbers(got), &want, got.dims()[0]);
    Ok(Measure::new(error, tolerance))
}

/// How many bytes are others, where the picture's tolerance does not excuse it.
pub(crate) fn bytes(
    case: &Case,
    want: &str,
    got: &Images,
    tolerance: f64,
) -> Result<Measure, Problem> {
    let want = case.values(want)?;
    let [b, c, h, w] = got.dims();
    let values = numbers(got);
    if want.len() != values.len() {
        return Err(case.malformed("`u8` is of another shape than the picture"));
    }
    let square = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
    let near = 127.5 * tolerance * square.sqrt();
    let pictures = Picture::all(got.clone())?;
    let mut wrong = 0;
    for (i, (value, want)) in values.iter().zip(&want).enumerate() {
        let (at, channel, picture) = (i % (h * w), i / (h * w) % c, i / (c * h * w));
        debug_assert!(picture < b);
        let got = f64::from(pictures[picture].pixels[at * c + channel]);
        let level = value * 127.5 + 128.0;
        let excused = (got - want).abs() <= 1.0 && (level - level.round()).abs() <= near;
        wrong += usize::from(got != *want && !excused);
    }
    Ok(Measure::new(wrong as f64, 0.0))
}

/// How many codes are others.
fn codes(case: &Case, of: &Value, got: Option<Vec<usize>>) -> Result<Measure, Problem> {
    let want = case.values(case.text(of, "indices")?)?;
    let got = got.unwrap_or_default();
    let wrong = got.iter().zip(&want).filter(|(g, w)| **g as f64 != **w);
    let wrong = wrong.count() + got.len().abs_diff(want.len());
    Ok(Measure::new(wrong as f64, 0.0))
}

/// 0 for what is told right, 1 for what is not.
pub(crate) fn same<T: PartialEq>(got: Result<T, Error>, want: &T) -> Result<Measure, Problem> {
    Ok(Measure::new(f64::from(got? != *want), 0.0))
}
