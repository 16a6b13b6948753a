//! A computation as a graph of ONNX operators.
//!
//! Layers and networks say theirs beside their `forward`, in a function `trace` that gives values of a graph where the other
//! gives tensors; `export` makes files of graphs. What an operator means is the specification's, of the set that [`OPSET`]
//! numbers.

mod build;
mod operator;
pub(crate) mod schema;

pub(crate) use build::{Constant, Graph, Numbers, OPSET, Value};
