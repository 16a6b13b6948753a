//! Residual blocks of latent U-Nets, and their convolution that halves.

use super::config::{EPSILON, GROUPS, LatentUNetConfig};
use crate::graph::{Graph, Value};
use crate::layer::{Conv2d, GroupNorm, Linear, Resample};
use crate::network::inputs::Told;
use crate::network::trace::TracedTold;
use crate::parameter::Site;
use burn::module::Module;
use burn::tensor::Tensor;

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
        site: &Site<'_>,
    ) -> Self {
        let norm = |width, site: &Site<'_>| GroupNorm::with_groups(width, GROUPS, EPSILON, site);
        let conv =
            |from, taps, site: &Site<'_>| Conv2d::new(from, output, taps, Resample::Keep, site);
        let shift = |site: &Site<'_>| Linear::new(config.embedding(), output, site);
        let time = site.at("emb_layers.1");
        Self {
            in_norm: norm(input, &site.at("in_layers.0")),
            in_conv: conv(input, 3, &site.at("in_layers.2")),
            time: shift(&time),
            out_norm: norm(output, &site.at("out_layers.0")),
            out_conv: conv(output, 3, &site.at("out_layers.3").zero()),
            step: config
                .step_branch
                .then(|| shift(&site.at("emb_nfe_layers.1").tells(&time))),
            skip_connection: (input != output).then(|| conv(input, 1, &site.at("skip_connection"))),
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

    /// [`forward`](Self::forward) in a graph.
    pub(super) fn trace(&self, graph: &mut Graph, images: &Value, told: &TracedTold) -> Value {
        let mut shift = self.time.trace(graph, &told.time);
        if let (Some(layer), Some(step)) = (&self.step, &told.step) {
            let more = layer.trace(graph, step);
            shift = graph.add(&shift, &more);
        }
        let hidden = self.in_norm.trace(graph, images, None, true);
        let hidden = self.in_conv.trace(graph, &hidden);
        let hidden = self.out_norm.trace(graph, &hidden, Some(&shift), true);
        let hidden = self.out_conv.trace(graph, &hidden);
        let skip = match &self.skip_connection {
            Some(skip) => skip.trace(graph, images),
            None => images.clone(),
        };
        graph.add(&hidden, &skip)
    }
}

/// A 3x3 convolution of stride 2 with padding on all sides.
#[derive(Module, Debug)]
pub(super) struct Downsample {
    op: Conv2d,
}

impl Downsample {
    pub(super) fn new(width: usize, site: &Site<'_>) -> Self {
        Self {
            op: Conv2d::new(width, width, 3, Resample::Keep, &site.at("op")),
        }
    }

    /// `[b, c, h, w]` to `[b, c, h / 2, w / 2]`.
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        self.op.forward_strided(images, 2, 1)
    }

    /// [`forward`](Self::forward) in a graph.
    pub(super) fn trace(&self, graph: &mut Graph, images: &Value) -> Value {
        self.op.trace_strided(graph, images, 2, 1)
    }
}
