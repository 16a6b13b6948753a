//! Sizes of an attention, and where its rows lie.

use crate::simd::LANES;

/// Queries of a block: their scores against a tile of keys stay in the second-level cache.
pub(super) const BLOCK: usize = 48;
/// Keys of a tile, a multiple of a panel.
pub(super) const TILE: usize = 128;

/// Sizes of one attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub batch: usize,
    pub heads: usize,
    /// Queries of a head.
    pub queries: usize,
    /// Keys, and values, of a head.
    pub keys: usize,
    /// Numbers of a query, key or value.
    pub width: usize,
}

impl Shape {
    /// The width in whole vectors.
    pub(super) fn padded(&self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    /// Heads of all samples.
    pub(super) fn all(&self) -> usize {
        self.batch * self.heads
    }

    /// What the products of queries and keys are multiplied by.
    pub(super) fn scale(&self) -> f32 {
        (1.0 / (self.width as f64).sqrt()) as f32
    }
}

/// Rows of numbers for every head of every sample, `[batch, heads, rows, width]`, with any distances between them.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub values: &'a [f32],
    /// Where the first number is.
    pub first: usize,
    /// Distances from one sample, head, row and number to the next.
    pub steps: [usize; 4],
}

impl<'a> Rows<'a> {
    /// The rows of head `n` of all samples' heads.
    pub(super) fn head(&self, s: &Shape, n: usize) -> Head<'a> {
        let (b, h) = (n / s.heads, n % s.heads);
        Head {
            values: &self.values[self.first + b * self.steps[0] + h * self.steps[1]..],
            row: self.steps[2],
            number: self.steps[3],
        }
    }

    /// Whether all numbers are there.
    pub(super) fn holds(&self, s: &Shape, rows: usize) -> bool {
        let counts = [s.batch, s.heads, rows, s.width];
        if counts.contains(&0) {
            return true;
        }
        let far = counts
            .iter()
            .zip(self.steps)
            .map(|(n, step)| (n - 1) * step);
        self.first + far.sum::<usize>() < self.values.len()
    }
}

/// Queries, keys and values of `[batch, 3 heads, width, rows]`, all heads of each together.
pub(crate) fn joint_rows<'a>(s: &Shape, values: &'a [f32]) -> [Rows<'a>; 3] {
    let size = s.queries * s.width;
    [0, 1, 2].map(|i| Rows {
        values,
        first: i * s.heads * size,
        steps: [3 * s.heads * size, size, 1, s.queries],
    })
}

/// Answers, or their gradients, of `[batch, heads, width, rows]`.
pub(crate) fn answer_rows<'a>(s: &Shape, values: &'a [f32]) -> Rows<'a> {
    let size = s.queries * s.width;
    Rows {
        values,
        first: 0,
        steps: [s.heads * size, size, 1, s.queries],
    }
}

/// The rows of one head.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) values: &'a [f32],
    pub(super) row: usize,
    pub(super) number: usize,
}

impl Head<'_> {
    /// Copies rows from `first` on into dense ones of `width` numbers.
    pub(super) fn copy(&self, first: usize, width: usize, to: &mut [f32]) {
        for (r, to) in to.chunks_exact_mut(width).enumerate() {
            let from = &self.values[(first + r) * self.row..];
            if self.number == 1 {
                to.copy_from_slice(&from[..width]);
                continue;
            }
            for (d, to) in to.iter_mut().enumerate() {
                *to = from[d * self.number];
            }
        }
    }
}
