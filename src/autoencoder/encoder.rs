//! From pictures down to latents.

use super::block::{Attention, Middle, Resampler, ResidualBlock, chain, conv};
use super::config::AutoencoderConfig;
use super::norm::{Norm, Scope};
use crate::layer::Conv2d;
use crate::parameter::Site;
use burn::module::Module;
use burn::tensor::Tensor;

#[derive(Module, Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    down: Vec<Level>,
    mid: Middle,
    norm_out: Norm,
    conv_out: Conv2d,
}

#[derive(Module, Debug)]
struct Level {
    block: Vec<ResidualBlock>,
    attn: Vec<Attention>,
    downsample: Option<Resampler>,
}

impl Encoder {
    pub(super) fn new(config: &AutoencoderConfig, site: &Site<'_>) -> Self {
        let mut width = config.model_channels;
        let mut down = Vec::new();
        for level in 0..config.levels() {
            let site = site.at("down").at(level);
            let output = config.width(level);
            let mut block = Vec::new();
            for i in 0..config.blocks {
                block.push(ResidualBlock::new(width, output, &site.at("block").at(i)));
                width = output;
            }
            let attention = if config.attends(level) {
                config.blocks
            } else {
                0
            };
            let last = level + 1 == config.levels();
            down.push(Level {
                block,
                attn: (0..attention)
                    .map(|i| Attention::new(width, &site.at("attn").at(i)))
                    .collect(),
                downsample: (!last).then(|| Resampler::halving(width, &site.at("downsample"))),
            });
        }
        let output = config.moments(config.inner_channels);
        Self {
            conv_in: conv(
                config.channels,
                config.model_channels,
                3,
                &site.at("conv_in"),
            ),
            down,
            mid: Middle::new(width, &site.at("mid")),
            norm_out: Norm::new(width, &site.at("norm_out")),
            conv_out: conv(width, output, 3, &site.at("conv_out")),
        }
    }

    /// `[b, channels, h, w]` to `[b, moments, h / factor, w / factor]`.
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let scope = &mut Scope::Whole;
        let mut hidden = self.conv_in.forward(images);
        for level in &self.down {
            hidden = chain(&level.block, &level.attn, hidden, scope);
            if let Some(downsample) = &level.downsample {
                hidden = downsample.halve(hidden);
            }
        }
        let hidden = self.mid.forward(hidden, scope);
        self.conv_out
            .forward(self.norm_out.forward(hidden, true, scope))
    }
}
