//! Sizes of a text encoder.

use super::TextEncoder;
use crate::Error;
use crate::network::tree;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// Sizes of a [`TextEncoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TextEncoderConfig {
    /// Number of ids, 1 to 2^20.
    pub vocabulary: usize,
    /// Numbers for each token, 1 to 2^14.
    pub width: usize,
    /// Width of the layer between two matrices of a block, 1 to 2^16.
    pub inner_width: usize,
    /// Blocks, 1 to 128.
    pub layers: usize,
    /// Heads of attention, which must divide `width`.
    pub heads: usize,
    /// Most tokens, 1 to 2^16.
    pub positions: usize,
}

impl TextEncoderConfig {
    /// The text half of CLIP ViT-L/14: 123,060,480 parameters.
    pub fn clip_vit_l14() -> Self {
        Self {
            vocabulary: 49_408,
            width: 768,
            inner_width: 3072,
            layers: 12,
            heads: 12,
            positions: 77,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        for (name, value, most) in [
            ("vocabulary", self.vocabulary, 1 << 20),
            ("width", self.width, 1 << 14),
            ("inner-width", self.inner_width, 1 << 16),
            ("layers", self.layers, 128),
            ("positions", self.positions, 1 << 16),
        ] {
            if !(1..=most).contains(&value) {
                return Err(Error::invalid(name, value, format!("in 1..={most}")));
            }
        }
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            let expected = format!("a divisor of the width, {}", self.width);
            return Err(Error::invalid("heads", self.heads, expected));
        }
        Ok(())
    }

    /// Builds the encoder with all weights zero and norms one, for weights that are loaded.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes out of range.
    pub fn blank(&self, device: &Device) -> Result<TextEncoder, Error> {
        self.check()?;
        Ok(TextEncoder::new(self, device))
    }

    /// Builds the encoder with random weights, a function of the seed: for tests and timings, as it is not trained here.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes out of range.
    pub fn init(&self, seed: u64, device: &Device) -> Result<TextEncoder, Error> {
        Ok(tree::draw(self.blank(device)?, seed, device))
    }

    /// Official name, without `cond_stage_model.transformer.`, and dimensions of every parameter.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes out of range.
    pub fn keys(&self) -> Result<Vec<(String, Vec<usize>)>, Error> {
        Ok(tree::paths(&self.blank(&Device::flex())?))
    }
}
