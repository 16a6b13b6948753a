//! Whether the sizes of a U-Net fit together, and what it costs.

use super::outline::{Layer, Place};
use super::plan::Plan;
use super::variant::Encoder;
use crate::Error;
use crate::layer::groups;
use crate::network::limit::{LARGEST, MOST_BLOCKS, MOST_LEVELS};

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
        let fits = |layer: Layer| match layer.place {
            Place::Stem | Place::Side => true,
            Place::Head => divides(layer.input),
            Place::Encoder(_, heads) | Place::Decoder(_, heads, _) => {
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

    /// Multiply-adds of the convolutions and attention of one forward pass of one image.
    pub(crate) fn multiply_adds(&self) -> u64 {
        let layers = self.layers();
        let costs = layers.iter().map(|layer| {
            let pixels = (layer.resolution * layer.resolution) as u128;
            let (i, o) = (layer.input as u128, layer.output as u128);
            match layer.place {
                Place::Stem | Place::Head => pixels * 9 * i * o,
                // At the size before halving.
                Place::Side if self.encoder() == Encoder::Residual => 4 * pixels * 9 * i * o,
                Place::Side => pixels * i * o,
                Place::Encoder(resample, heads) | Place::Decoder(resample, heads, _) => {
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
}
