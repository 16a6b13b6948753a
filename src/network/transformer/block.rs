//! Blocks of a diffusion transformer, and its end. [Peebles & Xie 2023, Fig. 3]

use super::config::{EPSILON, INNER, TransformerConfig};
use crate::graph::{Graph, Value};
use crate::layer::Linear;
use crate::network::inputs::Told;
use crate::network::trace::TracedTold;
use crate::parameter::Site;
use burn::module::Module;
use burn::tensor::module::layer_norm;
use burn::tensor::{Tensor, activation};
use fewstep_kernels as kernels;

/// Attention and two layers, each after a norm that is scaled and shifted, and before a gate, by what the network is told.
/// All of that starts at zero, so that the block starts as the identity (adaLN-Zero).
#[derive(Module, Debug)]
pub(super) struct Block {
    qkv: Linear,
    proj: Linear,
    fc1: Linear,
    fc2: Linear,
    modulation: Modulation,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    dropout: f64,
}

/// A norm that is scaled and shifted, and the layer from tokens to pixels.
#[derive(Module, Debug)]
pub(super) struct Final {
    linear: Linear,
    modulation: Modulation,
}

/// Scales, shifts and gates for each number of a token, of what the network is told.
#[derive(Module, Debug)]
struct Modulation {
    told: Linear,
    step: Option<Linear>,
}

impl Modulation {
    /// `count` vectors.
    fn new(count: usize, config: &TransformerConfig, site: &Site<'_>) -> Self {
        let width = config.width;
        let told = site.at("adaLN_modulation.1").zero();
        let step = site.at("adaLN_step.1").tells(&told);
        Self {
            told: Linear::new(width, count * width, &told),
            step: config
                .step_branch
                .then(|| Linear::new(width, count * width, &step)),
        }
    }

    /// `N` vectors, `[b or 1, 1, width]` each.
    fn forward<const N: usize>(&self, told: &Told<'_>) -> [Tensor<3>; N] {
        let mut all = self.told.forward_rows(told.time.clone(), told.each);
        if let (Some(layer), Some(step)) = (&self.step, &told.step) {
            all = all + layer.forward(step.clone());
        }
        let [rows, columns] = all.dims();
        let width = columns / N;
        let part = |i| {
            let columns = i * width..(i + 1) * width;
            all.clone()
                .slice([0..rows, columns])
                .reshape([rows, 1, width])
        };
        std::array::from_fn(part)
    }

    /// [`forward`](Self::forward) in a graph.
    fn trace<const N: usize>(&self, graph: &mut Graph, told: &TracedTold) -> [Value; N] {
        let mut all = self.told.trace(graph, &told.time);
        if let (Some(layer), Some(step)) = (&self.step, &told.step) {
            let more = layer.trace(graph, step);
            all = graph.add(&all, &more);
        }
        let all = graph.unsqueeze(&all, &[1]);
        let width = self.told.weight.dims()[0] / N;
        let parts = graph.split(&all, 2, width, N);
        std::array::from_fn(|i| parts[i].clone())
    }
}

/// The norm of each token, which has no weights of its own, times 1 + `scale` plus `shift`.
fn modulated(tokens: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
    let [_, _, width] = tokens.dims();
    let ones = Tensor::ones([width], (&tokens.device(), tokens.dtype()));
    layer_norm(tokens, ones, None, EPSILON) * scale.add_scalar(1.0) + shift
}

/// [`modulated`] in a graph.
fn trace_modulated(
    graph: &mut Graph,
    tokens: &Value,
    [shift, scale]: [&Value; 2],
    width: usize,
) -> Value {
    let ones = graph.floats(&[width], &vec![1.0; width]);
    let normal = graph.layer_norm(tokens, &ones, None, EPSILON);
    let scale = graph.shift(scale, 1.0);
    let scaled = graph.mul(&normal, &scale);
    graph.add(&scaled, shift)
}

impl Block {
    pub(super) fn new(config: &TransformerConfig, site: &Site<'_>) -> Self {
        let (width, inner) = (config.width, INNER * config.width);
        let attention = site.at("attn").attention();
        Self {
            qkv: Linear::new(width, 3 * width, &attention.at("qkv")),
            proj: Linear::new(width, width, &attention.at("proj")),
            fc1: Linear::new(width, inner, &site.at("mlp.fc1")),
            fc2: Linear::new(inner, width, &site.at("mlp.fc2")),
            modulation: Modulation::new(6, config, site),
            heads: config.heads,
            dropout: config.dropout,
        }
    }

    /// Keeps the shape `[b, tokens, width]`.
    pub(super) fn forward(&self, tokens: Tensor<3>, told: &Told<'_>) -> Tensor<3> {
        let [shift, scale, gate, shift_inner, scale_inner, gate_inner] =
            self.modulation.forward(told);
        let seen = modulated(tokens.clone(), shift, scale);
        let tokens = tokens + gate * self.attend(seen);
        let seen = modulated(tokens.clone(), shift_inner, scale_inner);
        let mut inner = activation::gelu_approximate(self.fc1.forward_tokens(seen));
        if let Some(dropout) = told.dropout {
            inner = dropout
                .apply(inner.unsqueeze_dim(1), self.dropout)
                .squeeze_dim(1);
        }
        tokens + gate_inner * self.fc2.forward_tokens(inner)
    }

    /// [`forward`](Self::forward) in a graph.
    pub(super) fn trace(&self, graph: &mut Graph, tokens: &Value, told: &TracedTold) -> Value {
        let [width, _] = self.proj.weight.dims();
        let [shift, scale, gate, shift_inner, scale_inner, gate_inner] =
            self.modulation.trace(graph, told);
        let seen = trace_modulated(graph, tokens, [&shift, &scale], width);
        let mixed = self.trace_attention(graph, &seen, width);
        let mixed = graph.mul(&gate, &mixed);
        let tokens = graph.add(tokens, &mixed);
        let seen = trace_modulated(graph, &tokens, [&shift_inner, &scale_inner], width);
        let inner = self.fc1.trace_tokens(graph, &seen);
        let inner = graph.gelu(&inner, true);
        let inner = self.fc2.trace_tokens(graph, &inner);
        let inner = graph.mul(&gate_inner, &inner);
        graph.add(&tokens, &inner)
    }

    /// [`attend`](Self::attend) in a graph.
    fn trace_attention(&self, graph: &mut Graph, tokens: &Value, width: usize) -> Value {
        let (heads, own) = (self.heads, width / self.heads);
        let all = self.qkv.trace_tokens(graph, tokens);
        let all = graph.reshape(&all, &[0, 0, 3 * heads as i64, own as i64]);
        let parts = graph.split(&all, 2, heads, 3);
        let [query, value] = [0, 2].map(|i| graph.transpose(&parts[i], &[0, 2, 1, 3]));
        let key = graph.transpose(&parts[1], &[0, 2, 3, 1]);
        let mixed = graph.attention(&query, &key, &value, own);
        let mixed = graph.transpose(&mixed, &[0, 2, 1, 3]);
        let mixed = graph.reshape(&mixed, &[0, 0, width as i64]);
        self.proj.trace_tokens(graph, &mixed)
    }

    /// Every token looks at all.
    fn attend(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [b, n, width] = tokens.dims();
        let all = self.qkv.forward_tokens(tokens);
        let all = all.reshape([b, n, 3 * self.heads, width / self.heads]);
        let all = all.swap_dims(1, 2);
        let part = |i: usize| all.clone().narrow(1, i * self.heads, self.heads);
        let mixed = kernels::attention(part(0), part(1), part(2), true);
        let mixed = mixed.swap_dims(1, 2).reshape([b, n, width]);
        self.proj.forward_tokens(mixed)
    }
}

impl Final {
    pub(super) fn new(config: &TransformerConfig, site: &Site<'_>) -> Self {
        Self {
            linear: {
                let site = site.at("linear").zero();
                Linear::new(config.width, config.numbers(), &site)
            },
            modulation: Modulation::new(2, config, site),
        }
    }

    /// `[b, tokens, width]` to `[b, tokens, patch x patch x channels]`.
    pub(super) fn forward(&self, tokens: Tensor<3>, told: &Told<'_>) -> Tensor<3> {
        let [shift, scale] = self.modulation.forward(told);
        self.linear.forward_tokens(modulated(tokens, shift, scale))
    }

    /// [`forward`](Self::forward) in a graph.
    pub(super) fn trace(&self, graph: &mut Graph, tokens: &Value, told: &TracedTold) -> Value {
        let [shift, scale] = self.modulation.trace(graph, told);
        let [_, width] = self.linear.weight.dims();
        let seen = trace_modulated(graph, tokens, [&shift, &scale], width);
        self.linear.trace_tokens(graph, &seen)
    }
}
