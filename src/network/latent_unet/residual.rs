//! Residual blocks of latent U-Nets, and their convolution that halves.

use super::{EPSILON, GROUPS, LatentUNetConfig, Told};
use crate::network::layers::{Conv2d, GroupNorm, Linear};
use crate::network::resample::Resample;
use burn::module::Module;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

/// Norm, SiLU, convolution, shift by time and steps, norm, SiLU, dropout, convolution.
#[derive(Module, Debug)]
pub(super) struct Residual {
    in_norm: GroupNorm,
    in_conv: Conv2d,
    time: Linear,
    step: Option<Linear>,
    out_norm: GroupNorm,
    out_conv: Conv2d,
    skip_connection: Option<Conv2d>,
    #[module(skip)]
    dropout: f64,
}

impl Residual {
    pub(super) fn new(
        input: usize,
        output: usize,
        config: &LatentUNetConfig,
        device: &Device,
    ) -> Self {
        let norm = |width| GroupNorm::with_groups(width, GROUPS, EPSILON, device);
        let conv = |from, taps| Conv2d::new(from, output, taps, Resample::Keep, device);
        let shift = || Linear::new(config.embedding(), output, true, device);
        Self {
            in_norm: norm(input),
            in_conv: conv(input, 3),
            time: shift(),
            step: config.step_branch.then(shift),
            out_norm: norm(output),
            out_conv: conv(output, 3),
            skip_connection: (input != output).then(|| conv(input, 1)),
            dropout: config.dropout,
        }
    }

    /// `[b, in, h, w]` to `[b, out, h, w]`.
    pub(super) fn forward(&self, images: Tensor<4>, told: &Told<'_>) -> Tensor<4> {
        let mut shift = self.time.forward_rows(told.time.clone(), told.each);
        if let (Some(layer), Some(step)) = (&self.step, &told.step) {
            shift = shift + layer.forward(step.clone());
        }
        let hidden = self.in_norm.forward(images.clone(), None, true);
        let hidden = self.in_conv.forward(hidden);
        let mut hidden = self.out_norm.forward(hidden, Some(shift), true);
        if let Some(dropout) = told.dropout {
            hidden = dropout.apply(hidden, self.dropout);
        }
        let hidden = self.out_conv.forward(hidden);
        hidden
            + match &self.skip_connection {
                Some(skip) => skip.forward(images),
                None => images,
            }
    }
}

/// A 3x3 convolution of stride 2 with padding on all sides. The field's name is the official one.
#[derive(Module, Debug)]
pub(super) struct Downsample {
    op: Conv2d,
}

impl Downsample {
    pub(super) fn new(width: usize, device: &Device) -> Self {
        Self {
            op: Conv2d::new(width, width, 3, Resample::Keep, device),
        }
    }

    /// `[b, c, h, w]` to `[b, c, h / 2, w / 2]`.
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let dtype = images.dtype();
        let weight = fewstep_kernels::cast(self.op.weight.val(), dtype);
        let bias = self.op.bias.val().cast(dtype);
        let options = ConvOptions::new([2, 2], [1, 1], [1, 1], 1);
        conv2d(images, weight, Some(bias), options)
    }
}
