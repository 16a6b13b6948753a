//! Sizes of latent U-Nets.

use super::level::PerLevel;
use super::whole::Added;
use crate::network::limit::EMBEDDING_MULTIPLIER;
use crate::setting::is_default;
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
    /// What it is told besides the tokens of a text: the text as a whole, and six sizes; `None` for most.
    #[serde(default, skip_serializing_if = "is_default")]
    pub added: Option<Added>,
    /// Dropout rate inside the blocks, in [0, 1); active in training only.
    #[serde(default)]
    pub dropout: f64,
    /// Whether the step branch exists.
    #[serde(default)]
    pub step_branch: bool,
}

/// What a latent U-Net attends to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        /// Heads, the same number at every level or one for each.
        heads: PerLevel,
        /// Width of the text's tokens.
        width: usize,
        /// Transformer blocks one after the other, likewise.
        #[serde(default = "PerLevel::one")]
        depth: PerLevel,
        /// Whether pixels become tokens, and pixels again, by matrices: Stable Diffusion from 2.0 on.
        #[serde(default, skip_serializing_if = "is_default")]
        linear: bool,
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
            added: None,
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
                heads: 8.into(),
                width: 768,
                depth: 1.into(),
                linear: false,
            },
            ..Self::default()
        }
    }

    /// The network of Stable Diffusion 2.0 and 2.1, without the step branch, for pictures of 512 (64 latents) or 768 (96)
    /// pixels a side.
    pub fn stable_diffusion_2(resolution: usize) -> Self {
        Self {
            resolution,
            attention: LatentAttention::Text {
                heads: vec![5, 10, 20, 20].into(),
                width: 1024,
                depth: 1.into(),
                linear: true,
            },
            ..Self::stable_diffusion()
        }
    }

    /// The network of Stable Diffusion XL, without the step branch. [SDXL Sec. 2.1]
    pub fn stable_diffusion_xl() -> Self {
        Self {
            resolution: 128,
            channel_multipliers: vec![1, 2, 4],
            attention_factors: vec![2, 4],
            attention: LatentAttention::Text {
                heads: vec![5, 10, 20].into(),
                width: 2048,
                depth: vec![0, 2, 10].into(),
                linear: true,
            },
            added: Some(Added {
                text: 1280,
                waves: 256,
            }),
            ..Self::stable_diffusion()
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

    /// Rows behind the tokens of a text, which hold what else is told of it; 0 for most.
    pub fn context_rows(&self) -> usize {
        let both = self.added.zip(self.context_width());
        both.map_or(0, |(added, width)| added.rows(width))
    }
}
