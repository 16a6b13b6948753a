//! A page that samples: a model and what computes it, in a folder for any static server.

mod html;
mod plan;
mod runtime;
mod write;

pub use runtime::Runtime;
pub use write::{Sampler, write};
