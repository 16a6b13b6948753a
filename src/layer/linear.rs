//! Matrices. Parameters are cast to the activation's type.

use super::low_rank::{LowRank, added, beside};
use crate::graph::{Graph, Value};
use crate::parameter::Site;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use fewstep_kernels as kernels;

/// y = x W^T + b, weight `[out, in]`.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
    low_rank: Option<LowRank>,
}

impl Linear {
    pub(crate) fn new(input: usize, output: usize, site: &Site<'_>) -> Self {
        Self {
            weight: site.weight([output, input]),
            bias: Some(site.bias(output, input)),
            low_rank: LowRank::new(input, output, site),
        }
    }

    pub(crate) fn without_bias(input: usize, output: usize, site: &Site<'_>) -> Self {
        Self {
            weight: site.weight([output, input]),
            bias: None,
            low_rank: LowRank::new(input, output, site),
        }
    }

    /// `[rows, in]` to `[rows, out]`, for one row that serves a whole batch, or for the many of each sample: their
    /// number decides the order of sums.
    pub(crate) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let (input, more) = self.more(input, false);
        let weight = kernels::cast(self.weight.val(), input.dtype());
        added(self.shift(input.matmul(weight.transpose())), more)
    }

    /// The same for a row that each sample has, if `each`: no row's answer depends on how many there are.
    pub(crate) fn forward_rows(&self, input: Tensor<2>, each: bool) -> Tensor<2> {
        if !each {
            return self.forward(input);
        }
        let (input, more) = self.more(input, true);
        let weight = kernels::cast(self.weight.val(), input.dtype());
        added(self.shift(kernels::linear(input, weight)), more)
    }

    fn more(&self, input: Tensor<2>, each: bool) -> (Tensor<2>, Option<Tensor<2>>) {
        beside(self.low_rank.as_ref(), input, |low_rank, input| {
            low_rank.forward(input, each)
        })
    }

    fn shift(&self, product: Tensor<2>) -> Tensor<2> {
        match &self.bias {
            Some(bias) => {
                let bias = bias.val().cast(product.dtype());
                product + bias.unsqueeze()
            }
            None => product,
        }
    }

    /// `[b, n, in]` to `[b, n, out]`.
    pub(crate) fn forward_tokens(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [b, n, width] = tokens.dims();
        let rows = self.forward(tokens.reshape([b * n, width]));
        let width = rows.dims()[1];
        rows.reshape([b, n, width])
    }

    /// [`forward`](Self::forward) in a graph, where there are no adapters.
    pub(crate) fn trace(&self, graph: &mut Graph, rows: &Value) -> Value {
        let weight = graph.weight(&self.weight, &self.weight.dims());
        let bias = self
            .bias
            .as_ref()
            .map(|bias| graph.weight(bias, &bias.dims()));
        graph.gemm(rows, &weight, bias.as_ref())
    }

    /// [`forward_tokens`](Self::forward_tokens) in a graph.
    pub(crate) fn trace_tokens(&self, graph: &mut Graph, tokens: &Value) -> Value {
        let weight = graph.transposed(&self.weight);
        let product = graph.matmul(tokens, &weight);
        match &self.bias {
            None => product,
            Some(bias) => {
                let bias = graph.weight(bias, &bias.dims());
                graph.add(&product, &bias)
            }
        }
    }
}
