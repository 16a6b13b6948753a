//! What the settings in a folder of diffusers say that its tensors do not.

use super::place::{FILES, SETTINGS};
use crate::Error;
use crate::container::shard;
use crate::import::latent::published::{HEADS, WAVES, added};
use crate::import::setting::{self, key};
use crate::network::{Added, LatentAttention, LatentUNetConfig, PerLevel};
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
        LatentAttention::Text {
            width,
            depth,
            linear,
            ..
        } => {
            agrees("cross_attention_dim", json!(width))?;
            agrees("use_linear_projection", json!(linear))?;
            let levels = config.channel_multipliers.len();
            // A misnomer of theirs: it is the number of heads.
            let heads = each(&settings, "attention_head_dim", levels, &path)?;
            let said = each(&settings, "transformer_layers_per_block", levels, &path)?;
            let attends = |level: usize| {
                level + 1 == levels || config.attention_factors.contains(&(1 << level))
            };
            let differs = |said: &PerLevel| {
                (0..levels).any(|level| attends(level) && said.of(level) != depth.of(level))
            };
            if said.is_some_and(|said| differs(&said)) {
                agrees("transformer_layers_per_block", json!(depth))?;
            }
            LatentAttention::Text {
                heads: heads.unwrap_or(HEADS.into()),
                width,
                depth,
                linear,
            }
        }
        other => other,
    };
    let added = match config.added {
        Some(built) => Some(added_said(&settings, built.input(), &path)?),
        None => {
            agrees("addition_embed_type", Value::Null)?;
            None
        }
    };
    Ok(LatentUNetConfig {
        added,
        resolution: number("sample_size")?.unwrap_or(config.resolution),
        dropout: settings["dropout"].as_f64().unwrap_or(config.dropout),
        attention,
        ..config
    })
}

/// One number, or one for each level; `None` where nothing is said.
fn each(
    settings: &Value,
    key: &str,
    levels: usize,
    path: &Path,
) -> Result<Option<PerLevel>, Error> {
    if settings[key].is_null() {
        return Ok(None);
    }
    let said: Option<PerLevel> = serde_json::from_value(settings[key].clone()).ok();
    let fits = said.filter(|said| match said {
        PerLevel::Same(_) => true,
        PerLevel::Each(all) => all.len() == levels,
    });
    let wrong = || {
        let only =
            format!("only a whole number, or one for each of {levels} levels, is built here");
        setting::refused(path, key, &settings[key], only)
    };
    fits.map(Some).ok_or_else(wrong)
}

/// What else is told of a text, of which the tensors say how many numbers it is.
fn added_said(settings: &Value, input: usize, path: &Path) -> Result<Added, Error> {
    let key = "addition_embed_type";
    let said = &settings[key];
    // A file alone may be of the published sizes.
    if said.is_null() && settings["_class_name"].is_null() {
        let usual = added(input, None);
        return usual.ok_or_else(|| setting::refused(path, key, said, "its tensors need it"));
    }
    if *said != "text_time" {
        let only = "its tensors have an added embedding, for which \"text_time\" is built here";
        return Err(setting::refused(path, key, said, only));
    }
    setting::agrees(
        settings,
        "projection_class_embeddings_input_dim",
        json!(input),
        path,
    )?;
    let key = "addition_time_embed_dim";
    let waves = whole(settings, key).unwrap_or(WAVES);
    let text = input.checked_sub(6 * waves).filter(|text| *text > 0);
    text.map(|text| Added { text, waves }).ok_or_else(|| {
        let wrong = format!("six of them leave nothing of the {input} for a text");
        setting::refused(path, key, &settings[key], wrong)
    })
}

/// A whole number in a JSON table.
pub(super) fn whole(of: &Value, key: &str) -> Option<usize> {
    usize::try_from(of[key].as_u64()?).ok()
}
