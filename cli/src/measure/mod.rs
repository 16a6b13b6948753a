//! Figures of images: what is drawn, by which features, and how it is said.

pub mod draw;
pub mod feature_set;
pub mod score;
