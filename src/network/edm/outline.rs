//! The outline of a U-Net before it is built: the one place that knows which layers there are, in which order and under
//! which official names.

use super::plan::{Family, Plan};
use super::variant::{Decoder, Encoder};
use crate::layer::Resample;

/// A layer of the outline.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// Official name, without the leading `model.`.
    pub(crate) name: String,
    pub(crate) input: usize,
    pub(crate) output: usize,
    /// Image size of the output.
    pub(crate) resolution: usize,
    pub(crate) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// The first convolution.
    Stem,
    /// An encoder block with its attention heads; its output is kept for the decoder.
    Encoder(Resample, usize),
    /// A convolution that brings the images, or what became of them, to a lower level.
    Side,
    /// A decoder block with its attention heads; `true` takes the newest kept output as additional input channels.
    Decoder(Resample, usize, bool),
    /// Norm, SiLU and convolution that end a level of the decoder.
    Head,
}

impl Plan<'_> {
    /// All layers of encoder and decoder, in order.
    pub(crate) fn layers(&self) -> Vec<Layer> {
        let mut layers = Vec::new();
        let (kept, width) = self.encode(&mut layers);
        self.decode(&mut layers, kept, width);
        layers
    }

    /// The encoder; returns the widths of the kept outputs, and the last.
    fn encode(&self, layers: &mut Vec<Layer>) -> (Vec<usize>, usize) {
        let mut kept = Vec::new();
        let mut side = self.channels;
        let mut width = match self.family {
            Family::Song(_) => self.model_channels,
            Family::Dhariwal => self.model_channels * self.multipliers[0],
        };
        for (level, multiplier) in self.multipliers.iter().enumerate() {
            let resolution = self.resolution >> level;
            let mut push = |name: &str, input, output, place| {
                layers.push(Layer {
                    name: format!("enc.{resolution}x{resolution}_{name}"),
                    input,
                    output,
                    resolution,
                    place,
                });
            };
            if level == 0 {
                push("conv", self.channels, width, Place::Stem);
            } else {
                let down = Resample::Down(self.filter());
                push("down", width, width, Place::Encoder(down, 0));
                match self.encoder() {
                    Encoder::Standard => {}
                    Encoder::Skip => push("aux_skip", side, width, Place::Side),
                    Encoder::Residual => {
                        push("aux_residual", side, width, Place::Side);
                        side = width;
                    }
                }
            }
            kept.push(width);
            let output = self.model_channels * multiplier;
            let heads = self.heads(self.attention.contains(&resolution), output);
            for block in 0..self.blocks {
                let place = Place::Encoder(Resample::Keep, heads);
                push(&format!("block{block}"), width, output, place);
                width = output;
                kept.push(width);
            }
        }
        (kept, width)
    }

    fn decode(&self, layers: &mut Vec<Layer>, mut kept: Vec<usize>, mut width: usize) {
        let every_block_attends = matches!(self.family, Family::Dhariwal);
        let every_level_ends = self.decoder() == Decoder::Skip;
        for (level, multiplier) in self.multipliers.iter().enumerate().rev() {
            let resolution = self.resolution >> level;
            let mut push = |name: &str, input, output, place| {
                layers.push(Layer {
                    name: format!("dec.{resolution}x{resolution}_{name}"),
                    input,
                    output,
                    resolution,
                    place,
                });
            };
            if level == self.multipliers.len() - 1 {
                let (keep, heads) = (Resample::Keep, self.heads(true, width));
                push("in0", width, width, Place::Decoder(keep, heads, false));
                push("in1", width, width, Place::Decoder(keep, 0, false));
            } else {
                let up = Resample::Up(self.filter());
                push("up", width, width, Place::Decoder(up, 0, false));
            }
            let output = self.model_channels * multiplier;
            for block in 0..=self.blocks {
                let attends = self.attention.contains(&resolution)
                    && (every_block_attends || block == self.blocks);
                let heads = self.heads(attends, output);
                let input = width + kept.pop().unwrap_or(0);
                let place = Place::Decoder(Resample::Keep, heads, true);
                push(&format!("block{block}"), input, output, place);
                width = output;
            }
            if every_level_ends || level == 0 {
                push("aux", width, self.channels, Place::Head);
            }
        }
        if let (Family::Dhariwal, Some(head)) = (self.family, layers.last_mut()) {
            head.name = "out".into();
        }
    }
}
