//! The inner loop: small matrix products held in registers.

use crate::simd::{LANES, Lanes};

/// Most rows of a [`Product`]: 6 x 2 sums, two vectors and a broadcast fit the 16 registers of AVX2.
const ROWS: usize = 6;
/// Columns of a panel: two vectors.
pub(crate) const PANEL: usize = 2 * LANES;
/// Terms added up before they join the others, in sums of few and of many: the rounding error of a sum grows with its
/// terms, and this keeps it to that of short ones. Of few terms the transforms' own error shows, and less is left for this.
const TERMS: [usize; 2] = [8, 16];
/// From here on a sum has many terms.
const MANY: usize = 64;

/// Rows in blocks of at most [`ROWS`], as equal as can be: (first row, rows).
pub(crate) fn blocks(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(ROWS);
    (0..count).map(move |b| {
        let first = b * rows / count;
        (first, (b + 1) * rows / count - first)
    })
}

/// What sums start from.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    Zero,
    /// One value a row.
    Rows(*const f32),
    /// What is there already.
    There,
}

/// `to[r, c] = start + sum over k of left[r, k] * right[k, c]` for one block of rows and one panel of columns.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// Terms of a sum.
    pub depth: usize,
    pub left: *const f32,
    /// Values from one row of `left` to the next, and from one term to the next.
    pub row: usize,
    pub term: usize,
    /// Terms are [`PANEL`] values apart.
    pub right: *const f32,
    pub start: Start,
    pub to: *mut f32,
    /// Values from one row of `to` to the next.
    pub stride: usize,
}

impl Product {
    /// Computes `rows` rows, from [`blocks`], of `vectors` vectors, one or two.
    ///
    /// # Safety
    /// `left`, `right` and `to` must hold what is described; the CPU must support `V`.
    #[inline(always)]
    pub unsafe fn run<V: Lanes>(&self, rows: usize, vectors: usize) {
        // SAFETY: promised by the caller.
        unsafe { self.run_by::<V>(rows, vectors, TERMS[usize::from(self.depth >= MANY)]) };
    }

    /// As [`run`](Self::run), all terms added up before they join what was there: for sums that are short, or parts.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    pub unsafe fn run_whole<V: Lanes>(&self, rows: usize, vectors: usize) {
        // SAFETY: promised by the caller.
        unsafe { self.run_by::<V>(rows, vectors, self.depth.max(1)) };
    }

    /// As [`run`](Self::run), `terms` added up before they join what was there.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    pub unsafe fn run_by<V: Lanes>(&self, rows: usize, vectors: usize, terms: usize) {
        // SAFETY: promised by the caller.
        unsafe {
            match (rows, vectors) {
                (1, 1) => self.tile::<1, 1, V>(terms),
                (2, 1) => self.tile::<2, 1, V>(terms),
                (3, 1) => self.tile::<3, 1, V>(terms),
                (4, 1) => self.tile::<4, 1, V>(terms),
                (5, 1) => self.tile::<5, 1, V>(terms),
                (_, 1) => self.tile::<ROWS, 1, V>(terms),
                (1, _) => self.tile::<1, 2, V>(terms),
                (2, _) => self.tile::<2, 2, V>(terms),
                (3, _) => self.tile::<3, 2, V>(terms),
                (4, _) => self.tile::<4, 2, V>(terms),
                (5, _) => self.tile::<5, 2, V>(terms),
                _ => self.tile::<ROWS, 2, V>(terms),
            }
        }
    }

    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn tile<const R: usize, const N: usize, V: Lanes>(&self, terms: usize) {
        let (mut left, mut right, mut start) = (self.left, self.right, self.start);
        let mut first = 0;
        // SAFETY: promised by the caller.
        unsafe {
            while first < self.depth || first == 0 {
                let mut sums = [[V::splat(0.0); N]; R];
                for _ in first..(first + terms).min(self.depth) {
                    let mut xs = [V::splat(0.0); N];
                    for (n, x) in xs.iter_mut().enumerate() {
                        *x = V::load(right.add(n * LANES));
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let w = V::splat(*left.add(r * self.row));
                        for (sum, &x) in sums.iter_mut().zip(&xs) {
                            *sum = w.fma(x, *sum);
                        }
                    }
                    left = left.wrapping_add(self.term);
                    right = right.wrapping_add(PANEL);
                }
                for (r, sums) in sums.iter().enumerate() {
                    for (n, &sum) in sums.iter().enumerate() {
                        let to = self.to.add(r * self.stride + n * LANES);
                        let sum = match start {
                            Start::Zero => sum,
                            Start::Rows(values) => sum.add(V::splat(*values.add(r))),
                            Start::There => sum.add(V::load(to)),
                        };
                        sum.store(to);
                    }
                }
                start = Start::There;
                first += terms;
            }
        }
    }
}
