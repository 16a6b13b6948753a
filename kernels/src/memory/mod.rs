//! Memory: what is taken, given back and kept.

pub(crate) mod buffer;
mod exhausted;
mod freed;

pub use exhausted::OrExit;
pub use freed::keep_freed_memory;
