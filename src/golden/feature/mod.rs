//! Networks of features: Inception, and both halves of CLIP.

mod inception;

pub(super) use inception::run as inception;
