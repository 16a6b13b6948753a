//! Limits and proportions that several kinds of networks share.

/// Embedding channels as a multiple of the model channels.
pub(crate) const EMBEDDING_MULTIPLIER: usize = 4;

/// The largest width, image size and number of classes: beyond anything published, and far from overflowing.
pub(crate) const LARGEST: usize = 1 << 16;

/// The most blocks a level, and the most levels: beyond anything published, and the outline stays small.
pub(crate) const MOST_BLOCKS: usize = 64;
pub(crate) const MOST_LEVELS: usize = 12;
