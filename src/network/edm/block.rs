//! The residual block with optional attention that all EDM networks are made of.

use crate::graph::{Graph, Value};
use crate::layer::{Conv2d, Dropout, GroupNorm, Linear, Resample, added, beside};
use crate::network::trace::TracedTold;
use crate::parameter::Site;
use burn::module::Module;
use burn::tensor::{DType, Tensor, activation};

/// What all blocks of a family of networks share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockStyle {
    /// Epsilon of every group norm.
    pub(crate) epsilon: f64,
    /// What the sum of a branch and its shortcut is multiplied by.
    pub(crate) skip_scale: f64,
    /// Whether the embedding scales and shifts after the second norm; otherwise it shifts before.
    pub(crate) adaptive_scale: bool,
}

/// Sizes of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockConfig {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) embedding: usize,
    pub(crate) resample: Resample,
    /// Attention heads; 0 for a block without attention.
    pub(crate) heads: usize,
    /// Whether the shortcut has weights; it resamples in any case.
    pub(crate) skip_weights: bool,
    pub(crate) step_branch: bool,
    pub(crate) dropout: f64,
    pub(crate) style: BlockStyle,
}

/// Residual block: norm, SiLU, convolution, second norm with the embedding, SiLU, dropout, convolution; then attention.
#[derive(Module, Debug)]
pub(crate) struct UNetBlock {
    norm0: GroupNorm,
    conv0: Conv2d,
    affine: Linear,
    norm1: GroupNorm,
    conv1: Conv2d,
    affine_step: Option<Linear>,
    skip: Option<Conv2d>,
    attention: Option<Attention>,
    #[module(skip)]
    resample: Resample,
    #[module(skip)]
    dropout: f64,
    #[module(skip)]
    style: BlockStyle,
}

/// Self-attention over pixels.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    norm2: GroupNorm,
    qkv: Conv2d,
    proj: Conv2d,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    skip_scale: f64,
}

impl UNetBlock {
    pub(crate) fn new(config: BlockConfig, site: &Site<'_>) -> Self {
        let BlockConfig {
            input,
            output,
            resample,
            heads,
            style,
            ..
        } = config;
        let epsilon = style.epsilon;
        let width = if style.adaptive_scale { 2 } else { 1 } * output;
        let tells = |site: &Site<'_>| Linear::new(config.embedding, width, site);
        let affine = site.at("affine");
        Self {
            norm0: GroupNorm::new(input, epsilon, &site.at("norm0")),
            conv0: Conv2d::new(input, output, 3, resample, &site.at("conv0")),
            affine: tells(&affine),
            norm1: GroupNorm::new(output, epsilon, &site.at("norm1")),
            conv1: Conv2d::new(output, output, 3, Resample::Keep, &site.at("conv1").zero()),
            affine_step: config
                .step_branch
                .then(|| tells(&site.at("affine_step").tells(&affine))),
            skip: {
                let site = site.at("skip");
                let skip = || Conv2d::new(input, output, 1, resample, &site);
                config.skip_weights.then(skip)
            },
            attention: {
                note_filter(resample, site);
                let site = &site.attention();
                (heads > 0).then(|| Attention::new(output, heads, style, site))
            },
            resample,
            dropout: config.dropout,
            style,
        }
    }

    /// Whether the output is half as large as the input.
    pub(crate) fn halves(&self) -> bool {
        matches!(self.resample, Resample::Down(_))
    }

    /// `images` `[b, in, h, w]`, embeddings `[b or 1, embedding]` (already through SiLU); with the first, whether each
    /// sample has a row of its own.
    pub(crate) fn forward(
        &self,
        images: Tensor<4>,
        (embedding, each): (&Tensor<2>, bool),
        step_embedding: Option<&Tensor<2>>,
        dropout: Option<&Dropout>,
    ) -> Tensor<4> {
        let told = self.affine.forward_rows(embedding.clone(), each);
        let step = self.affine_step.as_ref().zip(step_embedding);
        let step = step.map(|(layer, step)| layer.forward(step.clone()));
        let hidden = self.norm0.forward(images.clone(), None, true);
        let hidden = self.conv0.forward(hidden);
        let mut hidden = if self.style.adaptive_scale {
            let (gain, offset) = modulation(told, step);
            self.norm1.forward_modulated(hidden, gain, offset)
        } else {
            let shift = match step {
                Some(step) => told + step,
                None => told,
            };
            self.norm1.forward(hidden, Some(shift), true)
        };
        if let Some(dropout) = dropout {
            hidden = dropout.apply(hidden, self.dropout);
        }
        let hidden = self.conv1.forward(hidden);
        let skip = match &self.skip {
            Some(skip) => skip.forward(images),
            None => self.resample.apply(images),
        };
        let hidden = fewstep_kernels::add_scaled(hidden, skip, self.style.skip_scale);
        match &self.attention {
            Some(attention) => attention.forward(hidden),
            None => hidden,
        }
    }

    /// [`forward`](Self::forward) in a graph.
    pub(crate) fn trace(&self, graph: &mut Graph, images: &Value, told: &TracedTold) -> Value {
        let row = self.affine.trace(graph, &told.time);
        let step = self.affine_step.as_ref().zip(told.step.as_ref());
        let step = step.map(|(layer, step)| layer.trace(graph, step));
        let hidden = self.norm0.trace(graph, images, None, true);
        let hidden = self.conv0.trace(graph, &hidden);
        let hidden = if self.style.adaptive_scale {
            let (gain, offset) = trace_modulation(graph, &row, step.as_ref(), self.width());
            self.norm1.trace_modulated(graph, &hidden, &gain, &offset)
        } else {
            let shift = match step {
                Some(step) => graph.add(&row, &step),
                None => row,
            };
            self.norm1.trace(graph, &hidden, Some(&shift), true)
        };
        let hidden = self.conv1.trace(graph, &hidden);
        let skip = match &self.skip {
            Some(skip) => skip.trace(graph, images),
            None => self.resample.trace(graph, images, self.width()),
        };
        let hidden = trace_sum(graph, &hidden, &skip, self.style.skip_scale);
        match &self.attention {
            Some(attention) => attention.trace(graph, &hidden),
            None => hidden,
        }
    }

    /// Channels of the answer.
    fn width(&self) -> usize {
        self.conv1.weight.dims()[0]
    }
}

/// The sum, times a number.
fn trace_sum(graph: &mut Graph, a: &Value, b: &Value, scale: f64) -> Value {
    let sum = graph.add(a, b);
    match scale {
        1.0 => sum,
        _ => graph.scale(&sum, scale),
    }
}

/// Notes the constants that official files hold in a block that halves or doubles, whether or not its shortcut has
/// weights.
fn note_filter(resample: Resample, site: &Site<'_>) {
    if let Resample::Up(filter) | Resample::Down(filter) = resample {
        filter.note(&site.at("conv0"));
        filter.note(&site.at("skip"));
    }
}

/// Gain and offset, `[b or 1, c]` each, of scales and shifts `[b or 1, 2 c]`: x goes to x (1 + scale) + shift, and from
/// there likewise with those of the step condition.
fn modulation(told: Tensor<2>, step: Option<Tensor<2>>) -> (Tensor<2>, Tensor<2>) {
    let halves = |both: Tensor<2>| {
        let [rows, columns] = both.dims();
        let (scale, shift) = (0..columns / 2, columns / 2..columns);
        let gain = both.clone().slice([0..rows, scale]).add_scalar(1.0);
        (gain, both.slice([0..rows, shift]))
    };
    let (gain, offset) = halves(told);
    let Some(step) = step else {
        return (gain, offset);
    };
    let (gain_step, offset_step) = halves(step);
    (gain * gain_step.clone(), offset * gain_step + offset_step)
}

/// [`modulation`] in a graph.
fn trace_modulation(
    graph: &mut Graph,
    told: &Value,
    step: Option<&Value>,
    width: usize,
) -> (Value, Value) {
    let halves = |graph: &mut Graph, both: &Value| {
        let halves = graph.split(both, 1, width, 2);
        (graph.shift(&halves[0], 1.0), halves[1].clone())
    };
    let (gain, offset) = halves(graph, told);
    let Some(step) = step else {
        return (gain, offset);
    };
    let (gain_step, offset_step) = halves(graph, step);
    let offset = graph.mul(&offset, &gain_step);
    (
        graph.mul(&gain, &gain_step),
        graph.add(&offset, &offset_step),
    )
}

impl Attention {
    /// Its names are those of the block that it ends.
    fn new(width: usize, heads: usize, style: BlockStyle, site: &Site<'_>) -> Self {
        let conv = |output, site: &Site<'_>| Conv2d::new(width, output, 1, Resample::Keep, site);
        Self {
            norm2: GroupNorm::new(width, style.epsilon, &site.at("norm2")),
            qkv: conv(3 * width, &site.at("qkv")),
            proj: conv(width, &site.at("proj").zero()),
            heads,
            skip_scale: style.skip_scale,
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = images.dims();
        let (heads, width) = (self.heads, c / self.heads);
        let dtype = images.dtype();
        let tokens = self.norm2.forward(images.clone(), None, false);
        // Output channels are ordered head -> channel -> {q, k, v}. Reordering the small weight to {q, k, v} -> head ->
        // channel makes each a contiguous slice of the large result.
        let weight = fewstep_kernels::cast(self.qkv.weight.val(), dtype);
        let weight = weight.reshape([heads, width, 3, c]).permute([2, 0, 1, 3]);
        let bias = self.qkv.bias.val().cast(dtype);
        let bias = bias.reshape([heads, width, 3]).permute([2, 0, 1]);
        let (weight, bias) = (weight.reshape([3 * c, c, 1, 1]), bias.reshape([3 * c]));
        let low_rank = self.qkv.low_rank.as_ref();
        let (tokens, more) = beside(low_rank, tokens, |low_rank, tokens| {
            low_rank.forward_ordered(tokens, |up| {
                let rank = up.dims()[1];
                let up = up.reshape([heads, width, 3, rank]).permute([2, 0, 1, 3]);
                up.reshape([3 * c, rank, 1, 1])
            })
        });
        let qkv = fewstep_kernels::conv2d_1x1(tokens, weight, Some(bias));
        let qkv = added(qkv, more);
        let qkv = qkv.reshape([b, 3 * heads, width, h * w]);
        let mixed = match dtype {
            DType::F32 => fewstep_kernels::self_attention(qkv),
            // Of numbers in half precision the softmax is taken in f32.
            _ => {
                let part = |i: usize| qkv.clone().narrow(1, i * heads, heads);
                let (query, key, value) = (part(0), part(1), part(2));
                let scores = query.swap_dims(2, 3).matmul(key);
                let scores = scores.mul_scalar(1.0 / (width as f64).sqrt());
                let weights = activation::softmax(scores.cast(DType::F32), 3).cast(dtype);
                value.matmul(weights.swap_dims(2, 3))
            }
        };
        let mixed = self.proj.forward(mixed.reshape([b, c, h, w]));
        fewstep_kernels::add_scaled(mixed, images, self.skip_scale)
    }

    /// [`forward`](Self::forward) in a graph.
    fn trace(&self, graph: &mut Graph, images: &Value) -> Value {
        let [channels, _, _, _] = self.proj.weight.dims();
        let (heads, width) = (self.heads as i64, channels / self.heads);
        let normal = self.norm2.trace(graph, images, None, false);
        let qkv = self.qkv.trace(graph, &normal);
        // Channels are ordered head -> channel -> {q, k, v}.
        let qkv = graph.reshape(&qkv, &[0, channels as i64, 3, -1]);
        let parts = graph.split(&qkv, 2, 1, 3);
        let part =
            |part: &Value, graph: &mut Graph| graph.reshape(part, &[0, heads, width as i64, -1]);
        let [query, key, value] = [0, 1, 2].map(|i| part(&parts[i], graph));
        let [query, value] = [query, value].map(|part| graph.transpose(&part, &[0, 1, 3, 2]));
        let mixed = graph.attention(&query, &key, &value, width);
        let mixed = graph.transpose(&mixed, &[0, 1, 3, 2]);
        let mixed = graph.reshape_like(&mixed, images);
        let mixed = self.proj.trace(graph, &mixed);
        trace_sum(graph, &mixed, images, self.skip_scale)
    }
}
