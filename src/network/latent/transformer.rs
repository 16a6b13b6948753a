//! Transformer blocks over pixels and the tokens of a text, as Stable Diffusion has them. [LDM Sec. 3.3]

use super::config::GROUPS;
use crate::graph::{Graph, Value};
use crate::layer::{Conv2d, GroupNorm, LayerNorm, Linear, Resample};
use crate::parameter::Site;
use burn::module::Module;
use burn::tensor::Tensor;
use fewstep_kernels as kernels;

/// Epsilon of the group norm here, unlike elsewhere in the network.
const EPSILON: f64 = 1e-6;

/// Epsilon of the layer norms.
const LAYER_EPSILON: f64 = 1e-5;

/// Pixels become tokens, row by row, and pixels again.
#[derive(Module, Debug)]
pub(super) struct SpatialTransformer {
    norm: GroupNorm,
    proj_in: Projection,
    transformer_blocks: Vec<TransformerBlock>,
    proj_out: Projection,
}

/// What is done to each pixel before the blocks and behind them.
#[derive(Module, Debug)]
enum Projection {
    /// A 1x1 convolution of the pixels.
    Pixels(Conv2d),
    /// A matrix, of the tokens.
    Tokens(Linear),
}

impl Projection {
    fn new(width: usize, linear: bool, site: &Site<'_>) -> Self {
        match linear {
            true => Self::Tokens(Linear::new(width, width, site)),
            false => Self::Pixels(Conv2d::new(width, width, 1, Resample::Keep, site)),
        }
    }
}

/// Images `[b, c, h, w]` as tokens `[b, h w, c]`.
fn tokens(images: Tensor<4>) -> Tensor<3> {
    let [b, c, h, w] = images.dims();
    images.reshape([b, c, h * w]).swap_dims(1, 2)
}

/// [`tokens`] in a graph.
fn trace_tokens(graph: &mut Graph, images: &Value, width: usize) -> Value {
    let planes = graph.reshape(images, &[0, width as i64, -1]);
    graph.transpose(&planes, &[0, 2, 1])
}

/// Self-attention, attention to the text, and two layers with a gate.
#[derive(Module, Debug)]
struct TransformerBlock {
    attn1: Attention,
    ff: FeedForward,
    attn2: Attention,
    norm1: LayerNorm,
    norm2: LayerNorm,
    norm3: LayerNorm,
}

#[derive(Module, Debug)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    #[module(skip)]
    heads: usize,
}

/// Value times GELU of a gate, both 4 times as wide; then back to the width.
#[derive(Module, Debug)]
struct FeedForward {
    gated: Linear,
    narrow: Linear,
}

impl SpatialTransformer {
    /// `context` is the width of the text's tokens; `linear` says whether pixels become tokens by a matrix.
    pub(super) fn new(
        width: usize,
        [heads, context, depth]: [usize; 3],
        linear: bool,
        site: &Site<'_>,
    ) -> Self {
        let block = |i| {
            let site = site.at(format_args!("transformer_blocks.{i}"));
            TransformerBlock::new(width, heads, context, &site)
        };
        Self {
            norm: GroupNorm::with_groups(width, GROUPS, EPSILON, &site.at("norm")),
            proj_in: Projection::new(width, linear, &site.at("proj_in")),
            transformer_blocks: (0..depth).map(block).collect(),
            proj_out: Projection::new(width, linear, &site.at("proj_out").zero()),
        }
    }

    /// Keeps the shape `[b, c, h, w]`; `context` is `[b, tokens, context width]`.
    pub(super) fn forward(&self, images: Tensor<4>, context: &Tensor<3>) -> Tensor<4> {
        let [b, c, h, w] = images.dims();
        let pixels = self.norm.forward(images.clone(), None, false);
        let mut tokens = match &self.proj_in {
            Projection::Pixels(conv) => tokens(conv.forward(pixels)),
            Projection::Tokens(matrix) => matrix.forward_tokens(tokens(pixels)),
        };
        for block in &self.transformer_blocks {
            tokens = block.forward(tokens, context);
        }
        let pixels = |tokens: Tensor<3>| tokens.swap_dims(1, 2).reshape([b, c, h, w]);
        images
            + match &self.proj_out {
                Projection::Pixels(conv) => conv.forward(pixels(tokens)),
                Projection::Tokens(matrix) => pixels(matrix.forward_tokens(tokens)),
            }
    }

    /// [`forward`](Self::forward) in a graph.
    pub(super) fn trace(&self, graph: &mut Graph, images: &Value, context: &Value) -> Value {
        let [width] = self.norm.weight.dims();
        let pixels = self.norm.trace(graph, images, None, false);
        let mut tokens = match &self.proj_in {
            Projection::Pixels(conv) => {
                let pixels = conv.trace(graph, &pixels);
                trace_tokens(graph, &pixels, width)
            }
            Projection::Tokens(matrix) => {
                let tokens = trace_tokens(graph, &pixels, width);
                matrix.trace_tokens(graph, &tokens)
            }
        };
        for block in &self.transformer_blocks {
            tokens = block.trace(graph, &tokens, context);
        }
        let pixels = |graph: &mut Graph, tokens: &Value| {
            let planes = graph.transpose(tokens, &[0, 2, 1]);
            graph.reshape_like(&planes, images)
        };
        let answer = match &self.proj_out {
            Projection::Pixels(conv) => {
                let pixels = pixels(graph, &tokens);
                conv.trace(graph, &pixels)
            }
            Projection::Tokens(matrix) => {
                let tokens = matrix.trace_tokens(graph, &tokens);
                pixels(graph, &tokens)
            }
        };
        graph.add(images, &answer)
    }
}

impl TransformerBlock {
    fn new(width: usize, heads: usize, context: usize, site: &Site<'_>) -> Self {
        let norm = |name| LayerNorm::new(width, LAYER_EPSILON, &site.at(name));
        Self {
            // In the order of official files, which is not that of the fields.
            attn1: Attention::new(width, width, heads, &site.at("attn1")),
            attn2: Attention::new(width, context, heads, &site.at("attn2")),
            ff: FeedForward {
                gated: Linear::new(width, 8 * width, &site.at("ff.net.0.proj")),
                narrow: Linear::new(4 * width, width, &site.at("ff.net.2")),
            },
            norm1: norm("norm1"),
            norm2: norm("norm2"),
            norm3: norm("norm3"),
        }
    }

    fn forward(&self, tokens: Tensor<3>, context: &Tensor<3>) -> Tensor<3> {
        let own = self.norm1.forward(tokens.clone());
        let tokens = tokens + self.attn1.forward(own.clone(), own);
        let query = self.norm2.forward(tokens.clone());
        let tokens = tokens + self.attn2.forward(query, context.clone());
        let wide = self.norm3.forward(tokens.clone());
        tokens + self.ff.forward(wide)
    }

    /// [`forward`](Self::forward) in a graph.
    fn trace(&self, graph: &mut Graph, tokens: &Value, context: &Value) -> Value {
        let own = self.norm1.trace(graph, tokens);
        let more = self.attn1.trace(graph, &own, &own);
        let tokens = graph.add(tokens, &more);
        let query = self.norm2.trace(graph, &tokens);
        let more = self.attn2.trace(graph, &query, context);
        let tokens = graph.add(&tokens, &more);
        let wide = self.norm3.trace(graph, &tokens);
        let more = self.ff.trace(graph, &wide);
        graph.add(&tokens, &more)
    }
}

impl Attention {
    fn new(width: usize, context: usize, heads: usize, site: &Site<'_>) -> Self {
        let site = &site.attention();
        let from = |input, name| Linear::without_bias(input, width, &site.at(name));
        Self {
            to_q: from(width, "to_q"),
            to_k: from(context, "to_k"),
            to_v: from(context, "to_v"),
            to_out: Linear::new(width, width, &site.at("to_out.0")),
            heads,
        }
    }

    /// `tokens` `[b, n, width]` look at `from` `[b, m, context]`.
    fn forward(&self, tokens: Tensor<3>, from: Tensor<3>) -> Tensor<3> {
        let [b, n, width] = tokens.dims();
        let heads = |tokens: Tensor<3>| {
            let [b, n, _] = tokens.dims();
            let each = tokens.reshape([b, n, self.heads, width / self.heads]);
            each.swap_dims(1, 2)
        };
        let query = heads(self.to_q.forward_tokens(tokens));
        let key = heads(self.to_k.forward_tokens(from.clone()));
        let value = heads(self.to_v.forward_tokens(from));
        let mixed = kernels::attention(query, key, value, true);
        let mixed = mixed.swap_dims(1, 2).reshape([b, n, width]);
        self.to_out.forward_tokens(mixed)
    }

    /// [`forward`](Self::forward) in a graph.
    fn trace(&self, graph: &mut Graph, tokens: &Value, from: &Value) -> Value {
        let [width, _] = self.to_out.weight.dims();
        let own = width / self.heads;
        let mut heads = |layer: &Linear, tokens: &Value, order: [i64; 4]| {
            let answer = layer.trace_tokens(graph, tokens);
            let each = graph.reshape(&answer, &[0, 0, self.heads as i64, own as i64]);
            graph.transpose(&each, &order)
        };
        let query = heads(&self.to_q, tokens, [0, 2, 1, 3]);
        let key = heads(&self.to_k, from, [0, 2, 3, 1]);
        let value = heads(&self.to_v, from, [0, 2, 1, 3]);
        let mixed = graph.attention(&query, &key, &value, own);
        let mixed = graph.transpose(&mixed, &[0, 2, 1, 3]);
        let mixed = graph.reshape(&mixed, &[0, 0, width as i64]);
        self.to_out.trace_tokens(graph, &mixed)
    }
}

impl FeedForward {
    fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [b, n, width] = tokens.dims();
        let both = self.gated.forward(tokens.reshape([b * n, width]));
        let narrow = self.narrow.forward(kernels::gated_gelu(both));
        narrow.reshape([b, n, width])
    }

    /// [`forward`](Self::forward) in a graph.
    fn trace(&self, graph: &mut Graph, tokens: &Value) -> Value {
        let [_, wide] = self.narrow.weight.dims();
        let both = self.gated.trace_tokens(graph, tokens);
        let parts = graph.split(&both, 2, wide, 2);
        let gate = graph.gelu(&parts[1], false);
        let gated = graph.mul(&parts[0], &gate);
        self.narrow.trace_tokens(graph, &gated)
    }
}
