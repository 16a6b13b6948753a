//! Sizes of latent U-Nets.

use crate::network::limit::EMBEDDING_MULTIPLIER;
use crate::setting::one;
use serde::{Deserialize, Serialize};

/// Groups of every group norm.
pub(super) const GROUPS: usize = 32;

/// Epsilon of the group norms of residual blocks, attention and head.
pub(super) const EPSILON: f64 = 1e-5;

/// Sizes of a [`LatentUNet`](super::LatentUNet).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LatentUNetConfig {
    /// Height and width of the latents that it was trained on. It takes any that are divisible by 2^(levels - 1).
    pub resolution: usize,
    /// Channels of the latents.
    pub channels: usize,
    /// Channels of the first level; a multiple of 32.
    pub model_channels: usize,
    /// Channels of each level, as multiples of `model_channels`.
    pub channel_multipliers: Vec<usize>,
    /// Residual blocks a level.
    pub blocks: usize,
    /// Levels that have attention, by how much smaller than the latents they are: 1, 2, 4...
    pub attention_factors: Vec<usize>,
    /// Its kind. The middle has it in any case.
    pub attention: LatentAttention,
    /// Dropout rate inside the blocks, in [0, 1); active in training only.
    #[serde(default)]
    pub dropout: f64,
    /// Whether the step branch exists.
    #[serde(default)]
    pub step_branch: bool,
}

/// What a latent U-Net attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum LatentAttention {
    /// Its own pixels: unconditional models.
    Pixels {
        /// Channels of one head; wider levels have more heads.
        head_channels: usize,
    },
    /// Its own pixels and the tokens of a text, in transformer blocks. [LDM Sec. 3.3]
    Text {
        /// Heads, the same number at every level.
        heads: usize,
        /// Width of the text's tokens.
        width: usize,
        /// Transformer blocks one after the other.
        #[serde(default = "one")]
        depth: usize,
    },
}

impl Default for LatentUNetConfig {
    /// The network of LSUN-Bedroom and FFHQ, without the step branch.
    fn default() -> Self {
        Self {
            resolution: 64,
            channels: 3,
            model_channels: 224,
            channel_multipliers: vec![1, 2, 3, 4],
            blocks: 2,
            attention_factors: vec![2, 4, 8],
            attention: LatentAttention::Pixels { head_channels: 32 },
            dropout: 0.0,
            step_branch: false,
        }
    }
}

impl LatentUNetConfig {
    /// The network of Stable Diffusion v1, without the step branch.
    pub fn stable_diffusion() -> Self {
        Self {
            channels: 4,
            model_channels: 320,
            channel_multipliers: vec![1, 2, 4, 4],
            attention_factors: vec![1, 2, 4],
            attention: LatentAttention::Text {
                heads: 8,
                width: 768,
                depth: 1,
            },
            ..Self::default()
        }
    }

    /// By how much smaller than the latents the lowest level is.
    pub(super) fn factor(&self) -> usize {
        1 << (self.channel_multipliers.len() - 1)
    }

    /// Width of the embeddings of time and steps.
    pub(super) fn embedding(&self) -> usize {
        self.model_channels * EMBEDDING_MULTIPLIER
    }

    /// Width of the tokens of the text that it takes; `None` for an unconditional network.
    pub fn context_width(&self) -> Option<usize> {
        match self.attention {
            LatentAttention::Pixels { .. } => None,
            LatentAttention::Text { width, .. } => Some(width),
        }
    }
}
