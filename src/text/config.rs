//! Sizes of a text encoder.

use crate::Error;
use serde::{Deserialize, Serialize};

/// Sizes of a [`TextEncoder`](super::TextEncoder).
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

/// Sixteen times as many as the published one has.
const MOST_PARAMETERS: u64 = 2_000_000_000;

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
        // Before anything is built: sizes may come from a file that is up to no good.
        let count = self.parameter_count();
        if count > MOST_PARAMETERS {
            let expected = format!("at most {MOST_PARAMETERS}");
            return Err(Error::invalid("number of parameters", count, expected));
        }
        Ok(())
    }

    /// Number of parameters, without building it.
    pub fn parameter_count(&self) -> u64 {
        let [width, inner] = [self.width, self.inner_width].map(|n| n as u64);
        let attention = 4 * (width * width + width);
        let layer = attention + 2 * width * inner + inner + width + 4 * width;
        (self.vocabulary + self.positions) as u64 * width + self.layers as u64 * layer + 2 * width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_without_building() {
        let config = TextEncoderConfig::clip_vit_l14();
        let keys = config.keys().unwrap();
        let sizes = keys.iter().map(|(_, s)| s.iter().product::<usize>() as u64);
        assert_eq!((keys.len(), config.parameter_count()), (196, sizes.sum()));
        assert_eq!(config.parameter_count(), 123_060_480);
        let huge = TextEncoderConfig {
            width: 12_288,
            ..config
        };
        let error = huge.keys().unwrap_err().to_string();
        assert!(error.contains("number of parameters"), "{error}");
    }
}
