//! The processes that work on one command: how many a launcher has started, and what they agree on.

mod launch;
mod together;
#[cfg(feature = "mpi")]
mod world;

pub use launch::{Launched, launched};
pub use together::Together;
