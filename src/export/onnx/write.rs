//! How to write a model as ONNX.

use super::calls::Calls;
use super::file;
use super::model;
use super::model::OnnxGraph;
use crate::Error;
use crate::container::Scalar;
use crate::graph::schema::DataType;
use crate::model::Model;
use std::path::{Path, PathBuf};

/// The largest file with weights inside: protobuf, which ONNX is written in, ends at 2 GiB.
const LARGEST: usize = 1 << 30;

/// How to write a model as ONNX.
#[derive(Clone, Copy, Debug)]
pub struct Onnx {
    /// What to write.
    pub graph: OnnxGraph,
    /// f32; or f16 for weights of half the size, which the graph widens: it computes in f32 in any case.
    pub weights: Scalar,
    /// Bytes of weights beyond which they go into a file beside, `FILE.data`.
    pub largest: usize,
}

impl Onnx {
    /// A graph with weights of f32, of up to 1 GiB in the file itself.
    pub fn new(graph: OnnxGraph) -> Self {
        Self {
            graph,
            weights: Scalar::F32,
            largest: LARGEST,
        }
    }

    /// Where weights go that are too many for the file at `path` itself.
    pub fn beside(path: &Path) -> PathBuf {
        file::beside(path)
    }

    /// Writes `model` to `path`; returns the files that there are then. The card is in the metadata, under the same key as in
    /// our own files, and beside it how to sample from the denoiser.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for a model with adapters that are not multiplied out, and for a solver that does more than
    /// add up answers; [`Error::InvalidValue`] for another type of weights, or weights that f16 cannot hold;
    /// [`Error::File`].
    pub fn write(&self, model: &Model, path: &Path) -> Result<Vec<PathBuf>, Error> {
        let weights = match self.weights {
            Scalar::F32 => DataType::Float,
            Scalar::F16 => DataType::Float16,
            other => return Err(Error::invalid("dtype", other, "f32 or f16 for ONNX")),
        };
        if model.network.is_adapted() {
            return Err(Error::Incompatible {
                first: "ONNX".into(),
                second: "a model with adapters".into(),
                remedy: "multiply them out first (Model::merged, or convert --merge)".into(),
            });
        }
        let sampling = &model.card.sampling;
        if sampling.step_condition && !model.card.network.has_step_branch() {
            return Err(Error::Incompatible {
                first: "step-condition = true".into(),
                second: "a network without step branch".into(),
                remedy: "take the sampling of the model's own card".into(),
            });
        }
        let calls = Calls::of(sampling)?;
        let graph = model::graph(model, self.graph, &calls, weights);
        file::write(graph, &model.card, &calls, self.largest, path)
    }
}
