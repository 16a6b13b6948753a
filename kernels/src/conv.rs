//! Direct convolution on slices: 3x3 with padding 1 and 1x1, stride 1, NCHW.
//!
//! One sample at a time is copied into planes with a border of zeros; then a register-blocked kernel
//! computes four output channels at up to three vectors of eight neighbouring pixels, the four weights
//! broadcast, the pixels loaded in place. No im2col matrix is built. The gradient with respect to the
//! input is the same convolution with flipped, transposed weights; the weight gradient is in
//! [`weight`].

mod forward;
mod weight;

pub(crate) use forward::{forward, input_gradient};
pub(crate) use weight::{bias_gradient, weight_gradient};

use crate::simd::LANES;

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

    /// The layout of the planes the kernels read.
    ///
    /// A 1x1 convolution does not see rows, so its image is one long row.
    fn layout(&self) -> Layout {
        let (height, width) = match self.side {
            1 => (1, self.pixels()),
            _ => (self.height, self.width),
        };
        let row = width + self.side - 1;
        Layout {
            height,
            width,
            row,
            plane: row * (height + self.side - 1),
            border: self.side / 2,
        }
    }
}

/// How a bordered image lies in memory.
#[derive(Clone, Copy)]
struct Layout {
    height: usize,
    width: usize,
    /// Values from one row to the next.
    row: usize,
    /// Values from one channel to the next.
    plane: usize,
    /// Zeros on each side.
    border: usize,
}

impl Layout {
    /// Length of the scratch for `channels` planes; kernels read up to one vector past the end.
    fn scratch(&self, channels: usize) -> usize {
        channels * self.plane + LANES
    }

    /// Vectors of eight pixels per row, the last perhaps partial.
    fn vectors(&self) -> usize {
        self.width.div_ceil(LANES)
    }

    /// Copies `channels` dense planes into bordered ones.
    fn fill(&self, dense: &[f32], channels: usize, planes: &mut [f32]) {
        let (b, row) = (self.border, self.row);
        for c in 0..channels {
            let plane = &mut planes[c * self.plane..(c + 1) * self.plane];
            let image = &dense[c * self.height * self.width..][..self.height * self.width];
            plane[..b * row].fill(0.0);
            for y in 0..self.height {
                let line = &mut plane[(y + b) * row..(y + b + 1) * row];
                line[..b].fill(0.0);
                line[b..b + self.width].copy_from_slice(&image[y * self.width..][..self.width]);
                line[b + self.width..].fill(0.0);
            }
            plane[(self.height + b) * row..].fill(0.0);
        }
        planes[channels * self.plane..].fill(0.0);
    }
}
