//! Networks that turn images, and texts, into the features that distances and scores are measured in, a folder for each.

pub(crate) mod card;
pub mod classifier;
pub mod clip;
mod extract;
pub mod inception;
pub mod vgg;

pub use extract::Extract;
