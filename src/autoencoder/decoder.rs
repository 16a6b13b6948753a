//! From latents up to pictures.

use super::block::{Attention, Middle, Resampler, ResidualBlock, chain, conv};
use super::config::AutoencoderConfig;
use super::norm::{Norm, Scope};
use crate::layer::Conv2d;
use crate::parameter::Site;
use burn::module::Module;
use burn::tensor::Tensor;

#[derive(Module, Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid: Middle,
    /// The highest resolution first, as official files number them.
    up: Vec<Level>,
    norm_out: Norm,
    conv_out: Conv2d,
}

#[derive(Module, Debug)]
struct Level {
    block: Vec<ResidualBlock>,
    attn: Vec<Attention>,
    upsample: Option<Resampler>,
}

impl Decoder {
    pub(super) fn new(config: &AutoencoderConfig, site: &Site<'_>) -> Self {
        let deepest = config.width(config.levels() - 1);
        let mut width = deepest;
        let mut up = Vec::new();
        for level in (0..config.levels()).rev() {
            let site = site.at("up").at(level);
            let output = config.width(level);
            let mut block = Vec::new();
            for i in 0..=config.blocks {
                block.push(ResidualBlock::new(width, output, &site.at("block").at(i)));
                width = output;
            }
            let attention = if config.attends(level) {
                config.blocks + 1
            } else {
                0
            };
            up.push(Level {
                block,
                attn: (0..attention)
                    .map(|i| Attention::new(width, &site.at("attn").at(i)))
                    .collect(),
                upsample: (level > 0).then(|| Resampler::doubling(width, &site.at("upsample"))),
            });
        }
        up.reverse();
        Self {
            conv_in: conv(config.inner_channels, deepest, 3, &site.at("conv_in")),
            mid: Middle::new(deepest, &site.at("mid")),
            up,
            norm_out: Norm::new(width, &site.at("norm_out")),
            conv_out: conv(width, config.channels, 3, &site.at("conv_out")),
        }
    }

    /// The part at the latents' resolution, the only one where pixels far apart meet (in published models).
    pub(super) fn lowest(&self, latents: Tensor<4>) -> Tensor<4> {
        let hidden = self.conv_in.forward(latents);
        self.mid.forward(hidden, &mut Scope::Whole)
    }

    /// The levels, from what [`lowest`](Self::lowest) gives, or a tile of it.
    pub(super) fn rise(&self, mut hidden: Tensor<4>, scope: &mut Scope) -> Tensor<4> {
        for level in self.up.iter().rev() {
            hidden = chain(&level.block, &level.attn, hidden, scope);
            if let Some(upsample) = &level.upsample {
                hidden = upsample.double(hidden);
            }
        }
        self.conv_out
            .forward(self.norm_out.forward(hidden, true, scope))
    }
}
