//! The channels of two tensors side by side, on slices: rows of both are images.

use crate::memory::buffer::spans;
use std::ops::Range;

/// The rows of `a` and `b` joined, `rows` of each.
pub(crate) fn forward(a: &[f32], b: &[f32], rows: usize) -> Vec<f32> {
    let [of_a, of_b] = [a, b].map(|part| part.len().checked_div(rows).unwrap_or(0));
    assert_eq!((of_a * rows, of_b * rows), (a.len(), b.len()));
    let width = of_a + of_b;
    let piece = |at: usize| {
        let (row, column) = (at / width, at % width);
        match column < of_a {
            true => &a[row * of_a..][column..of_a],
            false => &b[row * of_b..][column - of_a..of_b],
        }
    };
    copied(rows * width, piece)
}

/// Some columns of `rows` rows: the gradient of a part, given that of the whole.
pub(crate) fn backward(g: &[f32], rows: usize, columns: Range<usize>) -> Vec<f32> {
    let (width, len) = (g.len().checked_div(rows).unwrap_or(0), columns.len());
    let piece = |at: usize| {
        let (row, column) = (at / len, at % len);
        &g[row * width..][columns.clone()][column..]
    };
    copied(rows * len, piece)
}

/// `len` values in parallel, of which those from a place on are `piece(place)`, as far as that goes.
fn copied<'a>(len: usize, piece: impl Fn(usize) -> &'a [f32] + Sync) -> Vec<f32> {
    let fill = |range: Range<usize>, to: *mut f32| {
        let mut at = range.start;
        while at < range.end {
            let from = piece(at);
            let count = from.len().min(range.end - at);
            assert!(count > 0, "a piece of one value or more");
            // SAFETY: `to` is the range's start, and the copy ends at its end at most.
            unsafe {
                to.add(at - range.start)
                    .copy_from_nonoverlapping(from.as_ptr(), count);
            }
            at += count;
        }
    };
    // SAFETY: `fill` goes on until its whole range is written.
    unsafe { spans(len, fill) }
}
