//! The U-Net of latent diffusion models, after OpenAI's: LSUN-Bedroom and FFHQ in the latent space of an autoencoder, and
//! Stable Diffusion 1, 2 and XL. [LDM Sec. 3.2, SDXL Sec. 2]

use super::block::Block;
use super::config::{EPSILON, GROUPS, LatentUNetConfig};
use super::outline::Layer;
use super::whole::Added;
use crate::Images;
use crate::graph::{Graph, Value};
use crate::layer::{Conv2d, Endpoint, GroupNorm, Resample};
use crate::network::family::Parts;
use crate::network::inputs::{Inputs, Told};
use crate::network::step::StepEmbedding;
use crate::network::trace::{TracedInputs, TracedText, TracedTold};
use crate::network::walk::{START, Walk, joined, trace_joined};
use crate::parameter::{Adapters, Draw, Key, Keys, Site, build_adapted, outline};
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};

/// Start of all official names.
pub(crate) const NAME: &str = "model.diffusion_model";

const DRAW: Draw = Draw::FanIn;

/// The network. Parameter names are those of the official weight files, prefix `model.diffusion_model.`.
#[derive(Module, Debug)]
pub struct LatentUNet {
    time_embed: StepEmbedding,
    /// What else is told of a text, after all classes once had their place here.
    label_emb: Option<StepEmbedding>,
    nfe_embed: Option<StepEmbedding>,
    input_blocks: Vec<Vec<Block>>,
    middle_block: Vec<Block>,
    output_blocks: Vec<Vec<Block>>,
    out: Head,
    #[module(skip)]
    context_width: Option<usize>,
    #[module(skip)]
    added: Option<Added>,
    #[module(skip)]
    keys: Keys,
}

/// Norm, SiLU and convolution to the channels of the latents.
#[derive(Module, Debug)]
struct Head {
    norm: GroupNorm,
    conv: Conv2d,
}

impl LatentUNet {
    /// Builds the network, with these adapters, with all weights zero and norms one; `config` must have passed [`LatentUNetConfig::check`].
    pub(crate) fn new(config: &LatentUNetConfig, adapters: &Adapters, device: &Device) -> Self {
        let parts = (adapters, device);
        let (network, keys) = build_adapted(NAME, DRAW, parts, |site| Self::at(config, site));
        Self { keys, ..network }
    }

    /// Every entry of the state dict.
    pub(super) fn listed(config: &LatentUNetConfig) -> Vec<Key> {
        outline(NAME, DRAW, |site| Self::at(config, site))
    }

    fn at(config: &LatentUNetConfig, site: &Site<'_>) -> Self {
        let all = config.outline();
        let entry = |layers: &[Layer], site: &Site<'_>| -> Vec<Block> {
            let blocks = layers.iter().enumerate();
            blocks
                .map(|(j, layer)| Block::new(layer, config, &site.at(j)))
                .collect()
        };
        let entries = |all: &[Vec<Layer>], name| {
            let entries = all.iter().enumerate();
            entries
                .map(|(i, layers)| entry(layers, &site.at(name).at(i)))
                .collect()
        };
        let width = config.model_channels;
        let last = width * config.channel_multipliers[0];
        let embed = |waves: usize, site: &Site<'_>| {
            let layers = ["0", "2"].map(|layer| site.at(layer));
            StepEmbedding::new(waves, config.embedding(), layers)
        };
        Self {
            // In the order of official files, which is not that of the fields.
            time_embed: embed(width, &site.at("time_embed")),
            label_emb: (config.added).map(|added| embed(added.input(), &site.at("label_emb.0"))),
            nfe_embed: config
                .step_branch
                .then(|| embed(width, &site.step().at("nfe_embed"))),
            input_blocks: entries(&all.input, "input_blocks"),
            output_blocks: entries(&all.output, "output_blocks"),
            middle_block: entry(&all.middle, &site.at("middle_block")),
            out: Head {
                norm: GroupNorm::with_groups(last, GROUPS, EPSILON, &site.at("out.0")),
                conv: {
                    let site = site.at("out.2").zero();
                    Conv2d::new(last, config.channels, 3, Resample::Keep, &site)
                },
            },
            context_width: config.context_width(),
            added: config.added,
            keys: Keys::default(),
        }
    }
}

impl Head {
    fn forward(&self, x: Images) -> Images {
        self.conv.forward(self.norm.forward(x, None, true))
    }

    /// [`forward`](Self::forward) in a graph.
    fn trace(&self, graph: &mut Graph, x: &Value) -> Value {
        let x = self.norm.trace(graph, x, None, true);
        self.conv.trace(graph, &x)
    }
}

impl Parts for LatentUNet {
    fn keys(&self) -> &Keys {
        &self.keys
    }

    /// `inputs.noise` is the time, 0 to 999, fractions allowed. A network that takes a text and
    /// gets none sees one token of zeros, and zeros for all else that is told of a text.
    fn tell<'a>(&self, latents: &Images, inputs: Inputs<'a>) -> Told<'a> {
        let (dtype, device) = (latents.dtype(), latents.device());
        let batch = latents.dims()[0];
        let endpoint = Endpoint::Excluded;
        let like = (&device, dtype);
        let told = match (self.context_width, inputs.context, self.added) {
            (None, ..) => None,
            (Some(_), Some(context), _) => Some(context.clone()),
            (Some(width), None, None) => Some(Tensor::zeros([batch, 1, width], like)),
            (Some(width), None, Some(added)) => Some(added.nothing(width, batch, like)),
        };
        let (context, time, each) = match (told, self.added, &self.label_emb) {
            (Some(told), Some(added), Some(layers)) => {
                let (tokens, whole, numbers) = added.detach(&told);
                let waves = added.waves(&numbers, dtype, &device);
                let told = Tensor::cat(vec![whole.cast(dtype), waves], 1);
                let time = self
                    .time_embed
                    .embed_plain(inputs.noise, endpoint, dtype, &device);
                // A text has a row of its own, even if it is alone.
                (
                    Some(tokens),
                    activation::silu(time + layers.rows(told, true)),
                    true,
                )
            }
            (told, ..) => {
                let time = self
                    .time_embed
                    .embed(inputs.noise, endpoint, dtype, &device);
                (told, time, inputs.each())
            }
        };
        let context = context.map(|context| {
            let [_, tokens, width] = context.dims();
            context.cast(dtype).expand([batch, tokens, width])
        });
        Told {
            each,
            context,
            ..Told::of(time, inputs, |n| self.step_embedding(n, dtype, &device))
        }
    }

    fn trace(&self, graph: &mut Graph, inputs: &TracedInputs) -> TracedTold {
        let endpoint = Endpoint::Excluded;
        let mut time = self.time_embed.trace_plain(graph, &inputs.noise, endpoint);
        let whole = inputs.text.as_ref().and_then(|text| text.whole.as_ref());
        if let (Some(layers), Some(added), Some(whole)) = (&self.label_emb, self.added, whole) {
            let told = added.trace(graph, whole);
            let told = layers.trace_rows(graph, &told);
            time = graph.add(&time, &told);
        }
        let steps = self.nfe_embed.as_ref().zip(inputs.steps.as_ref());
        TracedTold {
            time: graph.silu(&time),
            step: steps.map(|(layers, steps)| layers.trace(graph, steps, endpoint)),
            context: inputs
                .text
                .as_ref()
                .map(|TracedText { tokens, .. }| tokens.clone()),
        }
    }

    /// The way from latents to the raw output: the predicted noise, or velocity.
    fn walk(&self) -> Walk<'_> {
        let mut walk = Walk::new();
        let mut x = START;
        let mut kept = Vec::with_capacity(self.input_blocks.len());
        for blocks in &self.input_blocks {
            for block in blocks {
                x = block.after(&mut walk, x);
            }
            kept.push(x);
        }
        for block in &self.middle_block {
            x = block.after(&mut walk, x);
        }
        for blocks in &self.output_blocks {
            for (i, block) in blocks.iter().enumerate() {
                x = match if i == 0 { kept.pop() } else { None } {
                    Some(skip) => walk.add(
                        &[x, skip],
                        |both, told| block.forward(joined(both), told),
                        |graph, both, told| {
                            let both = trace_joined(graph, both);
                            block.trace(graph, &both, told)
                        },
                    ),
                    None => block.after(&mut walk, x),
                };
            }
        }
        walk.then(
            x,
            |x, _| self.out.forward(x),
            |graph, x, _| self.out.trace(graph, x),
        );
        walk
    }

    fn step_embedding(
        &self,
        timestamps: usize,
        dtype: DType,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let layers = self.nfe_embed.as_ref()?;
        Some(layers.forward(timestamps, Endpoint::Excluded, dtype, device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::law::filled;
    use crate::network::{LatentAttention, Network, NetworkConfig};
    use crate::noise::{latents, latents_keyed};

    fn text() -> NetworkConfig {
        NetworkConfig::LatentUnet(LatentUNetConfig {
            resolution: 8,
            model_channels: 32,
            channel_multipliers: vec![1, 2],
            blocks: 1,
            attention_factors: vec![2],
            attention: LatentAttention::Text {
                heads: 4.into(),
                width: 6,
                depth: 1.into(),
                linear: false,
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
