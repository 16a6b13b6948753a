//! The residual block with optional attention that all EDM networks are made of.

use super::layers::{Conv2d, Dropout, GroupNorm, Linear, Resample};
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};

/// Sizes of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockConfig {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) embedding: usize,
    pub(crate) resample: Resample,
    pub(crate) attention: bool,
    pub(crate) step_branch: bool,
    pub(crate) dropout: f64,
    pub(crate) epsilon: f64,
}

/// Residual block: norm, SiLU, convolution, embedding added, norm, SiLU, dropout, convolution; then attention.
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
}

/// Self-attention over pixels with one head.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    norm2: GroupNorm,
    qkv: Conv2d,
    proj: Conv2d,
}

/// Both branches are summed and scaled, which keeps the variance at 1.
const SKIP_SCALE: f64 = std::f64::consts::FRAC_1_SQRT_2;

impl UNetBlock {
    pub(crate) fn new(config: BlockConfig, device: &Device) -> Self {
        let BlockConfig {
            input,
            output,
            resample,
            epsilon,
            ..
        } = config;
        let conv = |from, to, kernel, resample| Conv2d::new(from, to, kernel, resample, device);
        let needs_skip = input != output || resample != Resample::Keep;
        Self {
            norm0: GroupNorm::new(input, epsilon, device),
            conv0: conv(input, output, 3, resample),
            affine: Linear::new(config.embedding, output, true, device),
            norm1: GroupNorm::new(output, epsilon, device),
            conv1: conv(output, output, 3, Resample::Keep),
            affine_step: config
                .step_branch
                .then(|| Linear::new(config.embedding, output, true, device)),
            skip: needs_skip.then(|| conv(input, output, 1, resample)),
            attention: config.attention.then(|| Attention {
                norm2: GroupNorm::new(output, epsilon, device),
                qkv: conv(output, 3 * output, 1, Resample::Keep),
                proj: conv(output, output, 1, Resample::Keep),
            }),
            resample,
            dropout: config.dropout,
        }
    }

    /// `images` `[b, in, h, w]`, embeddings `[b or 1, embedding]` (already through SiLU).
    pub(crate) fn forward(
        &self,
        images: Tensor<4>,
        embedding: &Tensor<2>,
        step_embedding: Option<&Tensor<2>>,
        dropout: Option<&Dropout>,
    ) -> Tensor<4> {
        let mut shift = self.affine.forward(embedding.clone());
        if let (Some(layer), Some(step)) = (&self.affine_step, step_embedding) {
            shift = shift + layer.forward(step.clone());
        }
        let hidden = self.norm0.forward(images.clone(), None, true);
        let hidden = self.conv0.forward(hidden);
        let mut hidden = self.norm1.forward(hidden, Some(shift), true);
        if let Some(dropout) = dropout {
            hidden = dropout.apply(hidden, self.dropout);
        }
        let hidden = self.conv1.forward(hidden);
        let skip = match &self.skip {
            Some(skip) => skip.forward(images),
            None => images,
        };
        let hidden = (hidden + skip).mul_scalar(SKIP_SCALE);
        match &self.attention {
            Some(attention) => attention.forward(hidden),
            None => hidden,
        }
    }
}

impl Attention {
    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = images.dims();
        let dtype = images.dtype();
        let tokens = self.norm2.forward(images.clone(), None, false);
        // Output channels are ordered channel -> {q, k, v}. Reordering the small weight to {q, k, v} -> channel
        // makes each a contiguous slice of the large result.
        let weight = self.qkv.weight.val().cast(dtype).reshape([c, 3, c]);
        let weight = weight.swap_dims(0, 1).reshape([3 * c, c, 1, 1]);
        let bias = self.qkv.bias.val().cast(dtype).reshape([c, 3]);
        let bias = bias.swap_dims(0, 1).reshape([3 * c]);
        let qkv = fewstep_kernels::conv2d_1x1(tokens, weight, Some(bias));
        let qkv = qkv.reshape([b, 3 * c, h * w]);
        let part = |i: usize| qkv.clone().slice([0..b, i * c..(i + 1) * c, 0..h * w]);
        let (query, key, value) = (part(0), part(1), part(2));
        let scores = query.swap_dims(1, 2).matmul(key);
        let scores = scores.mul_scalar(1.0 / (c as f64).sqrt());
        let weights = activation::softmax(scores.cast(burn::tensor::DType::F32), 2).cast(dtype);
        let mixed = value.matmul(weights.swap_dims(1, 2));
        let mixed = self.proj.forward(mixed.reshape([b, c, h, w]));
        (mixed + images).mul_scalar(SKIP_SCALE)
    }
}

/// The parameters whose initial value is zero, so that every block starts as the identity up to scale.
pub(crate) fn starts_at_zero(official_name: &str) -> bool {
    [".conv1.weight", ".proj.weight", "_aux_conv.weight"]
        .iter()
        .any(|end| official_name.ends_with(end))
}

/// Parameter paths inside a block that differ from the official names.
pub(crate) fn official_block_path(path: &str) -> String {
    path.replace("attention.", "")
}
