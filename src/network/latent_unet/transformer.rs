//! Transformer blocks over pixels and the tokens of a text, as Stable Diffusion has them. [LDM Sec. 3.3]

use super::GROUPS;
use crate::network::layers::{Conv2d, GroupNorm, Linear};
use crate::network::resample::Resample;
use burn::module::{Module, Param};
use burn::tensor::module::layer_norm;
use burn::tensor::{Device, Tensor};
use fewstep_kernels as kernels;

/// Epsilon of the group norm here, unlike elsewhere in the network.
const EPSILON: f64 = 1e-6;

/// Epsilon of the layer norms.
const LAYER_EPSILON: f64 = 1e-5;

/// Pixels become tokens, row by row, and pixels again. Field names are the official ones.
#[derive(Module, Debug)]
pub(super) struct SpatialTransformer {
    norm: GroupNorm,
    proj_in: Conv2d,
    transformer_blocks: Vec<TransformerBlock>,
    proj_out: Conv2d,
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

#[derive(Module, Debug)]
struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl SpatialTransformer {
    /// `context` is the width of the text's tokens.
    pub(super) fn new(
        width: usize,
        heads: usize,
        context: usize,
        depth: usize,
        device: &Device,
    ) -> Self {
        let square = || Conv2d::new(width, width, 1, Resample::Keep, device);
        let block = |_| TransformerBlock {
            attn1: Attention::new(width, width, heads, device),
            ff: FeedForward {
                gated: Linear::new(width, 8 * width, true, device),
                narrow: Linear::new(4 * width, width, true, device),
            },
            attn2: Attention::new(width, context, heads, device),
            norm1: LayerNorm::new(width, device),
            norm2: LayerNorm::new(width, device),
            norm3: LayerNorm::new(width, device),
        };
        Self {
            norm: GroupNorm::with_groups(width, GROUPS, EPSILON, device),
            proj_in: square(),
            transformer_blocks: (0..depth).map(block).collect(),
            proj_out: square(),
        }
    }

    /// Keeps the shape `[b, c, h, w]`; `context` is `[b, tokens, context width]`.
    pub(super) fn forward(&self, images: Tensor<4>, context: &Tensor<3>) -> Tensor<4> {
        let [b, c, h, w] = images.dims();
        let tokens = self.norm.forward(images.clone(), None, false);
        let tokens = self.proj_in.forward(tokens);
        let mut tokens = tokens.reshape([b, c, h * w]).swap_dims(1, 2);
        for block in &self.transformer_blocks {
            tokens = block.forward(tokens, context);
        }
        let pixels = tokens.swap_dims(1, 2).reshape([b, c, h, w]);
        images + self.proj_out.forward(pixels)
    }
}

impl TransformerBlock {
    fn forward(&self, tokens: Tensor<3>, context: &Tensor<3>) -> Tensor<3> {
        let own = self.norm1.forward(tokens.clone());
        let tokens = tokens + self.attn1.forward(own.clone(), own);
        let query = self.norm2.forward(tokens.clone());
        let tokens = tokens + self.attn2.forward(query, context.clone());
        let wide = self.norm3.forward(tokens.clone());
        tokens + self.ff.forward(wide)
    }
}

impl Attention {
    fn new(width: usize, context: usize, heads: usize, device: &Device) -> Self {
        let linear = |from, bias| Linear::new(from, width, bias, device);
        Self {
            to_q: linear(width, false),
            to_k: linear(context, false),
            to_v: linear(context, false),
            to_out: linear(width, true),
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
        let query = heads(linear(&self.to_q, tokens));
        let key = heads(linear(&self.to_k, from.clone()));
        let value = heads(linear(&self.to_v, from));
        let mixed = kernels::attention(query, key, value, true);
        let mixed = mixed.swap_dims(1, 2).reshape([b, n, width]);
        linear(&self.to_out, mixed)
    }
}

impl FeedForward {
    fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [b, n, width] = tokens.dims();
        let both = self.gated.forward(tokens.reshape([b * n, width]));
        let narrow = self.narrow.forward(kernels::gated_gelu(both));
        narrow.reshape([b, n, width])
    }
}

impl LayerNorm {
    fn new(width: usize, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([width], device)),
            bias: Param::from_tensor(Tensor::zeros([width], device)),
        }
    }

    fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let dtype = tokens.dtype();
        let (weight, bias) = (self.weight.val().cast(dtype), self.bias.val().cast(dtype));
        layer_norm(tokens, weight, Some(bias), LAYER_EPSILON)
    }
}

/// `[b, n, in]` to `[b, n, out]`.
fn linear(layer: &Linear, tokens: Tensor<3>) -> Tensor<3> {
    let [b, n, width] = tokens.dims();
    let rows = layer.forward(tokens.reshape([b * n, width]));
    let width = rows.dims()[1];
    rows.reshape([b, n, width])
}
