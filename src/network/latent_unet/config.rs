//! Sizes of latent U-Nets.

use super::GROUPS;
use super::outline::Part;
use crate::Error;
use crate::network::plan::{EMBEDDING_MULTIPLIER, LARGEST, MOST_BLOCKS, MOST_LEVELS};
use serde::{Deserialize, Serialize};

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

fn one() -> usize {
    1
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

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        let levels = self.channel_multipliers.len();
        if !(1..=MOST_LEVELS).contains(&levels) || self.channel_multipliers.contains(&0) {
            let value = format!("{:?}", self.channel_multipliers);
            let expected = format!("1 to {MOST_LEVELS} positive whole numbers");
            return Err(Error::invalid("channel_multipliers", value, expected));
        }
        let factor = self.factor();
        if self.resolution == 0
            || self.resolution > LARGEST
            || !self.resolution.is_multiple_of(factor)
        {
            let expected = format!("a multiple of {factor} for {levels} levels, at most {LARGEST}");
            return Err(Error::invalid("resolution", self.resolution, expected));
        }
        if !(1..=LARGEST).contains(&self.channels) {
            let range = format!("from 1 to {LARGEST}");
            return Err(Error::invalid("channels", self.channels, range));
        }
        let widest = self.channel_multipliers.iter().max().copied().unwrap_or(1);
        let fits = self.model_channels > 0 && self.model_channels.is_multiple_of(GROUPS);
        if !fits || self.model_channels.saturating_mul(widest) > LARGEST {
            let expected =
                format!("a multiple of {GROUPS}; the widest level has at most {LARGEST}");
            return Err(Error::invalid(
                "model_channels",
                self.model_channels,
                expected,
            ));
        }
        if self.blocks > MOST_BLOCKS {
            let range = format!("at most {MOST_BLOCKS}");
            return Err(Error::invalid("blocks", self.blocks, range));
        }
        let reached = |f: &usize| f.is_power_of_two() && *f <= factor;
        if !self.attention_factors.iter().all(reached) {
            let value = format!("{:?}", self.attention_factors);
            let expected = format!("powers of two up to {factor}");
            return Err(Error::invalid("attention_factors", value, expected));
        }
        self.check_heads()?;
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::invalid("dropout", self.dropout, "in [0, 1)"));
        }
        Ok(())
    }

    /// Attention needs whole heads.
    fn check_heads(&self) -> Result<(), Error> {
        let outline = self.outline();
        let attention = outline.layers().filter(|l| l.part == Part::Attention);
        let widths: Vec<usize> = attention.map(|l| l.output).collect();
        let divides = |n: usize| n > 0 && widths.iter().all(|w| w.is_multiple_of(n));
        match self.attention {
            LatentAttention::Pixels { head_channels: n } if !divides(n) => {
                let expected = format!("a divisor of the widths with attention, {widths:?}");
                Err(Error::invalid("attention.head_channels", n, expected))
            }
            LatentAttention::Text { heads, .. } if !divides(heads) => {
                let expected = format!("a divisor of the widths with attention, {widths:?}");
                Err(Error::invalid("attention.heads", heads, expected))
            }
            LatentAttention::Text { width, depth, .. }
                if !(1..=LARGEST).contains(&width) || !(1..=MOST_BLOCKS).contains(&depth) =>
            {
                let value = format!("{width}, {depth}");
                let range = format!("from 1 to {LARGEST}, and from 1 to {MOST_BLOCKS}");
                Err(Error::invalid(
                    "attention.width, attention.depth",
                    value,
                    range,
                ))
            }
            _ => Ok(()),
        }
    }

    /// By how much smaller than the latents the lowest level is.
    pub(in crate::network) fn factor(&self) -> usize {
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
