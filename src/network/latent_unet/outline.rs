//! The outline of a latent U-Net before it is built: the one place that knows which parts there are, in which order, and
//! how large they are.

use super::{LatentAttention, LatentUNetConfig};
use crate::network::key::Key;
use crate::network::step_branch::is_step_parameter;
use std::fmt::Display;

/// A part of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layer {
    pub(super) input: usize,
    pub(super) output: usize,
    /// By how much its output is smaller than the latents, along each side.
    pub(super) factor: usize,
    pub(super) part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
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

/// Start of all official names.
pub(super) const PREFIX: &str = "model.diffusion_model.";

impl LatentUNetConfig {
    pub(super) fn outline(&self) -> Outline {
        let last = self.channel_multipliers.len() - 1;
        let mut width = self.model_channels;
        let stem = Layer {
            input: self.channels,
            output: width,
            factor: 1,
            part: Part::Stem,
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
                let down = same(width, 2 << level, Part::Down);
                input.push(vec![down]);
                kept.push(width);
            }
        }
        let lowest = |part| same(width, 1 << last, part);
        let middle = vec![
            lowest(Part::Residual),
            lowest(Part::Attention),
            lowest(Part::Residual),
        ];
        for (level, multiplier) in self.channel_multipliers.iter().enumerate().rev() {
            let wide = self.model_channels * multiplier;
            for index in 0..=self.blocks {
                let mut entry = self.block(width + kept.pop().unwrap_or(0), wide, level);
                width = wide;
                if level > 0 && index == self.blocks {
                    entry.push(same(width, 1 << (level - 1), Part::Up));
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
            part: Part::Residual,
        }];
        if self.attention_factors.contains(&factor) {
            entry.push(same(output, factor, Part::Attention));
        }
        entry
    }

    /// Every entry of the state dict.
    pub(in crate::network) fn keys(&self) -> Vec<Key> {
        let mut table = Table {
            config: self,
            keys: Vec::new(),
        };
        table.all();
        table.keys
    }

    /// Multiply-adds of one forward pass of one image, with 77 tokens of text if it takes a text.
    pub(in crate::network) fn multiply_adds(&self) -> u64 {
        let outline = self.outline();
        let size = |factor: usize| (self.resolution / factor).pow(2) as u128;
        let head = self.model_channels * self.channel_multipliers[0] * self.channels;
        let mut sum = size(1) * 9 * head as u128;
        for layer in outline.layers() {
            let pixels = size(layer.factor);
            let (i, o) = (layer.input as u128, layer.output as u128);
            sum += match layer.part {
                Part::Stem | Part::Down | Part::Up => pixels * 9 * i * o,
                Part::Residual => {
                    let skip = if i == o { 0 } else { i * o };
                    pixels * (9 * i * o + 9 * o * o + skip)
                }
                Part::Attention => match self.attention {
                    LatentAttention::Pixels { .. } => pixels * (4 * o * o + 2 * pixels * o),
                    LatentAttention::Text { width, depth, .. } => {
                        let tokens = 77;
                        // Self-attention, cross-attention (keys and values of each token of the text), and the two
                        // layers of 8 and 4 times the width.
                        let own = pixels * (4 * o * o + 2 * pixels * o);
                        let cross = pixels * (2 * o * o + 2 * tokens * o);
                        let text = 2 * tokens * width as u128 * o;
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

impl Outline {
    pub(super) fn layers(&self) -> impl Iterator<Item = &Layer> {
        let input = self.input.iter().flatten();
        input
            .chain(&self.middle)
            .chain(self.output.iter().flatten())
    }
}

/// A part that keeps its width.
fn same(width: usize, factor: usize, part: Part) -> Layer {
    Layer {
        input: width,
        output: width,
        factor,
        part,
    }
}

struct Table<'a> {
    config: &'a LatentUNetConfig,
    keys: Vec<Key>,
}

impl Table<'_> {
    fn put(&mut self, name: impl Display, shape: &[usize]) {
        let name = format!("{PREFIX}{name}");
        self.keys.push(Key {
            step: is_step_parameter(&name),
            buffer: false,
            shape: shape.to_vec(),
            name,
        });
    }

    /// Weight and bias.
    fn pair(&mut self, name: impl Display, shape: &[usize]) {
        self.put(format_args!("{name}.weight"), shape);
        self.put(format_args!("{name}.bias"), &shape[..1]);
    }

    fn all(&mut self) {
        let (width, embedding) = (self.config.model_channels, self.config.embedding());
        let step = self.config.step_branch.then_some("nfe_embed");
        for embed in ["time_embed"].into_iter().chain(step) {
            self.pair(format_args!("{embed}.0"), &[embedding, width]);
            self.pair(format_args!("{embed}.2"), &[embedding, embedding]);
        }
        let outline = self.config.outline();
        for (blocks, entries) in [
            ("input_blocks", &outline.input),
            ("output_blocks", &outline.output),
        ] {
            for (i, entry) in entries.iter().enumerate() {
                for (j, layer) in entry.iter().enumerate() {
                    self.layer(&format!("{blocks}.{i}.{j}"), layer);
                }
            }
        }
        for (j, layer) in outline.middle.iter().enumerate() {
            self.layer(&format!("middle_block.{j}"), layer);
        }
        let last = width * self.config.channel_multipliers[0];
        self.pair("out.0", &[last]);
        self.pair("out.2", &[self.config.channels, last, 3, 3]);
    }

    fn layer(&mut self, name: &str, layer: &Layer) {
        let &Layer { input, output, .. } = layer;
        match layer.part {
            Part::Stem => self.pair(name, &[output, input, 3, 3]),
            Part::Down => self.pair(format_args!("{name}.op"), &[output, input, 3, 3]),
            Part::Up => self.pair(format_args!("{name}.conv"), &[output, input, 3, 3]),
            Part::Residual => {
                let embedding = [output, self.config.embedding()];
                self.pair(format_args!("{name}.in_layers.0"), &[input]);
                self.pair(format_args!("{name}.in_layers.2"), &[output, input, 3, 3]);
                self.pair(format_args!("{name}.emb_layers.1"), &embedding);
                self.pair(format_args!("{name}.out_layers.0"), &[output]);
                self.pair(format_args!("{name}.out_layers.3"), &[output, output, 3, 3]);
                if self.config.step_branch {
                    self.pair(format_args!("{name}.emb_nfe_layers.1"), &embedding);
                }
                if input != output {
                    self.pair(
                        format_args!("{name}.skip_connection"),
                        &[output, input, 1, 1],
                    );
                }
            }
            Part::Attention => match self.config.attention {
                LatentAttention::Pixels { .. } => {
                    self.pair(format_args!("{name}.norm"), &[output]);
                    self.pair(format_args!("{name}.qkv"), &[3 * output, output, 1]);
                    self.pair(format_args!("{name}.proj_out"), &[output, output, 1]);
                }
                LatentAttention::Text { width, depth, .. } => {
                    let square = [output, output, 1, 1];
                    self.pair(format_args!("{name}.norm"), &[output]);
                    self.pair(format_args!("{name}.proj_in"), &square);
                    for block in 0..depth {
                        let name = format!("{name}.transformer_blocks.{block}");
                        self.transformer_block(&name, output, width);
                    }
                    self.pair(format_args!("{name}.proj_out"), &square);
                }
            },
        }
    }

    fn transformer_block(&mut self, name: &str, width: usize, context: usize) {
        for (attention, from) in [("attn1", width), ("attn2", context)] {
            let name = format!("{name}.{attention}");
            self.put(format_args!("{name}.to_q.weight"), &[width, width]);
            self.put(format_args!("{name}.to_k.weight"), &[width, from]);
            self.put(format_args!("{name}.to_v.weight"), &[width, from]);
            self.pair(format_args!("{name}.to_out.0"), &[width, width]);
        }
        self.pair(format_args!("{name}.ff.net.0.proj"), &[8 * width, width]);
        self.pair(format_args!("{name}.ff.net.2"), &[width, 4 * width]);
        for norm in 1..=3 {
            self.pair(format_args!("{name}.norm{norm}"), &[width]);
        }
    }
}
