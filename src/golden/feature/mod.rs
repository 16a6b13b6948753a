//! Networks of features: Inception, and both halves of CLIP.

mod clip;
mod inception;

pub(super) use clip::run as clip;
pub(super) use inception::run as inception;
