//! From images to tokens and back.

use super::block::{Block, Final};
use super::config::TransformerConfig;
use super::embedding::{ClassEmbedding, ScalarEmbedding};
use super::position;
use crate::Images;
use crate::graph::{Graph, Value};
use crate::layer::{LowRankConv, added, beside};
use crate::network::family::Parts;
use crate::network::inputs::{Inputs, Told};
use crate::network::trace::{TracedInputs, TracedTold};
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

    /// [`forward`](Self::forward) in a graph, to `[b, tokens, width]`.
    fn trace(&self, graph: &mut Graph, images: &Value) -> Value {
        let [width, channels, patch, _] = self.weight.dims();
        let weight = graph.weight(&self.weight, &[width, channels, patch, patch]);
        let bias = graph.weight(&self.bias, &[width]);
        let planes = graph.conv(images, (&weight, Some(&bias)), [patch, patch, 0, 1]);
        let planes = graph.reshape(&planes, &[0, width as i64, -1]);
        graph.transpose(&planes, &[0, 2, 1])
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

    /// [`enter`](Self::enter) in a graph, to `[b, tokens, width]`.
    fn trace_entry(&self, graph: &mut Graph, images: &Value) -> Value {
        let (side, width) = (self.config.side(), self.config.width);
        let positions = position::positions(side, width);
        let positions = graph.floats(&[side * side, width], &positions);
        let tokens = self.x_embedder.trace(graph, images);
        graph.add(&tokens, &positions)
    }

    /// [`leave`](Self::leave) in a graph.
    fn trace_exit(&self, graph: &mut Graph, tokens: &Value) -> Value {
        let (side, patch) = (self.config.side() as i64, self.config.patch as i64);
        let (channels, resolution) = (self.config.channels as i64, self.config.resolution as i64);
        let squares = graph.reshape(tokens, &[0, side, side, patch, patch, channels]);
        let lines = graph.transpose(&squares, &[0, 5, 1, 3, 2, 4]);
        graph.reshape(&lines, &[0, channels, resolution, resolution])
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

    fn trace(&self, graph: &mut Graph, inputs: &TracedInputs) -> TracedTold {
        let mut time = self.t_embedder.trace(graph, &inputs.noise);
        if let Some(classes) = &self.y_embedder {
            let told = classes.trace(graph, inputs.labels.as_ref());
            time = graph.add(&time, &told);
        }
        let steps = self.step_embedder.as_ref().zip(inputs.steps.as_ref());
        TracedTold {
            time: graph.silu(&time),
            step: steps.map(|(layers, steps)| {
                let plain = layers.trace(graph, steps);
                graph.silu(&plain)
            }),
            context: None,
        }
    }

    fn walk(&self) -> Walk<'_> {
        let mut walk = Walk::new();
        let tokens = |tokens: Images| -> Tensor<3> { tokens.squeeze_dim(1) };
        let mut x = walk.then(
            START,
            |images, _| self.enter(images),
            |graph, images, _| self.trace_entry(graph, images),
        );
        for block in &self.blocks {
            x = walk.then(
                x,
                move |x, told| block.forward(tokens(x), told).unsqueeze_dim(1),
                |graph, x, told| block.trace(graph, x, told),
            );
        }
        walk.then(
            x,
            move |x, told| self.leave(self.final_layer.forward(tokens(x), told)),
            |graph, x, told| {
                let answer = self.final_layer.trace(graph, x, told);
                self.trace_exit(graph, &answer)
            },
        );
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
