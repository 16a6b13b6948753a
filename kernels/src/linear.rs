//! A linear layer over rows of which each belongs to another sample, on slices.
//!
//! General matrix products choose their order of sums by the number of rows: one row is multiplied in another way than
//! two, and a picture's last bits would depend on how many others are made with it. Here a row is added up in the
//! order that the layer's size gives, whatever is beside it.

use crate::conv::{PANEL, Product, Start, blocks};
use crate::memory::buffer::{Out, filled};
use crate::simd::{LANES, Lanes, dispatch};
use rayon::prelude::*;

/// Most numbers of a row that are added up one after the other, before the sum joins those of other parts.
const PART: usize = 1024;
/// Multiplications that are worth handing to another thread.
const WORTH: usize = 1 << 20;
/// Most rows of a [`Product`].
const ROWS: usize = 6;

/// `y[r, o] = sum_k x[r, k] * w[o, k]`: `x` `[rows, depth]`, `w` `[outputs, depth]`, both dense.
pub(crate) fn forward(x: &[f32], w: &[f32], depth: usize) -> Vec<f32> {
    let [rows, outputs] = [x, w].map(|t| t.len() / depth.max(1));
    assert_eq!([rows * depth, outputs * depth], [x.len(), w.len()]);
    let packed = panels(x, rows, depth);
    let task = Task {
        w,
        x: &packed,
        rows,
        depth,
        outputs,
    };
    let blocks: Vec<_> = blocks(outputs).collect();
    let each = rows.max(1) * depth.max(1) * ROWS;
    // SAFETY: the blocks cover all outputs of all rows.
    unsafe {
        filled(rows * outputs, |y: Out| {
            let blocks = blocks.par_iter().with_min_len(WORTH.div_ceil(each));
            blocks.for_each(|&(first, count)| block(&task, first, count, y.at(0)));
        })
    }
}

/// Panels of rows as a [`Product`] wants them, `[number][row]`; missing rows are zero.
fn panels(x: &[f32], rows: usize, depth: usize) -> Vec<f32> {
    let mut packed = vec![0.0; rows.div_ceil(PANEL) * depth * PANEL];
    for (r, row) in x.chunks_exact(depth.max(1)).enumerate() {
        let start = r / PANEL * depth * PANEL + r % PANEL;
        for (k, value) in row.iter().enumerate() {
            packed[start + k * PANEL] = *value;
        }
    }
    packed
}

struct Task<'a> {
    w: &'a [f32],
    /// In [`panels`].
    x: &'a [f32],
    rows: usize,
    depth: usize,
    outputs: usize,
}

impl Task<'_> {
    /// Numbers of a part: parts are as equal as can be.
    fn part(&self) -> usize {
        let parts = self.depth.div_ceil(PART).max(1);
        self.depth.div_ceil(parts).max(1)
    }
}

dispatch! { unsafe fn block(t: &Task<'_>, first: usize, count: usize, y: *mut f32) = block_lanes }

/// # Safety
/// `first` and `count` must be a block of the outputs, `y` hold all rows; the CPU must support `V`.
#[inline(always)]
unsafe fn block_lanes<V: Lanes>(t: &Task<'_>, first: usize, count: usize, y: *mut f32) {
    for panel in 0..t.rows.div_ceil(PANEL) {
        let rows = PANEL.min(t.rows - panel * PANEL);
        let mut sums = [0.0f32; ROWS * PANEL];
        let product = Product {
            depth: t.depth,
            left: t.w[first * t.depth..].as_ptr(),
            row: t.depth,
            term: 1,
            right: t.x[panel * t.depth * PANEL..].as_ptr(),
            start: Start::Zero,
            to: sums.as_mut_ptr(),
            stride: PANEL,
        };
        // SAFETY: the block's weights, the panel and room for a whole block of sums are there; the rows are those of y.
        unsafe {
            product.run_by::<V>(count, rows.div_ceil(LANES), t.part());
            for r in 0..rows {
                let to = y.add((panel * PANEL + r) * t.outputs + first);
                for o in 0..count {
                    to.add(o).write(sums[o * PANEL + r]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(seed: usize, len: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 31 + seed * 17) as f32 * 0.37).sin())
            .collect()
    }

    #[test]
    fn a_row_is_the_sum_of_its_products() {
        for (rows, outputs, depth) in [(1, 1, 1), (3, 7, 5), (17, 13, 40), (2, 5, 2500), (0, 3, 4)]
        {
            let (x, w) = (values(1, rows * depth), values(2, outputs * depth));
            let got = forward(&x, &w, depth);
            assert_eq!(got.len(), rows * outputs);
            for (i, got) in got.iter().enumerate() {
                let (row, output) = (&x[i / outputs * depth..], &w[i % outputs * depth..]);
                let pairs = row.iter().zip(output).take(depth);
                let products = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b));
                let exact: f64 = products.clone().sum();
                // A few roundings of the largest sum on the way: the sums of a long row are in the thousands.
                let size: f64 = 1.0 + products.map(f64::abs).sum::<f64>();
                let allowed = 4.0 * f64::from(f32::EPSILON) * size;
                assert!((f64::from(*got) - exact).abs() < allowed, "{got} {exact}");
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        for (outputs, depth) in [(1, 3), (9, 33), (70, 700), (6, 1100)] {
            let (x, w) = (values(3, 40 * depth), values(4, outputs * depth));
            let all = forward(&x, &w, depth);
            for rows in [1, 2, 3, 8, 9, 16, 17] {
                let parts = x.chunks(rows * depth);
                let joined: Vec<f32> = parts.flat_map(|part| forward(part, &w, depth)).collect();
                assert!(joined == all, "{rows} rows of {depth}, {outputs} outputs");
            }
        }
    }
}
