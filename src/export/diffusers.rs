//! The folder that the diffusers library loads a U-Net from.

use crate::Error;
use crate::import::diffusers;
use crate::network::{LatentAttention, LatentUNetConfig, NetworkConfig, PerLevel};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The settings (`config.json`) of a network in a folder of the diffusers library.
///
/// # Errors
/// [`Error::Incompatible`] for a network that it has no names for: all but those that take a text, and those with a step
/// branch.
pub fn diffusers_settings(network: &NetworkConfig) -> Result<Value, Error> {
    let settings = match network {
        NetworkConfig::LatentUnet(config) if !config.step_branch => settings(config),
        _ => None,
    };
    settings.ok_or_else(|| Error::Incompatible {
        first: "the layout of diffusers".into(),
        second: match network.has_step_branch() {
            true => "a network with a step branch".into(),
            false => "a network that is not Stable Diffusion's".into(),
        },
        remedy: match network.has_step_branch() {
            true => "fold the branch first, for one number of network calls".into(),
            false => "no names of theirs are written for it; sample it with fewstep, or write --to onnx or pytorch".into(),
        },
    })
}

/// The settings that diffusers wants beside the file; `None` for a network that it has no names for.
fn settings(config: &LatentUNetConfig) -> Option<Value> {
    let LatentAttention::Text {
        heads,
        width,
        depth,
        linear,
    } = &config.attention
    else {
        return None;
    };
    let levels = config.channel_multipliers.len();
    let attends = |level: usize| config.attention_factors.contains(&(1 << level));
    let kinds =
        |with: &str, without: &str, levels: &mut dyn Iterator<Item = usize>| -> Vec<String> {
            let kinds = levels.map(|level| if attends(level) { with } else { without });
            kinds.map(str::to_string).collect()
        };
    let widths: Vec<usize> = config
        .channel_multipliers
        .iter()
        .map(|m| m * config.model_channels)
        .collect();
    // A level without attention has none of either; diffusers wants numbers all the same.
    let numbers = |all: &PerLevel| match all {
        PerLevel::Same(number) => json!(number),
        PerLevel::Each(all) => json!(all.iter().map(|n| (*n).max(1)).collect::<Vec<_>>()),
    };
    let mut settings = json!({
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "attention_head_dim": numbers(heads),
        "block_out_channels": widths,
        "center_input_sample": false,
        "cross_attention_dim": width,
        "down_block_types": kinds("CrossAttnDownBlock2D", "DownBlock2D", &mut (0..levels)),
        "downsample_padding": 1,
        "dropout": config.dropout,
        "flip_sin_to_cos": true,
        "freq_shift": 0,
        "in_channels": config.channels,
        "layers_per_block": config.blocks,
        "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "norm_eps": 1e-5,
        "norm_num_groups": 32,
        "out_channels": config.channels,
        "sample_size": config.resolution,
        "transformer_layers_per_block": numbers(depth),
        "up_block_types": kinds("CrossAttnUpBlock2D", "UpBlock2D", &mut (0..levels).rev()),
        "use_linear_projection": linear,
    });
    if let Some(added) = config.added {
        settings["addition_embed_type"] = json!("text_time");
        settings["addition_time_embed_dim"] = json!(added.waves);
        settings["projection_class_embeddings_input_dim"] = json!(added.input());
    }
    Some(settings)
}

/// Diffusers' name of each official one.
///
/// # Errors
/// As [`diffusers_settings`].
pub(super) fn names(network: &NetworkConfig) -> Result<BTreeMap<String, String>, Error> {
    diffusers_settings(network)?;
    Ok(match network {
        NetworkConfig::LatentUnet(config) => diffusers::names(config).into_iter().collect(),
        _ => BTreeMap::new(),
    })
}
