//! Files of weights as they come: safetensors, pickles and torch files, whole or in shards, read as data.
//!
//! Python executes whatever a pickle names when it opens one. Here nothing is executed: a small machine
//! builds values, the names that a file mentions must be on a short list, and everything is checked against the size of
//! the file before memory is taken. Tensors stay in the file until they are asked for.
//!
//! What the tensors are for is not known here: that is `import`.

mod array;
mod checkpoint;
mod content;
mod foreign;
mod format;
mod pickle;
mod safetensors;
mod scalar;
mod scale;
pub(crate) mod shard;
mod source;
mod survey;
mod tensor;
mod torch;

pub use array::{Array, pickled_arrays};
pub(crate) use array::{numbers, row_major};
pub use checkpoint::Checkpoint;
pub use format::Format;
pub use pickle::Global;
pub use scalar::Scalar;
pub use survey::{globals, globals_in};
pub use tensor::TensorInfo;
