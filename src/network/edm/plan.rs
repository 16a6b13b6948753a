//! The sizes of a U-Net of either family.

use super::variant::{Decoder, Encoder, Variant};
use crate::layer::{Resample, ResampleFilter};
use crate::network::limit::EMBEDDING_MULTIPLIER;

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

/// Channels of one attention head in ADM.
const HEAD_CHANNELS: usize = 64;

impl Plan<'_> {
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

    /// Numbers that an embedding gives for each channel: a shift, or a scale and a shift.
    pub(crate) fn affine_width(&self) -> usize {
        match self.family {
            Family::Song(_) => 1,
            Family::Dhariwal => 2,
        }
    }
}
