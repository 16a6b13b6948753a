//! Normalisation over groups of channels, and of tokens. Parameters are cast to the activation's type.

use crate::graph::{Graph, Value};
use crate::parameter::Site;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module::layer_norm;
use fewstep_kernels as kernels;

/// Group normalisation, with an optional SiLU.
#[derive(Module, Debug)]
pub(crate) struct GroupNorm {
    pub(crate) weight: Param<Tensor<1>>,
    pub(crate) bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    pub(crate) epsilon: f64,
}

impl GroupNorm {
    /// Over min(32, channels / 4) groups.
    pub(crate) fn new(channels: usize, epsilon: f64, site: &Site<'_>) -> Self {
        Self::with_groups(channels, groups(channels), epsilon, site)
    }

    pub(crate) fn with_groups(
        channels: usize,
        groups: usize,
        epsilon: f64,
        site: &Site<'_>,
    ) -> Self {
        let (weight, bias) = site.norm(channels);
        Self {
            weight,
            bias,
            groups,
            epsilon,
        }
    }

    /// Normalises `images + shift`, then SiLU if asked. `shift` is `[b or 1, c]`.
    pub(crate) fn forward(
        &self,
        images: Tensor<4>,
        shift: Option<Tensor<2>>,
        silu: bool,
    ) -> Tensor<4> {
        let [b, c, _, _] = images.dims();
        let dtype = images.dtype();
        kernels::group_norm_silu(
            images,
            shift.map(|shift| shift.expand([b, c])),
            self.weight.val().cast(dtype),
            self.bias.val().cast(dtype),
            self.groups,
            self.epsilon,
            silu,
        )
    }

    /// SiLU of the normalised `images` times `gain` plus `offset`, both `[b or 1, c]`.
    pub(crate) fn forward_modulated(
        &self,
        images: Tensor<4>,
        gain: Tensor<2>,
        offset: Tensor<2>,
    ) -> Tensor<4> {
        let [b, c, h, w] = images.dims();
        let dtype = images.dtype();
        let weight = gain.clone() * self.weight.val().cast(dtype).unsqueeze();
        let bias = gain * self.bias.val().cast(dtype).unsqueeze() + offset;
        // Samples do not share groups, so that all of them are as one with weights of their own for each channel.
        let flat = |rows: Tensor<2>| rows.expand([b, c]).reshape([b * c]);
        let images = kernels::group_norm_silu(
            images.reshape([1, b * c, h, w]),
            None,
            flat(weight),
            flat(bias),
            b * self.groups,
            self.epsilon,
            true,
        );
        images.reshape([b, c, h, w])
    }

    /// [`forward`](Self::forward) in a graph.
    pub(crate) fn trace(
        &self,
        graph: &mut Graph,
        images: &Value,
        shift: Option<&Value>,
        silu: bool,
    ) -> Value {
        let shifted = shift.map(|shift| {
            let shift = graph.unsqueeze(shift, &[2, 3]);
            graph.add(images, &shift)
        });
        let normal = graph.normal(
            shifted.as_ref().unwrap_or(images),
            self.groups,
            self.epsilon,
        );
        let [weight, bias] = self.traced(graph);
        let scaled = graph.mul(&normal, &weight);
        let answer = graph.add(&scaled, &bias);
        match silu {
            true => graph.silu(&answer),
            false => answer,
        }
    }

    /// [`forward_modulated`](Self::forward_modulated) in a graph.
    pub(crate) fn trace_modulated(
        &self,
        graph: &mut Graph,
        images: &Value,
        gain: &Value,
        offset: &Value,
    ) -> Value {
        let normal = graph.normal(images, self.groups, self.epsilon);
        let [weight, bias] = self.traced(graph);
        let scaled = graph.mul(&normal, &weight);
        let plain = graph.add(&scaled, &bias);
        let [gain, offset] = [gain, offset].map(|rows| graph.unsqueeze(rows, &[2, 3]));
        let scaled = graph.mul(&plain, &gain);
        let answer = graph.add(&scaled, &offset);
        graph.silu(&answer)
    }

    /// Weight and bias, `[c, 1, 1]`.
    fn traced(&self, graph: &mut Graph) -> [Value; 2] {
        let [channels] = self.weight.dims();
        [&self.weight, &self.bias].map(|param| graph.weight(param, &[channels, 1, 1]))
    }
}

/// Groups of a norm over `channels`.
pub(crate) fn groups(channels: usize) -> usize {
    (channels / 4).clamp(1, 32)
}

/// Normalisation of each token.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    pub(crate) weight: Param<Tensor<1>>,
    pub(crate) bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    pub(crate) fn new(width: usize, epsilon: f64, site: &Site<'_>) -> Self {
        let (weight, bias) = site.norm(width);
        Self {
            weight,
            bias,
            epsilon,
        }
    }

    /// Keeps the shape `[b, tokens, width]`.
    pub(crate) fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let dtype = tokens.dtype();
        let (weight, bias) = (self.weight.val().cast(dtype), self.bias.val().cast(dtype));
        layer_norm(tokens, weight, Some(bias), self.epsilon)
    }

    /// As [`forward`](Self::forward), in single operations, whose sums round otherwise.
    pub(crate) fn forward_plain(&self, tokens: Tensor<3>) -> Tensor<3> {
        let (variance, mean) = tokens.clone().var_mean_bias(2);
        let normal = (tokens - mean) / (variance + self.epsilon).sqrt();
        normal * self.weight.val().unsqueeze() + self.bias.val().unsqueeze()
    }

    /// [`forward`](Self::forward) in a graph.
    pub(crate) fn trace(&self, graph: &mut Graph, tokens: &Value) -> Value {
        let [weight, bias] =
            [&self.weight, &self.bias].map(|param| graph.weight(param, &param.dims()));
        graph.layer_norm(tokens, &weight, Some(&bias), self.epsilon)
    }
}
