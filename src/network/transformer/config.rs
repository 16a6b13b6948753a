//! Sizes of diffusion transformers.

use crate::Error;
use crate::network::limit::{LARGEST, MOST_BLOCKS};
use serde::{Deserialize, Serialize};

/// Epsilon of every norm.
pub(super) const EPSILON: f64 = 1e-6;

/// Width of the two layers of a block between which the activation is, as a multiple of the tokens' width.
pub(super) const INNER: usize = 4;

/// Waves that embed a noise level or a number of timestamps.
pub(super) const WAVES: usize = 256;

/// Sizes of a [`DiffusionTransformer`](super::DiffusionTransformer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TransformerConfig {
    /// Height and width of the images, or latents; a multiple of `patch`.
    pub resolution: usize,
    /// Channels of the images.
    pub channels: usize,
    /// Number of classes; 0 for an unconditional network.
    #[serde(default)]
    pub classes: usize,
    /// Height and width of the square that becomes one token, in pixels.
    pub patch: usize,
    /// Numbers of a token; a multiple of 4 and of `heads`.
    pub width: usize,
    /// Blocks, 1 to 64.
    pub depth: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Dropout rate inside the blocks, in [0, 1); active in training only.
    #[serde(default)]
    pub dropout: f64,
    /// Whether the step branch exists.
    #[serde(default)]
    pub step_branch: bool,
}

impl Default for TransformerConfig {
    /// DiT-S/2 for latents of ImageNet-256, without the step branch. [Peebles & Xie 2023, Tab. 1]
    fn default() -> Self {
        Self {
            resolution: 32,
            channels: 4,
            classes: 1000,
            patch: 2,
            width: 384,
            depth: 12,
            heads: 6,
            dropout: 0.0,
            step_branch: false,
        }
    }
}

impl TransformerConfig {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        let within = |name: &str, value: usize, least: usize, most: usize| {
            let range = || format!("from {least} to {most}");
            match (least..=most).contains(&value) {
                true => Ok(()),
                false => Err(Error::invalid(name, value, range())),
            }
        };
        within("channels", self.channels, 1, LARGEST)?;
        within("classes", self.classes, 0, LARGEST)?;
        within("patch", self.patch, 1, LARGEST)?;
        within("resolution", self.resolution, 1, LARGEST)?;
        within("width", self.width, 1, LARGEST)?;
        within("depth", self.depth, 1, MOST_BLOCKS)?;
        if !self.resolution.is_multiple_of(self.patch) {
            let expected = format!("a multiple of the patch, {}", self.patch);
            return Err(Error::invalid("resolution", self.resolution, expected));
        }
        if self.numbers() > LARGEST {
            let expected = format!("so that patch x patch x channels is at most {LARGEST}");
            return Err(Error::invalid("patch", self.patch, expected));
        }
        if !self.width.is_multiple_of(4) {
            return Err(Error::invalid("width", self.width, "a multiple of 4"));
        }
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            let expected = format!("a divisor of the width, {}", self.width);
            return Err(Error::invalid("heads", self.heads, expected));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::invalid("dropout", self.dropout, "in [0, 1)"));
        }
        Ok(())
    }

    /// Numbers of the image in a token.
    pub(super) fn numbers(&self) -> usize {
        self.patch
            .saturating_mul(self.patch)
            .saturating_mul(self.channels)
    }

    /// Tokens along a side.
    pub(super) fn side(&self) -> usize {
        self.resolution / self.patch
    }
}
