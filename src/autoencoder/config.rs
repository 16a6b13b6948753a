//! Sizes of an autoencoder, and the published ones.

use super::norm::GROUPS;
use crate::Error;
use serde::{Deserialize, Serialize};

/// What lies between encoder and decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Bottleneck {
    /// KL: the encoder gives mean and log variance of a normal distribution. [LDM App. G]
    Normal {},
    /// VQ: before it decodes, every latent pixel is replaced by the nearest row of a table. [LDM App. G]
    Codebook {
        /// Rows of the table.
        codes: usize,
    },
}

/// Sizes of an [`Autoencoder`](super::Autoencoder).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AutoencoderConfig {
    /// Channels of the pictures, 1 to 64.
    pub channels: usize,
    /// Channels at full resolution, a multiple of 32 up to 4096.
    pub model_channels: usize,
    /// Channels of each level in multiples of `model_channels`, 1 to 64 each; each level but the last halves height and
    /// width. 1 to 8 levels.
    pub channel_multipliers: Vec<usize>,
    /// Residual blocks of a level of the encoder, 1 to 16; the decoder has one more.
    pub blocks: usize,
    /// Levels whose blocks are followed by attention, counted from 0 at full resolution; none in the published models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attention_levels: Vec<usize>,
    /// Channels that the encoder ends and the decoder starts with, 1 to 1024.
    pub inner_channels: usize,
    /// Channels of a latent, 1 to 1024.
    pub latent_channels: usize,
    /// What lies between encoder and decoder.
    pub bottleneck: Bottleneck,
    /// The diffusion model's latents are the encoder's times this, so that they have a standard deviation near 1.
    pub scale: f64,
}

/// The standard deviation of Stable Diffusion's latents is 1 after this. [LDM App. G]
pub(crate) const SCALE_SD: f64 = 0.18215;
/// That of Stable Diffusion XL's. [SDXL Sec. 2.4]
pub(crate) const SCALE_XL: f64 = 0.13025;

/// Twelve times as many as the largest published one has.
const MOST_PARAMETERS: u64 = 1_000_000_000;

impl AutoencoderConfig {
    /// KL-f8 of Stable Diffusion 1.x: 83,653,863 parameters, pictures 8 times as wide as their latents.
    pub fn kl_f8() -> Self {
        Self {
            channels: 3,
            model_channels: 128,
            channel_multipliers: vec![1, 2, 4, 4],
            blocks: 2,
            attention_levels: Vec::new(),
            inner_channels: 4,
            latent_channels: 4,
            bottleneck: Bottleneck::Normal {},
            scale: SCALE_SD,
        }
    }

    /// VQ-f4 of the LSUN and FFHQ latent models: 55,322,782 parameters, pictures 4 times as wide as their latents.
    pub fn vq_f4() -> Self {
        Self {
            channel_multipliers: vec![1, 2, 4],
            inner_channels: 3,
            latent_channels: 3,
            bottleneck: Bottleneck::Codebook { codes: 8192 },
            scale: 1.0,
            ..Self::kl_f8()
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        let within = |name: &str, value: usize, most: usize| match (1..=most).contains(&value) {
            true => Ok(()),
            false => Err(Error::invalid(name, value, format!("in 1..={most}"))),
        };
        within("channels", self.channels, 64)?;
        within("inner-channels", self.inner_channels, 1024)?;
        within("latent-channels", self.latent_channels, 1024)?;
        within("blocks", self.blocks, 16)?;
        within(
            "number of channel-multipliers",
            self.channel_multipliers.len(),
            8,
        )?;
        for multiplier in &self.channel_multipliers {
            within("channel-multipliers", *multiplier, 64)?;
        }
        within("model-channels", self.model_channels, 4096)?;
        if !self.model_channels.is_multiple_of(GROUPS) {
            let expected = format!("a multiple of {}", GROUPS);
            return Err(Error::invalid(
                "model-channels",
                self.model_channels,
                expected,
            ));
        }
        if let Some(level) = self.attention_levels.iter().find(|l| **l >= self.levels()) {
            let expected = format!("below {}, the number of levels", self.levels());
            return Err(Error::invalid("attention-levels", level, expected));
        }
        if let Bottleneck::Codebook { codes } = self.bottleneck {
            within("codes", codes, 1 << 20)?;
        }
        // Before anything is built: sizes may come from a file that is up to no good.
        let count = self.parameter_count();
        if count > MOST_PARAMETERS {
            let expected = format!("at most {MOST_PARAMETERS}");
            return Err(Error::invalid("number of parameters", count, expected));
        }
        crate::error::positive("scale", self.scale)
    }

    /// Number of parameters, without building it.
    pub fn parameter_count(&self) -> u64 {
        let conv = |input: usize, output: usize, side: u64| {
            output as u64 * (input as u64 * side * side + 1)
        };
        let norm = |channels: usize| 2 * channels as u64;
        let block = |input: usize, output: usize| {
            let shortcut = if input == output {
                0
            } else {
                conv(input, output, 1)
            };
            norm(input) + conv(input, output, 3) + norm(output) + conv(output, output, 3) + shortcut
        };
        let attention = |channels: usize| norm(channels) + 4 * conv(channels, channels, 1);
        // `blocks` of a level, the resampling but at one end, and the width that follows.
        let level = |level: usize, blocks: usize, input: usize, resampled: bool| {
            let width = self.width(level);
            let mut count = block(input, width) + (blocks as u64 - 1) * block(width, width);
            if self.attends(level) {
                count += blocks as u64 * attention(width);
            }
            count + if resampled { conv(width, width, 3) } else { 0 }
        };
        let last = self.levels() - 1;
        let deepest = self.width(last);
        let (inner, latent) = (self.inner_channels, self.latent_channels);
        let mut count = 2 * (2 * block(deepest, deepest) + attention(deepest));
        count += conv(self.channels, self.model_channels, 3) + norm(deepest);
        count += conv(deepest, self.moments(inner), 3) + conv(inner, deepest, 3);
        count += norm(self.width(0)) + conv(self.width(0), self.channels, 3);
        count += conv(self.moments(inner), self.moments(latent), 1) + conv(latent, inner, 1);
        for l in 0..=last {
            let before = l
                .checked_sub(1)
                .map_or(self.model_channels, |b| self.width(b));
            let below = self.width((l + 1).min(last));
            count += level(l, self.blocks, before, l < last);
            count += level(l, self.blocks + 1, below, l > 0);
        }
        match self.bottleneck {
            Bottleneck::Normal {} => count,
            Bottleneck::Codebook { codes } => count + (codes * latent) as u64,
        }
    }

    /// How many times wider and higher pictures are than their latents.
    pub fn factor(&self) -> usize {
        1 << (self.levels() - 1)
    }

    pub(super) fn levels(&self) -> usize {
        self.channel_multipliers.len()
    }

    /// Channels of a level.
    pub(super) fn width(&self, level: usize) -> usize {
        self.model_channels * self.channel_multipliers[level]
    }

    pub(super) fn attends(&self, level: usize) -> bool {
        self.attention_levels.contains(&level)
    }

    /// Channels of what the encoder gives: mean and log variance, or the latent itself.
    pub(super) fn moments(&self, channels: usize) -> usize {
        match self.bottleneck {
            Bottleneck::Normal {} => 2 * channels,
            Bottleneck::Codebook { .. } => channels,
        }
    }
}
