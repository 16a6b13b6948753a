//! The parts of a latent U-Net.

use super::attention::PixelAttention;
use super::config::{LatentAttention, LatentUNetConfig};
use super::level::PerLevel;
use super::outline::{Layer, Place};
use super::residual::{Downsample, Residual};
use super::transformer::SpatialTransformer;
use crate::Images;
use crate::graph::{Graph, Value};
use crate::layer::{Conv2d, Resample, ResampleFilter};
use crate::network::inputs::Told;
use crate::network::trace::TracedTold;
use crate::network::walk::Walk;
use crate::parameter::Site;
use burn::module::Module;

/// A part; the network is lists of them.
// There are some dozens of them, and what they hold is elsewhere.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub(super) enum Block {
    Stem(Conv2d),
    Residual(Residual),
    Pixels(PixelAttention),
    Text(SpatialTransformer),
    Down(Downsample),
    Up(Upsample),
}

/// Doubling, then a convolution.
#[derive(Module, Debug)]
pub(super) struct Upsample {
    conv: Conv2d,
}

impl Block {
    pub(super) fn new(layer: &Layer, config: &LatentUNetConfig, site: &Site<'_>) -> Self {
        let &Layer { input, output, .. } = layer;
        let conv = |resample, site: &Site<'_>| Conv2d::new(input, output, 3, resample, site);
        match (layer.place, &config.attention) {
            (Place::Stem, _) => Self::Stem(conv(Resample::Keep, site)),
            (Place::Down, _) => Self::Down(Downsample::new(output, site)),
            (Place::Up, _) => Self::Up(Upsample {
                conv: conv(Resample::Up(ResampleFilter::Box), &site.at("conv")),
            }),
            (Place::Residual, _) => Self::Residual(Residual::new(input, output, config, site)),
            (Place::Attention, LatentAttention::Pixels { head_channels }) => {
                Self::Pixels(PixelAttention::new(output, output / head_channels, site))
            }
            (
                Place::Attention,
                LatentAttention::Text {
                    heads,
                    width,
                    depth,
                    linear,
                },
            ) => {
                // There is one for each level, as the config has been checked.
                let own = |all: &PerLevel| all.of(layer.level).unwrap_or(1);
                let sizes = [own(heads), *width, own(depth)];
                Self::Text(SpatialTransformer::new(output, sizes, *linear, site))
            }
        }
    }

    /// `[b, c, h, w]` to the same of its own channels and size.
    pub(super) fn forward(&self, x: Images, told: &Told<'_>) -> Images {
        match self {
            Self::Stem(conv) => conv.forward(x),
            Self::Residual(block) => block.forward(x, told),
            Self::Pixels(attention) => attention.forward(x),
            Self::Text(transformer) => {
                let context = told.context.as_ref();
                transformer.forward(
                    x,
                    context.expect("a network that takes a text has been given one"),
                )
            }
            Self::Down(down) => down.forward(x),
            Self::Up(up) => up.conv.forward(x),
        }
    }

    /// [`forward`](Self::forward) in a graph.
    pub(super) fn trace(&self, graph: &mut Graph, x: &Value, told: &TracedTold) -> Value {
        match self {
            Self::Stem(conv) => conv.trace(graph, x),
            Self::Residual(block) => block.trace(graph, x, told),
            Self::Pixels(attention) => attention.trace(graph, x),
            Self::Text(transformer) => {
                let context = told.context.as_ref();
                let context = context.expect("a network that takes a text has been given one");
                transformer.trace(graph, x, context)
            }
            Self::Down(down) => down.trace(graph, x),
            Self::Up(up) => up.conv.trace(graph, x),
        }
    }

    /// Adds it to a walk, behind the segment whose answer it takes.
    pub(super) fn after<'a>(&'a self, walk: &mut Walk<'a>, x: usize) -> usize {
        walk.then(
            x,
            |x, told| self.forward(x, told),
            |graph, x, told| self.trace(graph, x, told),
        )
    }
}
