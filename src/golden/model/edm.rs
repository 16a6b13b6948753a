//! The network of EDM's that a case describes.

use crate::golden::case::Case;
use crate::golden::measure::Problem;
use crate::network::{DhariwalUNetConfig, NetworkConfig, SongUNetConfig};
use serde_json::Value;

/// The network that a case describes in the official code's words.
pub(crate) fn configuration(case: &Case, net: &Value) -> Result<NetworkConfig, Problem> {
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
