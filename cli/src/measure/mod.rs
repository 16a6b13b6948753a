//! Figures of images: what is drawn, by which features, and how it is said.

pub mod beside;
pub mod clip;
pub mod draw;
pub mod feature_set;
pub mod gather;
pub mod journal;
pub mod keep;
pub mod read;
mod record;
pub mod score;
