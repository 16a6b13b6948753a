//! What the network of a single file was trained to predict, and on which noise levels: as its buffers and its marks say and,
//! where there are none, its weights.

use crate::Error;
use crate::container::Checkpoint;
use crate::denoiser::Preconditioning;
use crate::grid::LogAlphaTable;
use crate::import::latent::Predicts;
use crate::import::latent::published::{BETAS, BETAS_TEXT, LEVELS};
use crate::network::{LATENT_NAME, LatentAttention, LatentUNetConfig, NetworkConfig};
use serde_json::Value;

/// Marks that trainers leave in files, because nothing else in them tells: the velocity is predicted, and the table of noise
/// levels ends in noise alone.
const VELOCITY_MARK: &str = "v_pred";
const RESCALED_MARK: &str = "ztsnr";
/// Where files say what they are (the ModelSpec of Stability AI).
const ARCHITECTURE: &str = "modelspec.architecture";
const PREDICTION: &str = "modelspec.prediction_type";
const RESOLUTION: &str = "modelspec.resolution";
/// Above it, the spread of a bias in the last attention tells a network of Stable Diffusion 2 that predicts the velocity: in the
/// published files of those that predict the noise it is far smaller.
const SPREAD: f64 = 0.09;
/// Steps of the training of Stable Diffusion 2.0 for 512 pixels.
const STEPS_2_BASE: u64 = 875_000;
/// Pixels of a latent's side.
const FACTOR: usize = 8;

/// Whether a name is that of such a mark.
pub(super) fn is_mark(name: &str) -> bool {
    [VELOCITY_MARK, RESCALED_MARK].contains(&name)
}

/// What the latent network of a file was trained to predict, with the noise levels; and how that is known, where the file does
/// not say it.
///
/// # Errors
/// [`Error::Malformed`] if it was trained otherwise than what is built here.
pub(super) fn trained_to_predict(
    file: &Checkpoint,
    network: &NetworkConfig,
) -> Result<(Preconditioning, Option<&'static str>), Error> {
    let text = network.context_width().is_some();
    let table = noise_table(file, text)?;
    let table = match file.tensors().contains_key(RESCALED_MARK) {
        true => table.with_zero_terminal_snr(),
        false => table,
    };
    let said = Predicts::known(file).or_else(|| says(file));
    let (predicts, why) = match (said, network) {
        (Some(predicts), _) => (predicts, None),
        (None, NetworkConfig::LatentUnet(config)) if is_second(config) => {
            let (predicts, why) = by_weights(file, config)?;
            (predicts, Some(why))
        }
        _ => (Predicts::Noise, None),
    };
    Ok((predicts.on(table), why))
}

/// Whether sizes are those of Stable Diffusion 2, of which there are models of both kinds.
fn is_second(config: &LatentUNetConfig) -> bool {
    let linear = matches!(config.attention, LatentAttention::Text { linear: true, .. });
    linear && config.added.is_none()
}

/// What the file says itself, if anything.
fn says(file: &Checkpoint) -> Option<Predicts> {
    if file.tensors().contains_key(VELOCITY_MARK) {
        return Some(Predicts::Velocity);
    }
    let text = |key: &str| file.metadata.get(key).map(|text| text.to_lowercase());
    match text(PREDICTION).as_deref() {
        Some("v" | "v_prediction") => return Some(Predicts::Velocity),
        Some("epsilon") => return Some(Predicts::Noise),
        _ => {}
    }
    let architecture = text(ARCHITECTURE)?;
    let kind = architecture.split('/').next().unwrap_or_default();
    match kind {
        "stable-diffusion-v2-768-v" => Some(Predicts::Velocity),
        _ if kind.starts_with("stable-diffusion-v2-512") => Some(Predicts::Noise),
        _ => None,
    }
}

/// What training and weights tell where nothing else does, and how.
fn by_weights(
    file: &Checkpoint,
    config: &LatentUNetConfig,
) -> Result<(Predicts, &'static str), Error> {
    let steps = file.attributes.get("global_step").and_then(Value::as_u64);
    if steps == Some(STEPS_2_BASE) {
        return Ok((
            Predicts::Noise,
            "noise, by the number of its training steps",
        ));
    }
    let named = file.named();
    let count = config.channel_multipliers.len() * (config.blocks + 1);
    let mut names = (0..count)
        .rev()
        .map(|i| format!("{LATENT_NAME}.output_blocks.{i}.1.transformer_blocks.0.norm1.bias"));
    let values = match names.find_map(|name| named.tensors.get(&name)) {
        Some((name, _)) => file.values(name)?,
        None => Vec::new(),
    };
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let squares = values.iter().map(|v| (f64::from(*v) - mean).powi(2));
    let spread = (squares.sum::<f64>() / count).sqrt();
    Ok(match spread > SPREAD {
        true => (
            Predicts::Velocity,
            "velocity, by its weights: the file does not say",
        ),
        false => (
            Predicts::Noise,
            "noise, by its weights: the file does not say",
        ),
    })
}

/// The same network for latents of the size that it was trained on, as far as the file tells.
pub(super) fn sized(file: &Checkpoint, config: LatentUNetConfig) -> LatentUNetConfig {
    let said = file.metadata.get(RESOLUTION).and_then(|text| {
        let (width, _) = text.split_once('x')?;
        let width = width.trim().parse::<usize>().ok();
        width.map(|width| width / FACTOR)
    });
    let predicts = || Predicts::known(file).or_else(|| says(file));
    let usual = if config.added.is_some() {
        LatentUNetConfig::stable_diffusion_xl().resolution
    } else if is_second(&config) && predicts() == Some(Predicts::Velocity) {
        LatentUNetConfig::stable_diffusion_2(768 / FACTOR).resolution
    } else {
        config.resolution
    };
    let network = NetworkConfig::LatentUnet(config.clone());
    let fits = |side: &usize| network.takes([config.channels, *side, *side]);
    LatentUNetConfig {
        resolution: said.filter(fits).unwrap_or(usual),
        ..config
    }
}

/// The width of a text as a whole, where the file holds the text encoder that makes it.
pub(super) fn whole_text(file: &Checkpoint) -> Option<usize> {
    let mut all = file.tensors().iter();
    let (_, info) = all.find(|(name, _)| name.ends_with("embedders.1.model.text_projection"))?;
    info.shape.last().copied()
}

/// The noise levels that the network was trained on: of the file's buffers, or the published ones.
///
/// # Errors
/// [`Error::Malformed`] if the buffers are of another kind of schedule.
fn noise_table(file: &Checkpoint, text: bool) -> Result<LogAlphaTable, Error> {
    let (start, end) = if text { BETAS_TEXT } else { BETAS };
    if !file.tensors().contains_key("betas") {
        return LogAlphaTable::scaled_linear(start, end, LEVELS);
    }
    let betas = file.values("betas")?;
    let reason = "its `betas` are not those of a schedule that is linear in their square roots";
    let wrong = || file.source.broken("latent model", reason);
    let (Some(first), Some(last)) = (betas.first(), betas.last()) else {
        return Err(wrong());
    };
    // Stored in single precision: the shortest number that rounds to it is the one that was meant.
    let meant = |beta: &f32| beta.to_string().parse::<f64>().unwrap_or(f64::NAN);
    let (start, end) = (meant(first), meant(last));
    let table = LogAlphaTable::scaled_linear(start, end, betas.len()).map_err(|_| wrong())?;
    let count = (betas.len() - 1).max(1) as f64;
    let fits = betas.iter().enumerate().all(|(k, beta)| {
        let root = start.sqrt() + (end.sqrt() - start.sqrt()) * k as f64 / count;
        (f64::from(*beta) / (root * root) - 1.0).abs() < 1e-5
    });
    if fits { Ok(table) } else { Err(wrong()) }
}
