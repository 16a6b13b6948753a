//! The two inner loops: sums over input channels, and sums over pixels, held in registers.

use crate::simd::{LANES, Lanes};

/// Most output channels a tile of a [`Product`] computes: 6 x 2 sums, two vectors and a broadcast fit the
/// 16 registers of AVX2. Of 4 x 3, which would also fit, the compiler spills one.
const MOST: usize = 6;
/// Gradients and inputs a tile of a [`Correlation`] takes.
pub(super) const ROWS: usize = 4;
pub(super) const COLUMNS: usize = 3;
/// Bytes of inputs that all output channels are computed from before moving on, so that they stay in
/// the first-level cache beside the weights that stream by.
const CACHE: usize = 24 << 10;

/// `y[o, v] = start[o] + sum over i, t of w[o, i, t] * x[i, position(v) + t]` for vectors v of pixels.
pub(super) struct Product<'a> {
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Taps along a row.
    pub taps: usize,
    /// Values from one input channel to the next.
    pub plane: usize,
    /// Vectors in a row of pixels.
    pub per_row: usize,
    /// Values from one row of inputs to the next.
    pub row: usize,
    /// Vectors in all.
    pub vectors: usize,
    /// Inputs of the first channel.
    pub x: *const f32,
    /// Weights, in [`blocks`].
    pub w: *const f32,
    /// What the sums start from, one value per output channel.
    pub start: Option<&'a [f32]>,
    /// Vectors of output channel o begin at `o * stride`.
    pub y: *mut f32,
    /// Values from one output channel to the next.
    pub stride: usize,
}

/// Output channels in blocks of at most [`MOST`] rows, as equal as can be: (first channel, rows).
///
/// The packed weights of a block begin at `first * depth`, ordered [depth][row].
pub(super) fn blocks(cout: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = cout.div_ceil(MOST);
    (0..count).map(move |b| {
        let first = b * cout / count;
        (first, (b + 1) * cout / count - first)
    })
}

/// # Safety
/// All vectors of `p` must lie in readable and writable memory, its weights be packed for `cout` and
/// `cin * taps`; the CPU must support `V`.
#[inline(always)]
pub(super) unsafe fn product<V: Lanes>(p: &Product<'_>) {
    let fit = CACHE / (p.cin * LANES * size_of::<f32>()).max(1);
    let band = (fit & !1).max(2);
    for first in (0..p.vectors).step_by(band) {
        let range = first..(first + band).min(p.vectors);
        for (o, rows) in blocks(p.cout) {
            // As many sums as hide the latency of a multiply-add, and as the registers hold.
            // SAFETY: promised by the caller.
            unsafe {
                match rows {
                    1 => product_row::<1, 8, V>(p, o, range.clone()),
                    2 => product_row::<2, 4, V>(p, o, range.clone()),
                    3 => product_row::<3, 4, V>(p, o, range.clone()),
                    4 => product_row::<4, 2, V>(p, o, range.clone()),
                    5 => product_row::<5, 2, V>(p, o, range.clone()),
                    _ => product_row::<MOST, 2, V>(p, o, range.clone()),
                }
            }
        }
    }
}

/// `R` output channels from `o` on at the vectors of `range`, `N` at a time.
///
/// # Safety
/// As [`product`].
#[inline(always)]
unsafe fn product_row<const R: usize, const N: usize, V: Lanes>(
    p: &Product<'_>,
    o: usize,
    range: std::ops::Range<usize>,
) {
    let mut v = range.start;
    // SAFETY: promised by the caller.
    unsafe {
        while v + N <= range.end {
            product_tile::<R, N, V>(p, o, v);
            v += N;
        }
        while v < range.end {
            product_tile::<R, 1, V>(p, o, v);
            v += 1;
        }
    }
}

/// # Safety
/// As [`product`].
#[inline(always)]
unsafe fn product_tile<const R: usize, const N: usize, V: Lanes>(
    p: &Product<'_>,
    o: usize,
    first: usize,
) {
    let mut x = [p.x; N];
    for (n, x) in x.iter_mut().enumerate() {
        let (row, at) = ((first + n) / p.per_row, (first + n) % p.per_row);
        *x = x.wrapping_add(row * p.row + at * LANES);
    }
    let mut sums = [[V::splat(0.0); N]; R];
    if let Some(start) = p.start {
        for (sums, &start) in sums.iter_mut().zip(&start[o..o + R]) {
            *sums = [V::splat(start); N];
        }
    }
    // SAFETY: packed weights hold `cin * taps` groups of R for this block; the rest by contract.
    unsafe {
        let mut w = p.w.add(o * p.cin * p.taps);
        for _ in 0..p.cin {
            // A loop that the compiler cannot unroll: unrolled, it loads all taps' inputs first and
            // spills the sums.
            for t in 0..p.taps {
                let mut xs = [V::splat(0.0); N];
                for (x, from) in xs.iter_mut().zip(x) {
                    *x = V::load(from.add(t));
                }
                for (r, row) in sums.iter_mut().enumerate() {
                    let weight = V::splat(*w.add(r));
                    for (sum, &x) in row.iter_mut().zip(&xs) {
                        *sum = weight.fma(x, *sum);
                    }
                }
                w = w.add(R);
            }
            for x in &mut x {
                *x = x.wrapping_add(p.plane);
            }
        }
        for (r, row) in sums.iter().enumerate() {
            for (n, sum) in row.iter().enumerate() {
                sum.store(p.y.add((o + r) * p.stride + (first + n) * LANES));
            }
        }
    }
}

/// `sum over v of g[r, v] * x[c, position(v)]` for four gradients and three inputs.
pub(super) struct Correlation {
    /// Vectors in a row of pixels.
    pub per_row: usize,
    /// Values from one row of inputs to the next; rows of gradients are dense.
    pub row: usize,
    /// Rows of pixels.
    pub rows: usize,
}

impl Correlation {
    /// The sums; `[c][r]`.
    ///
    /// # Safety
    /// `g` and `x` must point at rows as described; the CPU must support `V`.
    #[inline(always)]
    pub unsafe fn tile<V: Lanes>(
        &self,
        g: [*const f32; ROWS],
        x: [*const f32; COLUMNS],
    ) -> [[f32; ROWS]; COLUMNS] {
        let mut sums = [[V::splat(0.0); ROWS]; COLUMNS];
        let mut at = 0;
        // SAFETY: promised by the caller.
        unsafe {
            for row in 0..self.rows {
                for v in 0..self.per_row {
                    let from = row * self.row + v * LANES;
                    let [x0, x1, x2] = x;
                    let (x0, x1, x2) = (
                        V::load(x0.add(from)),
                        V::load(x1.add(from)),
                        V::load(x2.add(from)),
                    );
                    let [s0, s1, s2] = &mut sums;
                    for (r, g) in g.iter().enumerate() {
                        let g = V::load(g.add(at));
                        s0[r] = g.fma(x0, s0[r]);
                        s1[r] = g.fma(x1, s1[r]);
                        s2[r] = g.fma(x2, s2[r]);
                    }
                    at += LANES;
                }
            }
        }
        let [s0, s1, s2] = sums;
        [V::sums(s0), V::sums(s1), V::sums(s2)]
    }
}
