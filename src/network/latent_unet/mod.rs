//! The U-Net of latent diffusion models, after OpenAI's: LSUN-Bedroom and FFHQ in the latent space of an autoencoder, and
//! Stable Diffusion v1. [LDM Sec. 3.2]

mod attention;
mod outline;
mod residual;
mod transformer;

use super::Inputs;
use super::embedding::Endpoint;
use super::layers::{Conv2d, Dropout, GroupNorm};
use super::plan::{EMBEDDING_MULTIPLIER, LARGEST, MOST_BLOCKS, MOST_LEVELS};
use super::resample::{Resample, ResampleFilter};
use super::step_branch::StepEmbedding;
use crate::{Error, Images};
use attention::PixelAttention;
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use outline::{Layer, PREFIX, Part};
use residual::{Downsample, Residual};
use serde::{Deserialize, Serialize};
use transformer::SpatialTransformer;

/// Groups of every group norm.
const GROUPS: usize = 32;

/// Epsilon of the group norms of residual blocks, attention and head.
const EPSILON: f64 = 1e-5;

/// Sizes of a [`LatentUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LatentUNetConfig {
    /// Height and width of the latents that it was trained on. It takes any that are divisible by 2^(levels - 1).
    pub resolution: usize,
    /// Channels of the latents.
    pub channels: usize,
    /// Channels of the first level; a multiple of 32.
    pub model_channels: usize,
    /// Channels of each level, as multiples of `model_channels`.
    pub channel_multipliers: Vec<usize>,
    /// Residual blocks a level.
    pub blocks: usize,
    /// Levels that have attention, by how much smaller than the latents they are: 1, 2, 4...
    pub attention_factors: Vec<usize>,
    /// Its kind. The middle has it in any case.
    pub attention: LatentAttention,
    /// Dropout rate inside the blocks, in [0, 1); active in training only.
    #[serde(default)]
    pub dropout: f64,
    /// Whether the step branch exists.
    #[serde(default)]
    pub step_branch: bool,
}

/// What a latent U-Net attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum LatentAttention {
    /// Its own pixels: unconditional models.
    Pixels {
        /// Channels of one head; wider levels have more heads.
        head_channels: usize,
    },
    /// Its own pixels and the tokens of a text, in transformer blocks. [LDM Sec. 3.3]
    Text {
        /// Heads, the same number at every level.
        heads: usize,
        /// Width of the text's tokens.
        width: usize,
        /// Transformer blocks one after the other.
        #[serde(default = "one")]
        depth: usize,
    },
}

fn one() -> usize {
    1
}

impl Default for LatentUNetConfig {
    /// The network of LSUN-Bedroom and FFHQ, without the step branch.
    fn default() -> Self {
        Self {
            resolution: 64,
            channels: 3,
            model_channels: 224,
            channel_multipliers: vec![1, 2, 3, 4],
            blocks: 2,
            attention_factors: vec![2, 4, 8],
            attention: LatentAttention::Pixels { head_channels: 32 },
            dropout: 0.0,
            step_branch: false,
        }
    }
}

impl LatentUNetConfig {
    /// The network of Stable Diffusion v1, without the step branch.
    pub fn stable_diffusion() -> Self {
        Self {
            channels: 4,
            model_channels: 320,
            channel_multipliers: vec![1, 2, 4, 4],
            attention_factors: vec![1, 2, 4],
            attention: LatentAttention::Text {
                heads: 8,
                width: 768,
                depth: 1,
            },
            ..Self::default()
        }
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        let levels = self.channel_multipliers.len();
        if !(1..=MOST_LEVELS).contains(&levels) || self.channel_multipliers.contains(&0) {
            let value = format!("{:?}", self.channel_multipliers);
            let expected = format!("1 to {MOST_LEVELS} positive whole numbers");
            return Err(Error::invalid("channel_multipliers", value, expected));
        }
        let factor = self.factor();
        if self.resolution == 0
            || self.resolution > LARGEST
            || !self.resolution.is_multiple_of(factor)
        {
            let expected =
                format!("a multiple of {factor} for {levels} levels, at most {LARGEST}");
            return Err(Error::invalid("resolution", self.resolution, expected));
        }
        if !(1..=LARGEST).contains(&self.channels) {
            let range = format!("from 1 to {LARGEST}");
            return Err(Error::invalid("channels", self.channels, range));
        }
        let widest = self.channel_multipliers.iter().max().copied().unwrap_or(1);
        let fits = self.model_channels > 0 && self.model_channels.is_multiple_of(GROUPS);
        if !fits || self.model_channels.saturating_mul(widest) > LARGEST {
            let expected =
                format!("a multiple of {GROUPS}; the widest level has at most {LARGEST}");
            return Err(Error::invalid("model_channels", self.model_channels, expected));
        }
        if self.blocks > MOST_BLOCKS {
            let range = format!("at most {MOST_BLOCKS}");
            return Err(Error::invalid("blocks", self.blocks, range));
        }
        let reached = |f: &usize| f.is_power_of_two() && *f <= factor;
        if !self.attention_factors.iter().all(reached) {
            let value = format!("{:?}", self.attention_factors);
            let expected = format!("powers of two up to {factor}");
            return Err(Error::invalid("attention_factors", value, expected));
        }
        self.check_heads()?;
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::invalid("dropout", self.dropout, "in [0, 1)"));
        }
        Ok(())
    }

    /// Attention needs whole heads.
    fn check_heads(&self) -> Result<(), Error> {
        let outline = self.outline();
        let attention = outline.layers().filter(|l| l.part == Part::Attention);
        let widths: Vec<usize> = attention.map(|l| l.output).collect();
        let divides = |n: usize| n > 0 && widths.iter().all(|w| w.is_multiple_of(n));
        match self.attention {
            LatentAttention::Pixels { head_channels: n } if !divides(n) => {
                let expected = format!("a divisor of the widths with attention, {widths:?}");
                Err(Error::invalid("attention.head_channels", n, expected))
            }
            LatentAttention::Text { heads, .. } if !divides(heads) => {
                let expected = format!("a divisor of the widths with attention, {widths:?}");
                Err(Error::invalid("attention.heads", heads, expected))
            }
            LatentAttention::Text { width, depth, .. }
                if !(1..=LARGEST).contains(&width) || !(1..=MOST_BLOCKS).contains(&depth) =>
            {
                let value = format!("{width}, {depth}");
                let range = format!("from 1 to {LARGEST}, and from 1 to {MOST_BLOCKS}");
                Err(Error::invalid("attention.width, attention.depth", value, range))
            }
            _ => Ok(()),
        }
    }

    /// By how much smaller than the latents the lowest level is.
    pub(super) fn factor(&self) -> usize {
        1 << (self.channel_multipliers.len() - 1)
    }

    /// Width of the embeddings of time and steps.
    fn embedding(&self) -> usize {
        self.model_channels * EMBEDDING_MULTIPLIER
    }

    /// Width of the tokens of the text that it takes; `None` for an unconditional network.
    pub fn context_width(&self) -> Option<usize> {
        match self.attention {
            LatentAttention::Pixels { .. } => None,
            LatentAttention::Text { width, .. } => Some(width),
        }
    }
}

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

/// What all parts are told.
struct Told<'a> {
    /// `[b or 1, embedding]`, through SiLU.
    time: Tensor<2>,
    /// `[1, embedding]`, through SiLU.
    step: Option<Tensor<2>>,
    /// `[b, tokens, width]`.
    context: Option<Tensor<3>>,
    dropout: Option<&'a Dropout>,
}

impl LatentUNet {
    /// Builds the network with all weights zero and norms one; `config` must have passed [`LatentUNetConfig::check`].
    pub(crate) fn new(config: &LatentUNetConfig, device: &Device) -> Self {
        let outline = config.outline();
        let entry = |layers: &Vec<Layer>| -> Vec<Block> {
            let blocks = layers.iter();
            blocks.map(|layer| Block::new(layer, config, device)).collect()
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

    /// The raw output, the predicted noise. `inputs.noise` is the time, 0 to 999, fractions allowed. A network that takes
    /// a text and gets none sees one token of zeros.
    pub(crate) fn forward(&self, latents: Images, inputs: Inputs<'_>) -> Images {
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
        let told = Told {
            time: self.time_embed.embed(inputs.noise, endpoint, dtype, &device),
            step: inputs.steps.and_then(|n| self.embed_steps(n, dtype, &device)),
            context,
            dropout: inputs.dropout,
        };
        let walk = |x: Images, blocks: &[Block]| {
            let blocks = blocks.iter();
            blocks.fold(x, |x, block| block.forward(x, &told))
        };
        let mut x = latents;
        let mut kept = Vec::with_capacity(self.input_blocks.len());
        for blocks in &self.input_blocks {
            x = walk(x, blocks);
            kept.push(x.clone());
        }
        x = walk(x, &self.middle_block);
        for blocks in &self.output_blocks {
            if let Some(skip) = kept.pop() {
                x = Tensor::cat(vec![x, skip], 1);
            }
            x = walk(x, blocks);
        }
        let x = self.out.head_norm.forward(x, None, true);
        self.out.head_conv.forward(x)
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
                transformer.forward(x, context.expect("a network that takes a text has been given one"))
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
        let first = answer(&network, &images.clone().narrow(0, 0, 1), Some(&tokens(1, 3)));
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
