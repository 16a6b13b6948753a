//! The sizes of a U-Net: what must fit together, and what it costs.

use super::layers::groups;
use super::outline::{Layer, Part};
use super::resample::{Resample, ResampleFilter};
use super::song_unet::{Decoder, Embedding, Encoder};
use crate::Error;

/// What describes a U-Net of either family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) resolution: usize,
    pub(crate) channels: usize,
    pub(crate) classes: usize,
    pub(crate) augment_labels: usize,
    pub(crate) model_channels: usize,
    pub(crate) multipliers: &'a [usize],
    pub(crate) blocks: usize,
    pub(crate) attention: &'a [usize],
    pub(crate) dropout: f64,
    pub(crate) step_branch: bool,
    pub(crate) family: Family,
}

/// Where the two families of U-Nets differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Family {
    /// DDPM++ and NCSN++.
    Song(Variant),
    /// ADM.
    Dhariwal,
}

/// Where DDPM++ and NCSN++ differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Variant {
    pub(crate) embedding: Embedding,
    pub(crate) noise_multiplier: usize,
    pub(crate) encoder: Encoder,
    pub(crate) decoder: Decoder,
    pub(crate) filter: ResampleFilter,
}

impl Variant {
    /// DDPM++.
    pub(crate) const PLAIN: Self = Self {
        embedding: Embedding::Positional,
        noise_multiplier: 1,
        encoder: Encoder::Standard,
        decoder: Decoder::Standard,
        filter: ResampleFilter::Box,
    };
}

/// Channels of one attention head in ADM.
const HEAD_CHANNELS: usize = 64;

/// Embedding channels as a multiple of the model channels.
pub(crate) const EMBEDDING_MULTIPLIER: usize = 4;

/// The largest width, image size and number of classes: beyond anything published, and far from overflowing.
pub(super) const LARGEST: usize = 1 << 16;

/// The most blocks a level, and the most levels: beyond anything published, and the outline stays small.
pub(super) const MOST_BLOCKS: usize = 64;
pub(super) const MOST_LEVELS: usize = 12;

impl Plan<'_> {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let levels = self.multipliers.len();
        if levels == 0 || self.multipliers.contains(&0) {
            return Err(Error::invalid(
                "channel_multipliers",
                format!("{:?}", self.multipliers),
                "one or more positive whole numbers",
            ));
        }
        let divides = levels <= MOST_LEVELS && self.resolution.is_multiple_of(1 << (levels - 1));
        if self.resolution == 0 || self.resolution > LARGEST || !divides {
            return Err(Error::invalid(
                "resolution",
                self.resolution,
                format!(
                    "a positive multiple of 2^{} for {levels} levels, at most {LARGEST}",
                    levels - 1
                ),
            ));
        }
        if self.channels == 0 || self.channels > LARGEST {
            return Err(Error::invalid(
                "channels",
                self.channels,
                format!("from 1 to {LARGEST}"),
            ));
        }
        if self.classes.max(self.augment_labels) > LARGEST {
            return Err(Error::invalid(
                "classes, augment_labels",
                format!("{}, {}", self.classes, self.augment_labels),
                format!("at most {LARGEST}"),
            ));
        }
        if self.blocks > MOST_BLOCKS {
            let range = format!("at most {MOST_BLOCKS}");
            return Err(Error::invalid("blocks", self.blocks, range));
        }
        self.check_widths()?;
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::invalid("dropout", self.dropout, "in [0, 1)"));
        }
        Ok(())
    }

    /// Norms need whole groups, and attention whole heads.
    fn check_widths(&self) -> Result<(), Error> {
        let channels = self.model_channels;
        let widest = self.multipliers.iter().max().copied().unwrap_or(1);
        let widest = channels.saturating_mul(widest);
        let divides = |c: usize| c.is_multiple_of(groups(c));
        let fits = |layer: Layer| match layer.part {
            Part::Stem | Part::Side => true,
            Part::Head => divides(layer.input),
            Part::Encoder(_, heads) | Part::Decoder(_, heads, _) => {
                let whole = heads == 0 || layer.output.is_multiple_of(heads);
                divides(layer.input) && divides(layer.output) && whole
            }
        };
        let four = channels > 0 && channels.is_multiple_of(4) && widest <= LARGEST;
        if four && self.layers().into_iter().all(fits) {
            return Ok(());
        }
        Err(Error::invalid(
            "model_channels",
            channels,
            format!(
                "a multiple of 4, and of 32 above 128 channels; the widest level has at most {LARGEST}"
            ),
        ))
    }

    /// Image size of the last level.
    pub(crate) fn lowest_resolution(&self) -> usize {
        self.resolution >> (self.multipliers.len() - 1)
    }

    /// Width of the embedding of noise level, class and steps.
    pub(crate) fn embedding(&self) -> usize {
        self.model_channels * EMBEDDING_MULTIPLIER
    }

    /// Width of the waves that embed a noise level or a number of steps.
    pub(crate) fn waves(&self) -> usize {
        match self.family {
            Family::Song(variant) => self.model_channels * variant.noise_multiplier,
            Family::Dhariwal => self.model_channels,
        }
    }

    /// The filter of halving and doubling.
    pub(crate) fn filter(&self) -> ResampleFilter {
        match self.family {
            Family::Song(variant) => variant.filter,
            Family::Dhariwal => ResampleFilter::Box,
        }
    }

    /// How the images enter lower levels besides the blocks.
    pub(crate) fn encoder(&self) -> Encoder {
        match self.family {
            Family::Song(variant) => variant.encoder,
            Family::Dhariwal => Encoder::Standard,
        }
    }

    /// Whether levels besides the last have an answer of their own.
    pub(crate) fn decoder(&self) -> Decoder {
        match self.family {
            Family::Song(variant) => variant.decoder,
            Family::Dhariwal => Decoder::Standard,
        }
    }

    /// Attention heads of a block of `output` channels that has attention.
    pub(crate) fn heads(&self, attends: bool, output: usize) -> usize {
        match self.family {
            _ if !attends => 0,
            Family::Song(_) => 1,
            // None in blocks narrower than a head.
            Family::Dhariwal => output / HEAD_CHANNELS,
        }
    }

    /// Whether the shortcut of a block has weights; without, it only resamples.
    pub(crate) fn has_skip_weights(&self, input: usize, output: usize, resample: Resample) -> bool {
        let resampled = resample != Resample::Keep;
        input != output || resampled && matches!(self.family, Family::Song(_))
    }

    /// Multiply-adds of the convolutions and attention of one forward pass of one image.
    pub(crate) fn multiply_adds(&self) -> u64 {
        let layers = self.layers();
        let costs = layers.iter().map(|layer| {
            let pixels = (layer.resolution * layer.resolution) as u128;
            let (i, o) = (layer.input as u128, layer.output as u128);
            match layer.part {
                Part::Stem | Part::Head => pixels * 9 * i * o,
                // At the size before halving.
                Part::Side if self.encoder() == Encoder::Residual => 4 * pixels * 9 * i * o,
                Part::Side => pixels * i * o,
                Part::Encoder(resample, heads) | Part::Decoder(resample, heads, _) => {
                    let has_skip = self.has_skip_weights(layer.input, layer.output, resample);
                    let skip = if has_skip { i * o } else { 0 };
                    let attention = match heads {
                        0 => 0,
                        _ => 4 * o * o + 2 * pixels * o,
                    };
                    pixels * (9 * i * o + 9 * o * o + skip + attention)
                }
            }
        });
        u64::try_from(costs.sum::<u128>()).unwrap_or(u64::MAX)
    }

    /// Numbers that an embedding gives for each channel: a shift, or a scale and a shift.
    pub(crate) fn affine_width(&self) -> usize {
        match self.family {
            Family::Song(_) => 1,
            Family::Dhariwal => 2,
        }
    }
}
