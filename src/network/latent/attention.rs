//! Self-attention over pixels, as unconditional latent U-Nets have it.

use super::config::{EPSILON, GROUPS};
use crate::graph::{Graph, Value};
use crate::layer::{GroupNorm, LowRankConv, added, beside};
use crate::parameter::Site;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use fewstep_kernels as kernels;

/// Attention heads over pixels.
#[derive(Module, Debug)]
pub(super) struct PixelAttention {
    norm: GroupNorm,
    qkv: Pointwise,
    proj_out: Pointwise,
    #[module(skip)]
    heads: usize,
}

/// A 1x1 convolution whose weight is stored for images in one row, `[out, in, 1]`.
#[derive(Module, Debug)]
struct Pointwise {
    weight: Param<Tensor<3>>,
    bias: Param<Tensor<1>>,
    low_rank: Option<LowRankConv>,
}

impl Pointwise {
    fn new(input: usize, output: usize, site: &Site<'_>) -> Self {
        Self {
            weight: site.weight([output, input, 1]),
            bias: site.bias(output, input),
            low_rank: LowRankConv::new(input, output, 1, site),
        }
    }

    /// `[b, in, h, w]` to `[b, out, h, w]`.
    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let dtype = images.dtype();
        let (images, more) = beside(self.low_rank.as_ref(), images, LowRankConv::forward);
        let [output, input, _] = self.weight.dims();
        let weight = kernels::cast(self.weight.val(), dtype);
        let weight = weight.reshape([output, input, 1, 1]);
        let bias = self.bias.val().cast(dtype);
        added(kernels::conv2d_1x1(images, weight, Some(bias)), more)
    }

    /// [`forward`](Self::forward) in a graph.
    fn trace(&self, graph: &mut Graph, images: &Value) -> Value {
        let [output, input, _] = self.weight.dims();
        let weight = graph.weight(&self.weight, &[output, input, 1, 1]);
        let bias = graph.weight(&self.bias, &[output]);
        graph.conv(images, (&weight, Some(&bias)), [1, 1, 0, 1])
    }
}

impl PixelAttention {
    pub(super) fn new(width: usize, heads: usize, site: &Site<'_>) -> Self {
        let site = &site.attention();
        Self {
            norm: GroupNorm::with_groups(width, GROUPS, EPSILON, &site.at("norm")),
            qkv: Pointwise::new(width, 3 * width, &site.at("qkv")),
            proj_out: Pointwise::new(width, width, &site.at("proj_out").zero()),
            heads,
        }
    }

    /// Keeps the shape `[b, c, h, w]`.
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = images.dims();
        let (heads, width, pixels) = (self.heads, c / self.heads, h * w);
        let tokens = self.norm.forward(images.clone(), None, false);
        // Channels are ordered head -> {q, k, v} -> channel.
        let qkv = self.qkv.forward(tokens);
        let qkv = qkv.reshape([b, heads, 3 * width, pixels]);
        let part = |i: usize| qkv.clone().narrow(2, i * width, width).swap_dims(2, 3);
        let mixed = kernels::attention(part(0), part(1), part(2), false);
        let mixed = mixed.swap_dims(2, 3).reshape([b, c, h, w]);
        images + self.proj_out.forward(mixed)
    }

    /// [`forward`](Self::forward) in a graph.
    pub(super) fn trace(&self, graph: &mut Graph, images: &Value) -> Value {
        let [channels, _, _] = self.proj_out.weight.dims();
        let (heads, width) = (self.heads as i64, channels / self.heads);
        let normal = self.norm.trace(graph, images, None, false);
        let qkv = self.qkv.trace(graph, &normal);
        let qkv = graph.reshape(&qkv, &[0, heads, 3 * width as i64, -1]);
        let parts = graph.split(&qkv, 2, width, 3);
        let [query, value] = [0, 2].map(|i| graph.transpose(&parts[i], &[0, 1, 3, 2]));
        let mixed = graph.attention(&query, &parts[1], &value, width);
        let mixed = graph.transpose(&mixed, &[0, 1, 3, 2]);
        let mixed = graph.reshape_like(&mixed, images);
        let mixed = self.proj_out.trace(graph, &mixed);
        graph.add(images, &mixed)
    }
}
