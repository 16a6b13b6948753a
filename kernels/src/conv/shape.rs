//! Sizes of a convolution.

/// Sizes of one convolution: `side` x `side` taps, padding `side / 2`, stride 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Number of samples.
    pub batch: usize,
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Image height.
    pub height: usize,
    /// Image width.
    pub width: usize,
    /// Taps per side: 1 or 3.
    pub side: usize,
}

impl Shape {
    /// Pixels of one image.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Taps of one kernel.
    pub fn taps(&self) -> usize {
        self.side * self.side
    }
}
