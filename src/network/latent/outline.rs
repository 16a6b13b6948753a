//! The outline of a latent U-Net before it is built: the one place that knows which parts there are, in which order, and
//! how large they are.

use super::config::LatentUNetConfig;

/// A layer of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layer {
    pub(super) input: usize,
    pub(super) output: usize,
    /// By how much its output is smaller than the latents, along each side.
    pub(super) factor: usize,
    /// At which level it is, the one with the largest latents being 0.
    pub(super) level: usize,
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// The first convolution.
    Stem,
    Residual,
    Attention,
    /// The convolution that halves.
    Down,
    /// The one that doubles.
    Up,
}

/// All parts, by their official addresses: `input_blocks.I.J` is `input[I][J]`.
#[derive(Clone, Debug)]
pub(super) struct Outline {
    pub(super) input: Vec<Vec<Layer>>,
    pub(super) middle: Vec<Layer>,
    pub(super) output: Vec<Vec<Layer>>,
}

impl LatentUNetConfig {
    pub(super) fn outline(&self) -> Outline {
        let last = self.channel_multipliers.len() - 1;
        let mut width = self.model_channels;
        let stem = Layer {
            input: self.channels,
            output: width,
            factor: 1,
            level: 0,
            place: Place::Stem,
        };
        let (mut input, mut output) = (vec![vec![stem]], Vec::new());
        let mut kept = vec![width];
        for (level, multiplier) in self.channel_multipliers.iter().enumerate() {
            let wide = self.model_channels * multiplier;
            for _ in 0..self.blocks {
                input.push(self.block(width, wide, level));
                width = wide;
                kept.push(width);
            }
            if level < last {
                let down = same(width, level + 1, Place::Down);
                input.push(vec![down]);
                kept.push(width);
            }
        }
        let lowest = |place| same(width, last, place);
        let middle = vec![
            lowest(Place::Residual),
            lowest(Place::Attention),
            lowest(Place::Residual),
        ];
        for (level, multiplier) in self.channel_multipliers.iter().enumerate().rev() {
            let wide = self.model_channels * multiplier;
            for index in 0..=self.blocks {
                let mut entry = self.block(width + kept.pop().unwrap_or(0), wide, level);
                width = wide;
                if level > 0 && index == self.blocks {
                    entry.push(same(width, level - 1, Place::Up));
                }
                output.push(entry);
            }
        }
        Outline {
            input,
            middle,
            output,
        }
    }

    /// A residual block, and attention where the level has it.
    fn block(&self, input: usize, output: usize, level: usize) -> Vec<Layer> {
        let factor = 1 << level;
        let mut entry = vec![Layer {
            input,
            output,
            factor,
            level,
            place: Place::Residual,
        }];
        if self.attention_factors.contains(&factor) {
            entry.push(same(output, level, Place::Attention));
        }
        entry
    }
}

impl Outline {
    pub(super) fn layers(&self) -> impl Iterator<Item = &Layer> {
        let input = self.input.iter().flatten();
        input
            .chain(&self.middle)
            .chain(self.output.iter().flatten())
    }
}

/// A layer that keeps its width.
fn same(width: usize, level: usize, place: Place) -> Layer {
    Layer {
        input: width,
        output: width,
        factor: 1 << level,
        level,
        place,
    }
}
