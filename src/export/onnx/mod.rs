//! ONNX: a model as a graph that runtimes of others compute.
//!
//! What layers and networks are in a graph stands beside their `forward`; here is what goes around them, and the file.

mod calls;
mod file;
mod model;
mod write;

pub use calls::{Call, Calls};
pub use model::OnnxGraph;
pub use write::Onnx;
