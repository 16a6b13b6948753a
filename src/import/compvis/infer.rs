//! Which latent network a file is for, from the official names and shapes of its tensors.

use crate::import::kind::Named;
use crate::import::latent::published::{HEAD, HEAD_CHANNELS, HEADS, added};
use crate::network::{LATENT_NAME, LatentAttention, LatentUNetConfig, PerLevel};

/// More than any network may have; the check of its sizes says so.
const MOST: usize = 100;

/// The network, as far as names and shapes tell; heads and size of the latents as published; `text` is the width of a text as a
/// whole, where the file tells it. `None` if a part that tells is missing.
pub(super) fn infer(named: &Named<'_>, text: Option<usize>) -> Option<LatentUNetConfig> {
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
    let deep = |place: &str| {
        let block = |n: &usize| has(&format!("{place}.transformer_blocks.{n}.attn2.to_k.weight"));
        (0..MOST).take_while(block).count()
    };
    let mut depths = Vec::new();
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
            depths.push(None);
        }
        in_level += 1;
        blocks = blocks.max(in_level);
        let place = format!("input_blocks.{i}.1");
        if has(&format!("{place}.norm.weight")) {
            let factor = 1usize.checked_shl(u32::try_from(multipliers.len()).ok()? - 1)?;
            if !factors.contains(&factor) {
                factors.push(factor);
            }
            let depth = depths.last_mut()?;
            *depth = Some(depth.unwrap_or_else(|| deep(&place)));
            attention = Some(place);
        }
    }
    // In the middle there is attention in any case, as deep as at the last level.
    let middle = "middle_block.1";
    let last = depths.last_mut()?;
    *last = Some(last.unwrap_or_else(|| deep(middle)));
    let place = attention.unwrap_or_else(|| middle.into());
    let widths = multipliers.iter().map(|m| m * model_channels);
    let heads = PerLevel::gather(widths.map(|width| Some((width / HEAD).max(1))));
    let linear = matches!(shape(&format!("{place}.proj_in.weight")), Some([_, _]));
    let added = match shape("label_emb.0.0.weight") {
        Some(&[_, input]) => Some(added(input, text)?),
        _ => None,
    };
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
                let keys = format!("{place}.transformer_blocks.0.attn2.to_k.weight");
                let &[_, width] = shape(&keys)? else {
                    return None;
                };
                LatentAttention::Text {
                    heads: if linear { heads } else { HEADS.into() },
                    width,
                    depth: PerLevel::gather(depths),
                    linear,
                }
            }
        },
        added,
        dropout: 0.0,
        step_branch: has("nfe_embed.0.weight"),
    })
}
