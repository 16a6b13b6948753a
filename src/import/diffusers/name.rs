//! The names that the diffusers library gives the U-Net of Stable Diffusion.

use crate::network::{LATENT_NAME, LatentUNetConfig, NetworkConfig};

/// Official name and diffusers' name of every parameter; those of the step branch have none there.
pub(crate) fn names(config: &LatentUNetConfig) -> Vec<(String, String)> {
    let network = NetworkConfig::LatentUnet(config.clone());
    let keys = network.keys().into_iter();
    let pairs = keys.filter_map(|key| {
        let rest = key.name.strip_prefix(LATENT_NAME)?.strip_prefix('.')?;
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
        "label_emb" => {
            let (layer, end) = inside.split_once('.')?;
            let layer = if layer == "0" { 1 } else { 2 };
            format!("add_embedding.linear_{layer}.{end}")
        }
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
