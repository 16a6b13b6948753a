//! The whole folder of a pipeline of diffusers: the parts of a base, a student's U-Net, and a scheduler with its levels.
//!
//! The usual scheduler is diffusers' own (`stock`), so that nothing of ours is needed. `own` is that of our Python package, which
//! holds what the other cannot.

mod base;
mod folder;
mod index;
mod own;
mod page;
mod past;
mod retime;
mod schedule;
mod stock;
mod written;

pub use base::{find, is_pipeline};
pub use folder::{Pipeline, Sampler};
pub use own::{Biases, step_biases};
pub use past::Past;
pub use schedule::Schedule;
pub use written::Written;
