//! Whether the sizes of a latent U-Net fit together, and what it costs.

use super::config::{GROUPS, LatentAttention, LatentUNetConfig};
use super::outline::Place;
use crate::Error;
use crate::network::limit::{LARGEST, MOST_BLOCKS, MOST_LEVELS};

impl LatentUNetConfig {
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
        self.check_added()?;
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::invalid("dropout", self.dropout, "in [0, 1)"));
        }
        Ok(())
    }

    /// Attention needs whole heads.
    fn check_heads(&self) -> Result<(), Error> {
        let outline = self.outline();
        let attention = outline.layers().filter(|l| l.place == Place::Attention);
        let widths: Vec<usize> = attention.map(|l| l.output).collect();
        let divides = |n: usize| n > 0 && widths.iter().all(|w| w.is_multiple_of(n));
        let (heads, width, depth) = match &self.attention {
            LatentAttention::Pixels { head_channels: n } if !divides(*n) => {
                let expected = format!("a divisor of the widths with attention, {widths:?}");
                return Err(Error::invalid("attention.head_channels", n, expected));
            }
            LatentAttention::Pixels { .. } => return Ok(()),
            LatentAttention::Text {
                heads,
                width,
                depth,
                ..
            } => (heads, *width, depth),
        };
        let levels = self.channel_multipliers.len();
        let all = || outline.layers().filter(|l| l.place == Place::Attention);
        let own = |layer: &super::outline::Layer| {
            let n = heads.of(layer.level).unwrap_or(0);
            n > 0 && layer.output.is_multiple_of(n)
        };
        if !heads.fits(levels) || !all().all(own) {
            let expected = format!(
                "a divisor of the widths with attention, {widths:?}, or one for each of {levels} levels"
            );
            return Err(Error::invalid("attention.heads", heads, expected));
        }
        let deep = |layer: &super::outline::Layer| {
            (1..=MOST_BLOCKS).contains(&depth.of(layer.level).unwrap_or(0))
        };
        if !(1..=LARGEST).contains(&width) || !depth.fits(levels) || !all().all(deep) {
            let value = format!("{width}, {depth}");
            let range = format!(
                "from 1 to {LARGEST}, and from 1 to {MOST_BLOCKS}, at all of {levels} levels or at each"
            );
            return Err(Error::invalid(
                "attention.width, attention.depth",
                value,
                range,
            ));
        }
        Ok(())
    }

    /// What is told of a text as a whole needs a text.
    fn check_added(&self) -> Result<(), Error> {
        let Some(added) = self.added else {
            return Ok(());
        };
        added.check(LARGEST)?;
        if self.context_width().is_none() {
            let expected = "left out of a network that takes no text";
            return Err(Error::invalid("added", format!("{added:?}"), expected));
        }
        Ok(())
    }

    /// Multiply-adds of one forward pass of one image, with 77 tokens of text if it takes a text.
    pub(super) fn multiply_adds(&self) -> u64 {
        let outline = self.outline();
        let size = |factor: usize| (self.resolution / factor).pow(2) as u128;
        let head = self.model_channels * self.channel_multipliers[0] * self.channels;
        let mut sum = size(1) * 9 * head as u128;
        for layer in outline.layers() {
            let pixels = size(layer.factor);
            let (i, o) = (layer.input as u128, layer.output as u128);
            sum += match layer.place {
                Place::Stem | Place::Down | Place::Up => pixels * 9 * i * o,
                Place::Residual => {
                    let skip = if i == o { 0 } else { i * o };
                    pixels * (9 * i * o + 9 * o * o + skip)
                }
                Place::Attention => match &self.attention {
                    LatentAttention::Pixels { .. } => pixels * (4 * o * o + 2 * pixels * o),
                    LatentAttention::Text { width, depth, .. } => {
                        let depth = depth.of(layer.level).unwrap_or(0);
                        let tokens = 77;
                        // Self-attention, cross-attention (keys and values of each token of the text), and the two
                        // layers of 8 and 4 times the width.
                        let own = pixels * (4 * o * o + 2 * pixels * o);
                        let cross = pixels * (2 * o * o + 2 * tokens * o);
                        let text = 2 * tokens * *width as u128 * o;
                        let forward = pixels * 12 * o * o;
                        let each = own + cross + text + forward;
                        pixels * 2 * o * o + depth as u128 * each
                    }
                },
            };
        }
        u64::try_from(sum).unwrap_or(u64::MAX)
    }
}
