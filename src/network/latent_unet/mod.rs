//! The U-Net of latent diffusion models, after OpenAI's: LSUN-Bedroom and FFHQ in the latent space of an autoencoder, and
//! Stable Diffusion v1. [LDM Sec. 3.2]

mod attention;
mod config;
mod outline;
mod residual;
mod transformer;

pub use config::{LatentAttention, LatentUNetConfig};

use super::Inputs;
use super::embedding::Endpoint;
use super::layers::{Conv2d, GroupNorm};
use super::resample::{Resample, ResampleFilter};
use super::step_branch::StepEmbedding;
use super::walk::{START, Told, Walk, joined};
use crate::Images;
use attention::PixelAttention;
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use outline::{Layer, PREFIX, Part};
use residual::{Downsample, Residual};
use transformer::SpatialTransformer;

/// Groups of every group norm.
const GROUPS: usize = 32;

/// Epsilon of the group norms of residual blocks, attention and head.
const EPSILON: f64 = 1e-5;

/// The network. Parameter names are those of the official weight files, prefix `model.diffusion_model.`.
#[derive(Module, Debug)]
pub struct LatentUNet {
    time_embed: StepEmbedding,
    nfe_embed: Option<StepEmbedding>,
    input_blocks: Vec<Vec<Block>>,
    middle_block: Vec<Block>,
    output_blocks: Vec<Vec<Block>>,
    out: Head,
    #[module(skip)]
    context_width: Option<usize>,
}

/// A part; the network is lists of them.
// There are some dozens of them, and what they hold is elsewhere.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
enum Block {
    Stem(Conv2d),
    Residual(Residual),
    Pixels(PixelAttention),
    Text(SpatialTransformer),
    Down(Downsample),
    Up(Upsample),
}

/// Doubling, then a convolution. The field's name is the official one.
#[derive(Module, Debug)]
struct Upsample {
    conv: Conv2d,
}

/// Norm, SiLU and convolution to the channels of the latents.
#[derive(Module, Debug)]
struct Head {
    head_norm: GroupNorm,
    head_conv: Conv2d,
}

impl LatentUNet {
    /// Builds the network with all weights zero and norms one; `config` must have passed [`LatentUNetConfig::check`].
    pub(crate) fn new(config: &LatentUNetConfig, device: &Device) -> Self {
        let outline = config.outline();
        let entry = |layers: &Vec<Layer>| -> Vec<Block> {
            let blocks = layers.iter();
            blocks
                .map(|layer| Block::new(layer, config, device))
                .collect()
        };
        let width = config.model_channels;
        let last = width * config.channel_multipliers[0];
        let embed = || StepEmbedding::new(width, config.embedding(), device);
        Self {
            time_embed: embed(),
            nfe_embed: config.step_branch.then(embed),
            input_blocks: outline.input.iter().map(entry).collect(),
            middle_block: entry(&outline.middle),
            output_blocks: outline.output.iter().map(entry).collect(),
            out: Head {
                head_norm: GroupNorm::with_groups(last, GROUPS, EPSILON, device),
                head_conv: Conv2d::new(last, config.channels, 3, Resample::Keep, device),
            },
            context_width: config.context_width(),
        }
    }

    /// What all parts are told. `inputs.noise` is the time, 0 to 999, fractions allowed. A network that takes a text and
    /// gets none sees one token of zeros.
    pub(super) fn tell<'a>(&self, latents: &Images, inputs: Inputs<'a>) -> Told<'a> {
        let (dtype, device) = (latents.dtype(), latents.device());
        let batch = latents.dims()[0];
        let context = self.context_width.map(|width| match inputs.context {
            Some(context) => {
                let [_, tokens, width] = context.dims();
                context.clone().cast(dtype).expand([batch, tokens, width])
            }
            None => Tensor::zeros([batch, 1, width], (&device, dtype)),
        });
        let endpoint = Endpoint::Excluded;
        Told {
            time: self
                .time_embed
                .embed(inputs.noise, endpoint, dtype, &device),
            each: inputs.each(),
            step: inputs
                .steps
                .and_then(|n| self.embed_steps(n, dtype, &device)),
            context,
            dropout: inputs.dropout,
        }
    }

    /// The way from latents to the raw output, the predicted noise.
    pub(super) fn walk(&self) -> Walk<'_> {
        let mut walk = Walk::new();
        let mut x = START;
        let mut kept = Vec::with_capacity(self.input_blocks.len());
        for blocks in &self.input_blocks {
            for block in blocks {
                x = walk.then(x, |x, told| block.forward(x, told));
            }
            kept.push(x);
        }
        for block in &self.middle_block {
            x = walk.then(x, |x, told| block.forward(x, told));
        }
        for blocks in &self.output_blocks {
            for (i, block) in blocks.iter().enumerate() {
                x = match if i == 0 { kept.pop() } else { None } {
                    Some(skip) => {
                        walk.add(&[x, skip], |both, told| block.forward(joined(both), told))
                    }
                    None => walk.then(x, |x, told| block.forward(x, told)),
                };
            }
        }
        walk.then(x, |x, _| {
            let x = self.out.head_norm.forward(x, None, true);
            self.out.head_conv.forward(x)
        });
        walk
    }

    /// The embedding of the number of timestamps, `[1, embedding]`; `None` without a step branch. [SFD Sec. 3.3]
    pub(crate) fn embed_steps(
        &self,
        timestamps: usize,
        dtype: DType,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let layers = self.nfe_embed.as_ref()?;
        Some(layers.forward(timestamps, Endpoint::Excluded, dtype, device))
    }
}

impl Block {
    fn new(layer: &Layer, config: &LatentUNetConfig, device: &Device) -> Self {
        let &Layer { input, output, .. } = layer;
        let conv = |resample| Conv2d::new(input, output, 3, resample, device);
        match (layer.part, config.attention) {
            (Part::Stem, _) => Self::Stem(conv(Resample::Keep)),
            (Part::Down, _) => Self::Down(Downsample::new(output, device)),
            (Part::Up, _) => Self::Up(Upsample {
                conv: conv(Resample::Up(ResampleFilter::Box)),
            }),
            (Part::Residual, _) => Self::Residual(Residual::new(input, output, config, device)),
            (Part::Attention, LatentAttention::Pixels { head_channels }) => {
                Self::Pixels(PixelAttention::new(output, output / head_channels, device))
            }
            (
                Part::Attention,
                LatentAttention::Text {
                    heads,
                    width,
                    depth,
                },
            ) => Self::Text(SpatialTransformer::new(output, heads, width, depth, device)),
        }
    }

    fn forward(&self, x: Images, told: &Told<'_>) -> Images {
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
}

/// Translates Burn's path of a parameter, `input_blocks.1.0.Residual.in_norm.weight`, into the official name.
pub(super) fn official_name(path: &str) -> String {
    let parts = path.split('.').filter_map(|part| match part {
        "Stem" | "Residual" | "Pixels" | "Text" | "Down" | "Up" => None,
        "layer0" | "head_norm" => Some("0"),
        "layer1" | "head_conv" => Some("2"),
        "in_norm" => Some("in_layers.0"),
        "in_conv" => Some("in_layers.2"),
        "time" => Some("emb_layers.1"),
        "step" => Some("emb_nfe_layers.1"),
        "out_norm" => Some("out_layers.0"),
        "out_conv" => Some("out_layers.3"),
        "to_out" => Some("to_out.0"),
        "gated" => Some("net.0.proj"),
        "narrow" => Some("net.2"),
        other => Some(other),
    });
    let parts: Vec<&str> = parts.collect();
    format!("{PREFIX}{}", parts.join("."))
}

/// Whether a name is that of a latent U-Net's parameter.
pub(super) fn is_latent(name: &str) -> bool {
    name.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::law::filled;
    use crate::network::{Network, NetworkConfig};
    use crate::noise::{latents, latents_keyed};

    fn text() -> NetworkConfig {
        NetworkConfig::LatentUnet(LatentUNetConfig {
            resolution: 8,
            model_channels: 32,
            channel_multipliers: vec![1, 2],
            blocks: 1,
            attention_factors: vec![2],
            attention: LatentAttention::Text {
                heads: 4,
                width: 6,
                depth: 1,
            },
            ..LatentUNetConfig::stable_diffusion()
        })
    }

    fn tokens(batch: usize, count: usize) -> Tensor<3> {
        let all = latents_keyed(0, 0, 0..batch as u64, [1, count, 6], &Device::flex());
        all.reshape([batch, count, 6])
    }

    fn answer(network: &Network, images: &Images, context: Option<&Tensor<3>>) -> Vec<f32> {
        let inputs = Inputs {
            noise: &[12.5],
            context,
            ..Inputs::default()
        };
        let answer = network.forward(images.clone(), inputs);
        assert_eq!(answer.dims(), images.dims());
        answer.into_data().try_to_vec().unwrap()
    }

    fn difference(a: &[f32], b: &[f32]) -> f32 {
        let pairs = a.iter().zip(b);
        pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs()))
    }

    #[test]
    fn every_image_sees_its_own_text() {
        let network = filled(&text(), 5);
        let images = latents(&[1, 2], [4, 8, 8], &Device::flex());
        let both = answer(&network, &images, Some(&tokens(2, 3)));
        let size = both.len() / 2;
        let first = answer(
            &network,
            &images.clone().narrow(0, 0, 1),
            Some(&tokens(1, 3)),
        );
        // Roundings of f32 in some ten layers, with answers near 1.
        assert!(difference(&first, &both[..size]) < 1e-5);
        let one = answer(&network, &images, Some(&tokens(1, 3)));
        assert!(difference(&one[..size], &both[..size]) < 1e-5);
        assert!(difference(&one[size..], &both[size..]) > 1e-3);
        // As many tokens as one likes, and no text is one of zeros.
        let longer = answer(&network, &images, Some(&tokens(1, 9)));
        assert!(difference(&longer, &one) > 1e-3);
        let none = answer(&network, &images, None);
        let zeros = Tensor::zeros([1, 1, 6], &Device::flex());
        assert_eq!(none, answer(&network, &images, Some(&zeros)));
    }

    #[test]
    fn latents_need_not_be_square() {
        let config = text();
        let network = filled(&config, 6);
        for (shape, fits) in [([4, 4, 10], true), ([4, 5, 8], false), ([3, 8, 8], false)] {
            assert_eq!(config.takes(shape), fits, "{shape:?}");
        }
        let images = latents(&[1], [4, 4, 10], &Device::flex());
        let found = answer(&network, &images, Some(&tokens(1, 3)));
        assert!(found.iter().all(|v| v.is_finite()));
    }
}
