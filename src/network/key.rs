//! The key table: name and shape of everything a network stores, told by its outline without building it.

use super::is_step_parameter;
use super::outline::{Layer, Part};
use super::plan::{Family, Plan};
use super::resample::Resample;
use super::song_unet::{Decoder, Embedding, Encoder};
use std::fmt::Display;

/// One entry of a network's state dict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Official name, such as `model.enc.32x32_conv.weight`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Whether it is a constant filter (`resample_filter`), which official files hold besides the parameters.
    pub buffer: bool,
    /// Whether it belongs to the step branch.
    pub step: bool,
}

/// The end of the name of every constant filter.
pub(super) const FILTER: &str = ".resample_filter";

impl Plan<'_> {
    /// All entries; `self` must have passed [`Plan::check`].
    pub(super) fn keys(&self) -> Vec<Key> {
        let mut table = Table {
            plan: self,
            keys: Vec::new(),
        };
        table.embedding();
        for layer in self.layers() {
            table.layer(&layer);
        }
        table.keys
    }
}

struct Table<'a> {
    plan: &'a Plan<'a>,
    keys: Vec<Key>,
}

impl Table<'_> {
    fn put(&mut self, name: impl Display, shape: &[usize]) {
        let name = format!("model.{name}");
        self.keys.push(Key {
            buffer: name.ends_with(FILTER),
            step: is_step_parameter(&name),
            shape: shape.to_vec(),
            name,
        });
    }

    /// Weight and bias.
    fn pair(&mut self, name: impl Display, shape: &[usize]) {
        self.put(format_args!("{name}.weight"), shape);
        self.put(format_args!("{name}.bias"), &shape[..1]);
    }

    fn filter(&mut self, name: impl Display) {
        let taps = self.plan.filter().taps();
        self.put(format_args!("{name}{FILTER}"), &[1, 1, taps, taps]);
    }

    /// What embeds noise level, class, augmentation and number of steps.
    fn embedding(&mut self) {
        let plan = self.plan;
        let (waves, embedding) = (plan.waves(), plan.embedding());
        if matches!(plan.family, Family::Song(song) if song.embedding == Embedding::Fourier) {
            self.put("map_noise.freqs", &[waves / 2]);
        }
        if plan.classes > 0 {
            match plan.family {
                Family::Song(_) => self.pair("map_label", &[waves, plan.classes]),
                Family::Dhariwal => self.put("map_label.weight", &[embedding, plan.classes]),
            }
        }
        if plan.augment_labels > 0 {
            self.put("map_augment.weight", &[waves, plan.augment_labels]);
        }
        self.pair("map_layer0", &[embedding, waves]);
        self.pair("map_layer1", &[embedding, embedding]);
        if plan.step_branch {
            self.pair("map_step_layer0", &[embedding, waves]);
            self.pair("map_step_layer1", &[embedding, embedding]);
        }
    }

    fn layer(&mut self, layer: &Layer) {
        let (name, input, output) = (&layer.name, layer.input, layer.output);
        match layer.part {
            Part::Stem => self.pair(name, &[output, input, 3, 3]),
            Part::Side if self.plan.encoder() == Encoder::Skip => {
                self.pair(name, &[output, input, 1, 1]);
                self.filter(name.replace("aux_skip", "aux_down"));
            }
            Part::Side => {
                self.pair(name, &[output, input, 3, 3]);
                self.filter(name);
            }
            Part::Head => {
                self.pair(format_args!("{name}_norm"), &[input]);
                self.pair(format_args!("{name}_conv"), &[output, input, 3, 3]);
                // The answer of the level below is doubled.
                let lowest = self.plan.lowest_resolution() == layer.resolution;
                if self.plan.decoder() == Decoder::Skip && !lowest {
                    self.filter(format_args!("{name}_up"));
                }
            }
            Part::Encoder(resample, heads) | Part::Decoder(resample, heads, _) => {
                self.block(layer, resample, heads);
            }
        }
    }

    fn block(&mut self, layer: &Layer, resample: Resample, heads: usize) {
        let (plan, name) = (self.plan, &layer.name);
        let (input, output) = (layer.input, layer.output);
        let resampled = resample != Resample::Keep;
        let affine = [plan.affine_width() * output, plan.embedding()];
        self.pair(format_args!("{name}.norm0"), &[input]);
        self.pair(format_args!("{name}.conv0"), &[output, input, 3, 3]);
        self.pair(format_args!("{name}.affine"), &affine);
        self.pair(format_args!("{name}.norm1"), &[output]);
        self.pair(format_args!("{name}.conv1"), &[output, output, 3, 3]);
        if plan.step_branch {
            self.pair(format_args!("{name}.affine_step"), &affine);
        }
        if plan.has_skip_weights(input, output, resample) {
            self.pair(format_args!("{name}.skip"), &[output, input, 1, 1]);
        }
        if resampled {
            self.filter(format_args!("{name}.conv0"));
            self.filter(format_args!("{name}.skip"));
        }
        if heads > 0 {
            self.pair(format_args!("{name}.norm2"), &[output]);
            self.pair(format_args!("{name}.qkv"), &[3 * output, output, 1, 1]);
            self.pair(format_args!("{name}.proj"), &[output, output, 1, 1]);
        }
    }
}
