//! What a diffusion transformer is told: noise level, class, number of timestamps.

use super::config::WAVES;
use crate::graph::{Graph, Value};
use crate::layer::{Endpoint, Linear, sinusoid, trace_sinusoid};
use crate::parameter::{Site, Start};
use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, activation};

/// How the matrices here start.
const START: Start = Start::Normal { thousandths: 20 };

/// Waves, and two layers over them. [Peebles & Xie 2023, Sec. 3.2]
#[derive(Module, Debug)]
pub(super) struct ScalarEmbedding {
    first: Linear,
    second: Linear,
}

impl ScalarEmbedding {
    pub(super) fn new(width: usize, site: &Site<'_>) -> Self {
        Self {
            first: Linear::new(WAVES, width, &site.at("mlp.0").drawn(START)),
            second: Linear::new(width, width, &site.at("mlp.2").drawn(START)),
        }
    }

    /// `[values, width]`.
    pub(super) fn forward(&self, values: &[f64], dtype: DType, device: &Device) -> Tensor<2> {
        let waves = sinusoid(values, WAVES, Endpoint::Excluded, dtype, device);
        let each = values.len() > 1;
        let hidden = activation::silu(self.first.forward_rows(waves, each));
        self.second.forward_rows(hidden, each)
    }

    /// [`forward`](Self::forward) in a graph, of f64 `[values]`.
    pub(super) fn trace(&self, graph: &mut Graph, values: &Value) -> Value {
        let waves = trace_sinusoid(graph, values, WAVES, Endpoint::Excluded);
        let hidden = self.first.trace(graph, &waves);
        let hidden = graph.silu(&hidden);
        self.second.trace(graph, &hidden)
    }
}

/// A row for each class, and one for none.
#[derive(Module, Debug)]
pub(super) struct ClassEmbedding {
    table: Param<Tensor<2>>,
}

impl ClassEmbedding {
    pub(super) fn new(classes: usize, width: usize, site: &Site<'_>) -> Self {
        Self {
            table: {
                let site = site.at("embedding_table").drawn(START);
                site.table([classes + 1, width])
            },
        }
    }

    /// Of labels `[rows, classes]`: what a row of them lacks to 1 is no class. Without labels, one row of none.
    pub(super) fn forward(&self, labels: Option<Tensor<2>>, dtype: DType) -> Tensor<2> {
        let table = self.table.val().cast(dtype);
        let [rows, width] = table.dims();
        let none = table.clone().slice([rows - 1..rows, 0..width]);
        let Some(labels) = labels else {
            return none;
        };
        let labels = labels.cast(dtype);
        let rest = labels.clone().sum_dim(1).neg().add_scalar(1.0);
        let classes = table.slice([0..rows - 1, 0..width]);
        labels.matmul(classes) + rest * none
    }

    /// [`forward`](Self::forward) in a graph.
    pub(super) fn trace(&self, graph: &mut Graph, labels: Option<&Value>) -> Value {
        let [rows, width] = self.table.dims();
        let table = graph.weight(&self.table, &[rows, width]);
        let classes = rows - 1;
        let none = graph.row(&table, classes);
        let Some(labels) = labels else {
            return none;
        };
        // What a row lacks to 1, behind it, is the label of no class.
        let ones = graph.floats(&[classes, 1], &vec![-1.0; classes]);
        let rest = graph.matmul(labels, &ones);
        let rest = graph.shift(&rest, 1.0);
        let labels = graph.concat(&[labels, &rest], 1);
        graph.matmul(&labels, &table)
    }
}
