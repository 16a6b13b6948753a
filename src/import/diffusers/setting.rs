//! What the settings in a folder of diffusers say that its tensors do not.

use super::place::{FILES, SETTINGS};
use crate::Error;
use crate::container::shard;
use crate::import::latent::published::HEADS;
use crate::import::setting::{self, key};
use crate::network::{LatentAttention, LatentUNetConfig};
use serde_json::{Value, json};
use std::path::Path;

/// What the settings beside a file say that its tensors do not: heads (else those of Stable Diffusion v1), size of the
/// latents, dropout.
///
/// # Errors
/// [`Error::Malformed`] for settings of a network that is not built here, or that do not fit its tensors.
pub(super) fn told(file: &Path, config: LatentUNetConfig) -> Result<LatentUNetConfig, Error> {
    let path = file.with_file_name(SETTINGS);
    let mut settings = setting::read(&path)?;
    // Beside a file of any other name may be the settings of anything.
    if !shard::is_named(file, &FILES) && settings["_class_name"] != "UNet2DConditionModel" {
        settings = Value::Null;
    }
    setting::check(&settings, key::UNET, &path)?;
    let widths = config.channel_multipliers.iter();
    let widths: Vec<usize> = widths.map(|m| m * config.model_channels).collect();
    let agrees = |key: &str, value: Value| setting::agrees(&settings, key, value, &path);
    agrees("in_channels", json!(config.channels))?;
    agrees("out_channels", json!(config.channels))?;
    agrees("block_out_channels", json!(widths))?;
    agrees("layers_per_block", json!(config.blocks))?;
    let number = |key: &str| match (&settings[key], whole(&settings, key)) {
        (Value::Null, _) => Ok(None),
        (_, Some(number)) => Ok(Some(number)),
        (said, None) => {
            let only = "only one whole number is built here";
            Err(setting::refused(&path, key, said, only))
        }
    };
    let attention = match config.attention {
        LatentAttention::Text { width, depth, .. } => {
            agrees("cross_attention_dim", json!(width))?;
            agrees("transformer_layers_per_block", json!(depth))?;
            LatentAttention::Text {
                // A misnomer of theirs: it is the number of heads.
                heads: number("attention_head_dim")?.unwrap_or(HEADS),
                width,
                depth,
            }
        }
        other => other,
    };
    Ok(LatentUNetConfig {
        resolution: number("sample_size")?.unwrap_or(config.resolution),
        dropout: settings["dropout"].as_f64().unwrap_or(config.dropout),
        attention,
        ..config
    })
}

/// Checks that the model of a folder was trained with the noise levels of Stable Diffusion v1 and predicts the noise, as far
/// as the settings of its sampler say.
///
/// # Errors
/// [`Error::Malformed`] with the setting that is another, or that is missing where diffusers then takes another.
pub(super) fn check_schedule(file: &Path) -> Result<(), Error> {
    let Some(whole) = file.parent().and_then(Path::parent) else {
        return Ok(());
    };
    let path = whole.join("scheduler").join("scheduler_config.json");
    let settings = setting::read(&path)?;
    setting::check(&settings, key::SCHEDULER, &path)?;
    if settings["_class_name"].is_null() {
        return Ok(());
    }
    for (key, taken) in [
        ("beta_schedule", "\"linear\""),
        ("beta_start", "0.0001"),
        ("beta_end", "0.02"),
    ] {
        if settings[key].is_null() {
            let wrong = format!("diffusers then takes {taken}, which is not built here");
            return Err(setting::refused(&path, key, &Value::Null, wrong));
        }
    }
    Ok(())
}

/// A whole number in a JSON table.
fn whole(of: &Value, key: &str) -> Option<usize> {
    usize::try_from(of[key].as_u64()?).ok()
}
