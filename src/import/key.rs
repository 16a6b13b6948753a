//! The key table: name and shape of every tensor of an official network's state dict, without building it.

use super::architecture::{Architecture, EMBEDDING_MULTIPLIER, Family};

/// One entry of a state dict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Such as `model.enc.32x32_conv.weight`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Whether it is a constant (`resample_filter`) and no parameter.
    pub buffer: bool,
    /// Whether it belongs to the step branch.
    pub step: bool,
}

/// The constant filter of every halving and doubling: a mean of 2 x 2.
pub(super) const FILTER: [usize; 4] = [1, 1, 2, 2];
/// Each of its numbers.
pub(super) const FILTER_VALUE: f32 = 0.25;

/// Channels of one of ADM's attention heads.
const HEAD_CHANNELS: usize = 64;

struct Table<'a> {
    of: &'a Architecture,
    keys: Vec<Key>,
}

/// A residual block.
struct Block {
    name: String,
    input: usize,
    output: usize,
    resampled: bool,
    attention: bool,
}

impl Architecture {
    /// Every entry of the network's state dict. The architecture must have passed [`Architecture::check`].
    pub fn keys(&self) -> Vec<Key> {
        let mut table = Table {
            of: self,
            keys: Vec::new(),
        };
        table.embedding();
        let kept = table.encoder();
        table.decoder(kept);
        table.keys
    }

    fn width(&self, level: usize) -> usize {
        self.model_channels * self.multipliers[level]
    }

    fn embedding(&self) -> usize {
        self.model_channels * EMBEDDING_MULTIPLIER
    }

    fn attends(&self, resolution: usize) -> bool {
        self.attention_resolutions.contains(&resolution)
    }
}

impl Table<'_> {
    fn put(&mut self, name: impl std::fmt::Display, shape: &[usize]) {
        let name = format!("model.{name}");
        self.keys.push(Key {
            buffer: name.ends_with("resample_filter"),
            step: name.contains("map_step_layer") || name.contains(".affine_step."),
            shape: shape.to_vec(),
            name,
        });
    }

    /// Weight and bias.
    fn pair(&mut self, name: impl std::fmt::Display, shape: &[usize]) {
        self.put(format_args!("{name}.weight"), shape);
        self.put(format_args!("{name}.bias"), &shape[..1]);
    }

    fn embedding(&mut self) {
        let (channels, embedding) = (self.of.model_channels, self.of.embedding());
        if self.of.classes > 0 {
            match self.of.family {
                Family::Song => self.pair("map_label", &[channels, self.of.classes]),
                Family::Dhariwal => self.put("map_label.weight", &[embedding, self.of.classes]),
            }
        }
        if self.of.augment_labels > 0 {
            self.put("map_augment.weight", &[channels, self.of.augment_labels]);
        }
        self.pair("map_layer0", &[embedding, channels]);
        self.pair("map_layer1", &[embedding, embedding]);
        if self.of.step_branch {
            self.pair("map_step_layer0", &[embedding, channels]);
            self.pair("map_step_layer1", &[embedding, embedding]);
        }
    }

    /// The channels of every output that the decoder takes up again.
    fn encoder(&mut self) -> Vec<usize> {
        let of = self.of;
        let mut width = of.model_channels;
        let mut kept = vec![width];
        for level in 0..of.multipliers.len() {
            let r = of.resolution >> level;
            if level == 0 {
                self.pair(
                    format_args!("enc.{r}x{r}_conv"),
                    &[width, of.channels, 3, 3],
                );
            } else {
                self.block(Block {
                    name: format!("enc.{r}x{r}_down"),
                    input: width,
                    output: width,
                    resampled: true,
                    attention: false,
                });
                kept.push(width);
            }
            for block in 0..of.blocks {
                let output = of.width(level);
                self.block(Block {
                    name: format!("enc.{r}x{r}_block{block}"),
                    input: width,
                    output,
                    resampled: false,
                    attention: of.attends(r),
                });
                width = output;
                kept.push(width);
            }
        }
        kept
    }

    fn decoder(&mut self, mut kept: Vec<usize>) {
        let of = self.of;
        let mut width = kept.last().copied().unwrap_or(of.model_channels);
        let plain = |table: &mut Self, name: String, width, resampled, attention| {
            table.block(Block {
                name,
                input: width,
                output: width,
                resampled,
                attention,
            });
        };
        for level in (0..of.multipliers.len()).rev() {
            let r = of.resolution >> level;
            if level + 1 == of.multipliers.len() {
                plain(self, format!("dec.{r}x{r}_in0"), width, false, true);
                plain(self, format!("dec.{r}x{r}_in1"), width, false, false);
            } else {
                plain(self, format!("dec.{r}x{r}_up"), width, true, false);
            }
            for block in 0..=of.blocks {
                let last = block == of.blocks;
                let input = width + kept.pop().unwrap_or(0);
                width = of.width(level);
                self.block(Block {
                    name: format!("dec.{r}x{r}_block{block}"),
                    input,
                    output: width,
                    resampled: false,
                    attention: of.attends(r) && (last || of.family == Family::Dhariwal),
                });
            }
        }
        let r = of.resolution;
        let (norm, conv) = match of.family {
            Family::Song => (
                format!("dec.{r}x{r}_aux_norm"),
                format!("dec.{r}x{r}_aux_conv"),
            ),
            Family::Dhariwal => ("out_norm".into(), "out_conv".into()),
        };
        self.pair(norm, &[width]);
        self.pair(conv, &[of.channels, width, 3, 3]);
    }

    fn block(&mut self, block: Block) {
        let (name, input, output) = (&block.name, block.input, block.output);
        let embedding = self.of.embedding();
        // ADM scales and shifts, DDPM++ only shifts; ADM's resampling skips have no weights of their own.
        let (affine, projects) = match self.of.family {
            Family::Song => (output, input != output || block.resampled),
            Family::Dhariwal => (2 * output, input != output),
        };
        self.pair(format_args!("{name}.norm0"), &[input]);
        self.pair(format_args!("{name}.conv0"), &[output, input, 3, 3]);
        if block.resampled {
            self.put(format_args!("{name}.conv0.resample_filter"), &FILTER);
        }
        self.pair(format_args!("{name}.affine"), &[affine, embedding]);
        self.pair(format_args!("{name}.norm1"), &[output]);
        self.pair(format_args!("{name}.conv1"), &[output, output, 3, 3]);
        if self.of.step_branch {
            self.pair(format_args!("{name}.affine_step"), &[affine, embedding]);
        }
        if projects {
            self.pair(format_args!("{name}.skip"), &[output, input, 1, 1]);
        }
        if block.resampled {
            self.put(format_args!("{name}.skip.resample_filter"), &FILTER);
        }
        // ADM has a head for each 64 channels, and so none in narrower blocks.
        let heads = match self.of.family {
            Family::Song => 1,
            Family::Dhariwal => output / HEAD_CHANNELS,
        };
        if block.attention && heads > 0 {
            self.pair(format_args!("{name}.norm2"), &[output]);
            self.pair(format_args!("{name}.qkv"), &[3 * output, output, 1, 1]);
            self.pair(format_args!("{name}.proj"), &[output, output, 1, 1]);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The published networks, with the step branch.
    pub(in super::super) fn published(name: &str) -> Architecture {
        let song = Architecture {
            family: Family::Song,
            resolution: 32,
            channels: 3,
            classes: 0,
            model_channels: 128,
            multipliers: vec![2, 2, 2],
            blocks: 4,
            attention_resolutions: vec![16],
            augment_labels: 9,
            dropout: 0.13,
            step_branch: true,
        };
        match name {
            "cifar10" => song,
            "ffhq-afhqv2" => Architecture {
                resolution: 64,
                multipliers: vec![1, 2, 2, 2],
                dropout: 0.05,
                ..song
            },
            _ => Architecture {
                family: Family::Dhariwal,
                resolution: 64,
                classes: 1000,
                model_channels: 192,
                multipliers: vec![1, 2, 3, 4],
                blocks: 3,
                attention_resolutions: vec![32, 16, 8],
                augment_labels: 0,
                dropout: 0.1,
                ..song
            },
        }
    }

    #[test]
    fn the_table_is_the_official_one() {
        for name in ["cifar10", "ffhq-afhqv2", "imagenet64"] {
            let path = format!("{}/tests/parameters/{name}.tsv", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            let rows = text.lines().skip(1).map(|line| line.split('\t').collect());
            let listed: BTreeMap<String, (String, String)> = rows
                .map(|row: Vec<&str>| (row[0].into(), (row[1].into(), row[2].into())))
                .collect();
            let keys = published(name).keys();
            let count = keys.len();
            let ours: BTreeMap<String, (String, String)> = keys
                .into_iter()
                .map(|key| {
                    let kind = if key.buffer { "buffer" } else { "parameter" };
                    let shape: Vec<_> = key.shape.iter().map(ToString::to_string).collect();
                    (key.name, (kind.into(), shape.join("x")))
                })
                .collect();
            assert_eq!(ours, listed, "{name}");
            assert_eq!(count, ours.len(), "{name}");
        }
    }
}
