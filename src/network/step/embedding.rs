//! The embedding of the number of timestamps, and of times. [SFD Sec. 3.3]

use crate::graph::{Graph, Value};
use crate::layer::{Endpoint, Linear, sinusoid, trace_sinusoid};
use crate::parameter::Site;
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};

/// Two layers that embed the number of timestamps; in latent networks, two more embed the time.
#[derive(Module, Debug)]
pub(crate) struct StepEmbedding {
    layer0: Linear,
    layer1: Linear,
}

impl StepEmbedding {
    /// From `waves` to `embedding` channels; `sites` are those of its two layers.
    pub(crate) fn new(waves: usize, embedding: usize, sites: [Site<'_>; 2]) -> Self {
        Self {
            layer0: Linear::new(waves, embedding, &sites[0]),
            layer1: Linear::new(embedding, embedding, &sites[1]),
        }
    }

    /// The embedding `[1, embedding]` of a number of timestamps. [SFD Sec. 3.3]
    pub(crate) fn forward(
        &self,
        steps: usize,
        endpoint: Endpoint,
        dtype: DType,
        device: &Device,
    ) -> Tensor<2> {
        self.embed(&[steps as f64], endpoint, dtype, device)
    }

    /// The embedding `[values, embedding]` of any numbers, through its last SiLU.
    pub(crate) fn embed(
        &self,
        values: &[f64],
        endpoint: Endpoint,
        dtype: DType,
        device: &Device,
    ) -> Tensor<2> {
        activation::silu(self.embed_plain(values, endpoint, dtype, device))
    }

    /// As [`embed`](Self::embed), without its last SiLU.
    pub(crate) fn embed_plain(
        &self,
        values: &[f64],
        endpoint: Endpoint,
        dtype: DType,
        device: &Device,
    ) -> Tensor<2> {
        let waves = self.layer0.weight.dims()[1];
        let waves = sinusoid(values, waves, endpoint, dtype, device);
        self.rows(waves, values.len() > 1)
    }

    /// Of any rows `[rows, waves]`, without the last SiLU; `each` where each sample has a row of its own.
    pub(crate) fn rows(&self, rows: Tensor<2>, each: bool) -> Tensor<2> {
        let hidden = activation::silu(self.layer0.forward_rows(rows, each));
        self.layer1.forward_rows(hidden, each)
    }

    /// [`embed`](Self::embed) in a graph, of f64 `[values]`.
    pub(crate) fn trace(&self, graph: &mut Graph, values: &Value, endpoint: Endpoint) -> Value {
        let plain = self.trace_plain(graph, values, endpoint);
        graph.silu(&plain)
    }

    /// [`embed_plain`](Self::embed_plain) in a graph.
    pub(crate) fn trace_plain(
        &self,
        graph: &mut Graph,
        values: &Value,
        endpoint: Endpoint,
    ) -> Value {
        let [_, waves] = self.layer0.weight.dims();
        let waves = trace_sinusoid(graph, values, waves, endpoint);
        self.trace_rows(graph, &waves)
    }

    /// [`rows`](Self::rows) in a graph.
    pub(crate) fn trace_rows(&self, graph: &mut Graph, rows: &Value) -> Value {
        let hidden = self.layer0.trace(graph, rows);
        let hidden = graph.silu(&hidden);
        self.layer1.trace(graph, &hidden)
    }
}
