//! The names that the diffusers library gives the U-Net of Stable Diffusion.

use super::Checkpoint;
use super::latent::{HEADS, PREFIX, whole};
use super::setting::{self, key};
use super::shard;
use crate::Error;
use crate::network::{LatentAttention, LatentUNetConfig, NetworkConfig};
use serde_json::{Value, json};
use std::path::Path;

/// More than any network may have; the check of its sizes says so.
const MOST: usize = 100;

/// The name of a U-Net's file in the folder `unet` of diffusers.
pub const FILE: &str = "diffusion_pytorch_model.safetensors";
/// All names that it may have, the best first.
pub(super) const FILES: [&str; 4] = [
    FILE,
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.bin",
];
/// The name of the settings beside it.
pub const SETTINGS: &str = "config.json";

/// Official name and diffusers' name of every parameter; those of the step branch have none there.
pub(super) fn names(config: &LatentUNetConfig) -> Vec<(String, String)> {
    let network = NetworkConfig::LatentUnet(config.clone());
    let keys = network.keys().into_iter();
    let pairs = keys.filter_map(|key| {
        let rest = key.name.strip_prefix(PREFIX)?;
        let theirs = name(config, rest)?;
        Some((key.name, theirs))
    });
    pairs.collect()
}

/// Diffusers' name of `input_blocks.1.0.in_layers.0.weight` and so on.
fn name(config: &LatentUNetConfig, official: &str) -> Option<String> {
    let (head, rest) = official.split_once('.')?;
    let (first, inside) = rest.split_once('.')?;
    // Entries of a level: its blocks, and the convolution that halves or, in the decoder, one block more.
    let each = config.blocks + 1;
    Some(match head {
        "time_embed" => format!(
            "time_embedding.linear_{}.{inside}",
            if first == "0" { 1 } else { 2 }
        ),
        "out" if first == "0" => format!("conv_norm_out.{inside}"),
        "out" => format!("conv_out.{inside}"),
        "middle_block" => match first {
            "1" => format!("mid_block.attentions.0.{inside}"),
            "0" => format!("mid_block.resnets.0.{}", residual(inside)?),
            _ => format!("mid_block.resnets.1.{}", residual(inside)?),
        },
        "input_blocks" => {
            let index: usize = first.parse().ok()?;
            let (child, inside) = inside.split_once('.')?;
            let Some(index) = index.checked_sub(1) else {
                return Some(format!("conv_in.{inside}"));
            };
            let (level, block) = (index / each, index % each);
            match (block == config.blocks, child) {
                (true, _) => {
                    let inside = inside.strip_prefix("op.")?;
                    format!("down_blocks.{level}.downsamplers.0.conv.{inside}")
                }
                (false, "0") => {
                    format!("down_blocks.{level}.resnets.{block}.{}", residual(inside)?)
                }
                (false, _) => format!("down_blocks.{level}.attentions.{block}.{inside}"),
            }
        }
        "output_blocks" => {
            let index: usize = first.parse().ok()?;
            let (child, inside) = inside.split_once('.')?;
            let (level, block) = (index / each, index % each);
            match (child, inside.strip_prefix("conv.")) {
                (_, Some(inside)) => format!("up_blocks.{level}.upsamplers.0.conv.{inside}"),
                ("0", None) => {
                    format!("up_blocks.{level}.resnets.{block}.{}", residual(inside)?)
                }
                (_, None) => format!("up_blocks.{level}.attentions.{block}.{inside}"),
            }
        }
        _ => return None,
    })
}

/// A name inside a residual block.
fn residual(official: &str) -> Option<String> {
    let layers = [
        ("in_layers.0", "norm1"),
        ("in_layers.2", "conv1"),
        ("emb_layers.1", "time_emb_proj"),
        ("out_layers.0", "norm2"),
        ("out_layers.3", "conv2"),
        ("skip_connection", "conv_shortcut"),
    ];
    let (layer, end) = official.rsplit_once('.')?;
    let (_, theirs) = layers.into_iter().find(|(ours, _)| *ours == layer)?;
    Some(format!("{theirs}.{end}"))
}

/// The network, as far as diffusers' names and shapes tell, with a single head. `None` for other files.
pub(super) fn infer(file: &Checkpoint) -> Option<LatentUNetConfig> {
    let shape = |name: &str| file.tensors.get(name).map(|info| info.shape.as_slice());
    let has = |name: &str| shape(name).is_some();
    let &[model_channels, channels, 3, 3] = shape("conv_in.weight")? else {
        return None;
    };
    let width = |level: usize| {
        let bias = shape(&format!("down_blocks.{level}.resnets.0.conv1.bias"))?;
        bias.first().copied()
    };
    let count = |of: &dyn Fn(usize) -> bool| (0..MOST).take_while(|n| of(*n)).count();
    let levels = count(&|level| width(level).is_some());
    let blocks = count(&|n| has(&format!("down_blocks.0.resnets.{n}.conv1.bias")));
    let mut multipliers = Vec::new();
    for level in 0..levels {
        let width = width(level)?;
        if model_channels == 0 || !width.is_multiple_of(model_channels) {
            return None;
        }
        multipliers.push(width / model_channels);
    }
    let attends = |level: &usize| has(&format!("down_blocks.{level}.attentions.0.norm.weight"));
    let attention = (0..levels.min(usize::BITS as usize - 1)).filter(attends);
    let block = |n| format!("mid_block.attentions.0.transformer_blocks.{n}.attn2.to_k.weight");
    let &[_, context] = shape(&block(0))? else {
        return None;
    };
    let config = LatentUNetConfig {
        resolution: LatentUNetConfig::stable_diffusion().resolution,
        channels,
        model_channels,
        channel_multipliers: multipliers,
        blocks,
        attention_factors: attention.map(|level| 1 << level).collect(),
        attention: LatentAttention::Text {
            heads: 1,
            width: context,
            depth: count(&|n| has(&block(n))),
        },
        dropout: 0.0,
        step_branch: false,
    };
    // Names can be made for sizes that fit together only; the number of heads is in none.
    config.check().ok()?;
    Some(config)
}

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

/// The settings that diffusers wants beside the file; `None` for a network that it has no names for.
pub(super) fn settings(config: &LatentUNetConfig) -> Option<Value> {
    let LatentAttention::Text {
        heads,
        width,
        depth,
    } = config.attention
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
    Some(json!({
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "attention_head_dim": heads,
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
        "transformer_layers_per_block": depth,
        "up_block_types": kinds("CrossAttnUpBlock2D", "UpBlock2D", &mut (0..levels).rev()),
        "use_linear_projection": false,
    }))
}
