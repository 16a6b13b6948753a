//! Which U-Net a file of diffusers is for, from the names and shapes of its tensors.

use crate::container::Checkpoint;
use crate::import::latent::published::added;
use crate::network::{Added, LatentAttention, LatentUNetConfig, PerLevel};

/// More than any network may have; the check of its sizes says so.
const MOST: usize = 100;

/// The network, as far as diffusers' names and shapes tell, with a single head. `None` for other files.
pub(super) fn infer(file: &Checkpoint) -> Option<LatentUNetConfig> {
    let shape = |name: &str| file.tensors().get(name).map(|info| info.shape.as_slice());
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
    let middle = "mid_block.attentions.0";
    let block = |place: &str, n: usize| format!("{place}.transformer_blocks.{n}.attn2.to_k.weight");
    let deep = |place: &str| count(&|n| has(&block(place, n)));
    let &[_, context] = shape(&block(middle, 0))? else {
        return None;
    };
    // The middle is as deep as the last level.
    let depth = (0..levels).map(|level| match attends(&level) {
        true => Some(deep(&format!("down_blocks.{level}.attentions.0"))),
        false => (level + 1 == levels).then(|| deep(middle)),
    });
    let depth = PerLevel::gather(depth);
    let added = match shape("add_embedding.linear_1.weight") {
        // Settings tell how wide the text is; the rest is the waves.
        Some(&[_, input]) => Some(added(input, None).unwrap_or(Added {
            text: input.saturating_sub(12).max(1),
            waves: 2,
        })),
        _ => None,
    };
    let config = LatentUNetConfig {
        resolution: LatentUNetConfig::stable_diffusion().resolution,
        channels,
        model_channels,
        channel_multipliers: multipliers,
        blocks,
        attention_factors: attention.map(|level| 1 << level).collect(),
        attention: LatentAttention::Text {
            heads: 1.into(),
            width: context,
            depth,
            linear: matches!(shape(&format!("{middle}.proj_in.weight")), Some([_, _])),
        },
        added,
        dropout: 0.0,
        step_branch: false,
    };
    // Names can be made for sizes that fit together only; the number of heads is in none.
    config.check().ok()?;
    Some(config)
}
