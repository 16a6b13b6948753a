//! Latent networks: which one a case describes, its noise levels, and how it is guided.

use crate::golden::case::Case;
use crate::golden::measure::Problem;
use crate::grid::LogAlphaTable;
use crate::network::{LatentAttention, LatentUNetConfig, NetworkConfig};
use serde_json::Value;

/// Whether a case's `net` is a latent U-Net.
pub(crate) fn is_latent_unet(net: &Value) -> bool {
    net["arch"] == "ldm_unet" || net["arch"] == "sd_unet"
}

/// The network that a case describes in the official code's words.
pub(crate) fn configuration(case: &Case, net: &Value) -> Result<NetworkConfig, Problem> {
    for (key, built) in [
        ("use_scale_shift_norm", false),
        ("resblock_updown", false),
        ("conv_resample", true),
    ] {
        if case.flag(net, key)? != built {
            return Err(Problem::unsupported(format!("{key} other than {built}")));
        }
    }
    let channels = case.count(net, "in_channels")?;
    let text = case.flag(net, "use_spatial_transformer")?;
    if case.count(net, "out_channels")? != channels || case.flag(net, "legacy")? == text {
        return Err(Problem::unsupported(
            "other outputs than inputs, or new attention layout",
        ));
    }
    let config = LatentUNetConfig {
        resolution: case.count(net, "img_resolution")?,
        channels,
        model_channels: case.count(net, "model_channels")?,
        channel_multipliers: case.counts(net, "channel_mult")?,
        blocks: case.count(net, "num_res_blocks")?,
        attention_factors: case.counts(net, "attention_resolutions")?,
        attention: match text {
            false => LatentAttention::Pixels {
                head_channels: case.count(net, "num_head_channels")?,
            },
            true => LatentAttention::Text {
                heads: case.count(net, "num_heads")?.into(),
                width: case.count(net, "context_dim")?,
                depth: case.count(net, "transformer_depth")?.into(),
                linear: false,
            },
        },
        added: None,
        dropout: case.number(net, "dropout")?,
        step_branch: case.flag(net, "has_step_layers")?,
    };
    let config = NetworkConfig::LatentUnet(config);
    config.check()?;
    Ok(config)
}

/// The noise levels that the network was trained on.
pub(crate) fn table(case: &Case, net: &Value) -> Result<LogAlphaTable, Problem> {
    let (start, end) = ("linear_start", "linear_end");
    Ok(LogAlphaTable::scaled_linear(
        case.number(net, start)?,
        case.number(net, end)?,
        case.count(net, "timesteps")?,
    )?)
}

/// The weight of a run's or an evaluation's guidance.
pub(crate) fn guidance(case: &Case, of: &Value) -> Result<f64, Problem> {
    match of["guidance_rate"] {
        Value::Null => Ok(1.0),
        _ => case.number(of, "guidance_rate"),
    }
}
