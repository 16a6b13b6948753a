//! Runs of training: their settings, folder, loop, and what they would cost.

pub mod args;
pub mod change;
pub mod dataset;
pub mod distillation;
pub mod drive;
pub mod estimate;
pub mod events;
pub mod folder;
pub mod lock;
pub mod memory;
pub mod recipe;
pub mod share;
mod window;
