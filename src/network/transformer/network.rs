//! From images to tokens and back.

use super::block::{Block, Final};
use super::config::TransformerConfig;
use super::embedding::{ClassEmbedding, ScalarEmbedding};
use super::position;
use crate::Images;
use crate::layer::{LowRankConv, added, beside};
use crate::network::family::Parts;
use crate::network::inputs::{Inputs, Told};
use crate::network::walk::{START, Walk};
use crate::parameter::{Adapters, Draw, Key, Keys, Site, Start, build_adapted, outline};
use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, activation};
use fewstep_kernels as kernels;

/// DiT. Parameter names are those of its published weights, which have no prefix.
#[derive(Module, Debug)]
pub struct DiffusionTransformer {
    x_embedder: Patches,
    t_embedder: ScalarEmbedding,
    y_embedder: Option<ClassEmbedding>,
    step_embedder: Option<ScalarEmbedding>,
    blocks: Vec<Block>,
    final_layer: Final,
    #[module(skip)]
    config: TransformerConfig,
    #[module(skip)]
    keys: Keys,
}

/// A square of pixels to a token: a convolution whose stride is its size.
#[derive(Module, Debug)]
struct Patches {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    low_rank: Option<LowRankConv>,
}

const DRAW: Draw = Draw::Glorot;

impl Patches {
    fn new(config: &TransformerConfig, site: &Site<'_>) -> Self {
        let (patch, numbers) = (config.patch, config.numbers());
        // As the matrix that it is.
        let start = Start::Glorot {
            input: numbers,
            output: config.width,
        };
        Self {
            weight: site
                .drawn(start)
                .weight([config.width, config.channels, patch, patch]),
            bias: site.bias(config.width, numbers),
            low_rank: LowRankConv::new(config.channels, config.width, patch, site),
        }
    }

    /// `[b, channels, h, w]` to `[b, 1, side x side tokens, width]`.
    fn forward(&self, images: Images, side: usize) -> Images {
        let (b, dtype) = (images.dims()[0], images.dtype());
        let [width, channels, patch, _] = self.weight.dims();
        let numbers = channels * patch * patch;
        let squares = images
            .reshape([b, channels, side, patch, side, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([b * side * side, numbers]);
        let weight = kernels::cast(self.weight.val(), dtype).reshape([width, numbers]);
        let low_rank = self.low_rank.as_ref();
        let (squares, more) = beside(low_rank, squares, LowRankConv::forward_rows);
        let tokens = squares.matmul(weight.transpose());
        let tokens = tokens + self.bias.val().cast(dtype).unsqueeze();
        let tokens = added(tokens, more);
        tokens.reshape([b, 1, side * side, width])
    }
}

impl DiffusionTransformer {
    /// Builds the network, with these adapters, with all weights zero; `config` must have passed [`TransformerConfig::check`].
    pub(crate) fn new(config: &TransformerConfig, adapters: &Adapters, device: &Device) -> Self {
        let parts = (adapters, device);
        let (network, keys) = build_adapted("", DRAW, parts, |site| Self::at(config, site));
        Self { keys, ..network }
    }

    /// Every entry of the state dict.
    pub(super) fn listed(config: &TransformerConfig) -> Vec<Key> {
        outline("", DRAW, |site| Self::at(config, site))
    }

    fn at(config: &TransformerConfig, site: &Site<'_>) -> Self {
        let (width, side) = (config.width, config.side());
        site.buffer("pos_embed", &[1, side * side, width]);
        let embed = |site: &Site<'_>| ScalarEmbedding::new(width, site);
        Self {
            x_embedder: {
                let site = site.at("x_embedder.proj");
                Patches::new(config, &site)
            },
            t_embedder: embed(&site.at("t_embedder")),
            y_embedder: (config.classes > 0).then(|| {
                let site = site.at("y_embedder");
                ClassEmbedding::new(config.classes, width, &site)
            }),
            step_embedder: config
                .step_branch
                .then(|| embed(&site.step().at("step_embedder"))),
            blocks: (0..config.depth)
                .map(|i| Block::new(config, &site.at("blocks").at(i)))
                .collect(),
            final_layer: Final::new(config, &site.at("final_layer")),
            config: config.clone(),
            keys: Keys::default(),
        }
    }

    /// `[b, channels, h, w]` to `[b, 1, tokens, width]`, with their places.
    fn enter(&self, images: Images) -> Images {
        let (side, width) = (self.config.side(), self.config.width);
        let positions = position::tensor(side, width, images.dtype(), &images.device());
        self.x_embedder.forward(images, side) + positions
    }

    /// `[b, tokens, patch x patch x channels]` to `[b, channels, h, w]`.
    fn leave(&self, tokens: Tensor<3>) -> Images {
        let [b, _, _] = tokens.dims();
        let (side, patch) = (self.config.side(), self.config.patch);
        let (channels, resolution) = (self.config.channels, self.config.resolution);
        tokens
            .reshape([b, side, side, patch, patch, channels])
            .permute([0, 5, 1, 3, 2, 4])
            .reshape([b, channels, resolution, resolution])
    }
}

impl Parts for DiffusionTransformer {
    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn tell<'a>(&self, images: &Images, inputs: Inputs<'a>) -> Told<'a> {
        let (dtype, device) = (images.dtype(), images.device());
        let mut time = self.t_embedder.forward(inputs.noise, dtype, &device);
        if let Some(classes) = &self.y_embedder {
            time = time + classes.forward(inputs.labels.cloned(), dtype);
        }
        let time = activation::silu(time);
        Told::of(time, inputs, |n| self.step_embedding(n, dtype, &device))
    }

    fn walk(&self) -> Walk<'_> {
        let mut walk = Walk::new();
        let tokens = |tokens: Images| -> Tensor<3> { tokens.squeeze_dim(1) };
        let mut x = walk.then(START, |images, _| self.enter(images));
        for block in &self.blocks {
            x = walk.then(x, move |x, told| {
                block.forward(tokens(x), told).unsqueeze_dim(1)
            });
        }
        walk.then(x, move |x, told| {
            self.leave(self.final_layer.forward(tokens(x), told))
        });
        walk
    }

    fn step_embedding(
        &self,
        timestamps: usize,
        dtype: DType,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let layers = self.step_embedder.as_ref()?;
        let embedding = layers.forward(&[timestamps as f64], dtype, device);
        Some(activation::silu(embedding))
    }
}
