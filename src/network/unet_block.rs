//! The residual block with optional attention that all EDM networks are made of.

use super::layers::{Conv2d, Dropout, GroupNorm, Linear};
use super::resample::Resample;
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};

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
///
/// Field names are the official parameter names.
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
    pub(crate) fn new(config: BlockConfig, device: &Device) -> Self {
        let BlockConfig {
            input,
            output,
            resample,
            heads,
            style,
            ..
        } = config;
        let epsilon = style.epsilon;
        let conv = |from, to, kernel, resample| Conv2d::new(from, to, kernel, resample, device);
        let width = if style.adaptive_scale { 2 } else { 1 } * output;
        let affine = || Linear::new(config.embedding, width, true, device);
        Self {
            norm0: GroupNorm::new(input, epsilon, device),
            conv0: conv(input, output, 3, resample),
            affine: affine(),
            norm1: GroupNorm::new(output, epsilon, device),
            conv1: conv(output, output, 3, Resample::Keep),
            affine_step: config.step_branch.then(affine),
            skip: config
                .skip_weights
                .then(|| conv(input, output, 1, resample)),
            attention: (heads > 0).then(|| Attention {
                norm2: GroupNorm::new(output, epsilon, device),
                qkv: conv(output, 3 * output, 1, Resample::Keep),
                proj: conv(output, output, 1, Resample::Keep),
                heads,
                skip_scale: style.skip_scale,
            }),
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

impl Attention {
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
        let qkv = fewstep_kernels::conv2d_1x1(tokens, weight, Some(bias));
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
}

/// Parameter paths inside a block that differ from the official names.
pub(crate) fn official_block_path(path: &str) -> String {
    path.replace("attention.", "")
}
