//! Which latent network a file is for, from the official names and shapes of its tensors.

use crate::import::kind::Named;
use crate::import::latent::published::{HEAD_CHANNELS, HEADS};
use crate::network::{LATENT_NAME, LatentAttention, LatentUNetConfig};

/// More than any network may have; the check of its sizes says so.
const MOST: usize = 100;

/// The network, as far as names and shapes tell; heads and size of the latents as published. `None` if a part that tells is
/// missing.
pub(super) fn infer(named: &Named<'_>) -> Option<LatentUNetConfig> {
    let shape = |name: &str| {
        let found = named.tensors.get(&format!("{LATENT_NAME}.{name}"));
        found.map(|(_, shape)| *shape)
    };
    let has = |name: &str| shape(name).is_some();
    let &[model_channels, channels, 3, 3] = shape("input_blocks.0.0.weight")? else {
        return None;
    };
    let (mut multipliers, mut factors) = (Vec::new(), Vec::new());
    let (mut blocks, mut in_level) = (0, 0);
    let mut attention = None;
    for i in 1..MOST {
        if has(&format!("input_blocks.{i}.0.op.weight")) {
            in_level = 0;
            continue;
        }
        let Some(bias) = shape(&format!("input_blocks.{i}.0.in_layers.2.bias")) else {
            break;
        };
        let width = *bias.first()?;
        if model_channels == 0 || !width.is_multiple_of(model_channels) {
            return None;
        }
        if in_level == 0 {
            multipliers.push(width / model_channels);
        }
        in_level += 1;
        blocks = blocks.max(in_level);
        let place = format!("input_blocks.{i}.1");
        if has(&format!("{place}.norm.weight")) {
            let factor = 1usize.checked_shl(u32::try_from(multipliers.len()).ok()? - 1)?;
            if !factors.contains(&factor) {
                factors.push(factor);
            }
            attention = Some(place);
        }
    }
    // In the middle there is attention in any case.
    let place = attention.unwrap_or_else(|| "middle_block.1".into());
    Some(LatentUNetConfig {
        resolution: LatentUNetConfig::default().resolution,
        channels,
        model_channels,
        channel_multipliers: multipliers,
        blocks,
        attention_factors: factors,
        attention: match shape(&format!("{place}.qkv.weight")) {
            Some(_) => LatentAttention::Pixels {
                head_channels: HEAD_CHANNELS,
            },
            None => {
                let block = |n| format!("{place}.transformer_blocks.{n}.attn2.to_k.weight");
                let &[_, width] = shape(&block(0))? else {
                    return None;
                };
                LatentAttention::Text {
                    heads: HEADS,
                    width,
                    depth: (1..MOST).find(|n| !has(&block(*n)))?,
                }
            }
        },
        dropout: 0.0,
        step_branch: has("nfe_embed.0.weight"),
    })
}
