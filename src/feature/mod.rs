//! Networks that turn images, and texts, into the features that distances and scores are measured in.

pub mod clip;
pub mod inception;
