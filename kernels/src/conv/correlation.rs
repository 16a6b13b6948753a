//! Weight gradient of 1x1 convolutions: sums over pixels.
//!
//! Samples are taken in groups whose size depends on the shape alone; each group adds up in sample order, then the groups'
//! sums are added in group order. The result is thus the same for any number of threads.

use super::shape::Shape;
use crate::memory::buffer::{Out, add_up, filled, with_scratch};
use crate::simd::{LANES, Lanes, dispatch};
use rayon::prelude::*;
use std::ops::Range;

/// Gradients and inputs a tile of a [`Correlation`] takes.
const ROWS: usize = 4;
const COLUMNS: usize = 3;
/// Most groups the batch is cut into: enough to keep many cores busy, few enough to add up cheaply.
const GROUPS: usize = 16;
/// Vectors of pixels after which adding up lanes, and groups, no longer counts.
const ENOUGH: usize = 64;
/// Output channels a task computes.
const CHANNELS: usize = 64;

/// Sums over `count` units (strips or images), in groups whose size depends on the arguments alone.
///
/// `add(range, channels, sums)` adds what at most `most` units give for some output channels; `sums` is
/// [channels, row]. A group has `least` units or more.
fn grouped(
    count: usize,
    most: usize,
    least: usize,
    cout: usize,
    row: usize,
    add: impl Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync,
) -> Vec<f32> {
    let per_group = count.div_ceil(GROUPS).max(least).next_multiple_of(most);
    let groups = count.div_ceil(per_group);
    let size = cout * row;
    let splits = cout.div_ceil(CHANNELS);
    let work = |n: usize, out: Out| {
        let (group, split) = (n / splits, n % splits);
        let channels = split * CHANNELS..((split + 1) * CHANNELS).min(cout);
        // SAFETY: these channels of this group are this task's; writing zeros makes them a valid slice.
        let sums = unsafe {
            let out = out.at(group * size + channels.start * row);
            out.write_bytes(0, channels.len() * row);
            std::slice::from_raw_parts_mut(out, channels.len() * row)
        };
        let end = ((group + 1) * per_group).min(count);
        for first in (group * per_group..end).step_by(most) {
            add(first..(first + most).min(end), channels.clone(), sums);
        }
    };
    // SAFETY: the tasks zero, and so write, all channels of all groups.
    let partial = unsafe {
        filled(groups * size, |out| {
            (0..groups * splits)
                .into_par_iter()
                .for_each(|n| work(n, out));
        })
    };
    add_up(partial, groups, size)
}

/// Where four channels from `first` on begin; missing ones repeat the last, and are dropped later.
#[inline(always)]
fn rows<const N: usize>(
    start: *const f32,
    first: usize,
    channels: usize,
    plane: usize,
) -> [*const f32; N] {
    let mut rows = [start; N];
    for (n, row) in rows.iter_mut().enumerate() {
        *row = start.wrapping_add((first + n).min(channels - 1) * plane);
    }
    rows
}

/// `dw[o, i] = sum_b sum_p g[b, o, p] * x[b, i, p]`, [cout, cin].
pub(super) fn gradient_1(s: Shape, x: &[f32], g: &[f32]) -> Vec<f32> {
    let pixels = s.pixels();
    let dense = pixels.next_multiple_of(LANES);
    let most = (ENOUGH * LANES / dense).max(1);
    grouped(
        s.batch,
        most,
        most,
        s.cout,
        s.cin,
        |range, channels, sums| {
            let (first, count) = (range.start, range.len());
            let pieces = Pieces {
                cin: s.cin,
                cout: channels.len(),
                x_step: s.cin * dense,
                g_step: s.cout * dense,
                dense,
                count,
            };
            if dense == pixels {
                let (x, g) = (
                    &x[first * pieces.x_step..],
                    &g[(first * s.cout + channels.start) * pixels..],
                );
                // SAFETY: `count` images follow, in whole vectors.
                return unsafe { images_1(&pieces, x.as_ptr(), g.as_ptr(), sums) };
            }
            let pieces = Pieces {
                g_step: channels.len() * dense,
                ..pieces
            };
            with_scratch(count * (pieces.x_step + pieces.g_step), |scratch| {
                let (u, v) = scratch.split_at_mut(count * pieces.x_step);
                let copy = |to: &mut [f32], from: &[f32]| {
                    to[..pixels].copy_from_slice(from);
                    to[pixels..].fill(0.0);
                };
                for (n, plane) in u.chunks_exact_mut(dense).enumerate() {
                    copy(plane, &x[(first * s.cin + n) * pixels..][..pixels]);
                }
                for (n, plane) in v.chunks_exact_mut(dense).enumerate() {
                    let (b, o) = (
                        first + n / channels.len(),
                        channels.start + n % channels.len(),
                    );
                    copy(plane, &g[(b * s.cout + o) * pixels..][..pixels]);
                }
                // SAFETY: the copies are whole vectors.
                unsafe { images_1(&pieces, u.as_ptr(), v.as_ptr(), sums) };
            });
        },
    )
}

/// Images of whole vectors.
struct Pieces {
    cin: usize,
    cout: usize,
    /// Values from one image to the next.
    x_step: usize,
    g_step: usize,
    /// Values of one channel.
    dense: usize,
    count: usize,
}

dispatch! { unsafe fn images_1(p: &Pieces, x: *const f32, g: *const f32, sums: &mut [f32]) = images_1_lanes }

/// # Safety
/// `x` and `g` must hold images as described, `sums` be [cout, cin]; the CPU must support `V`.
#[inline(always)]
unsafe fn images_1_lanes<V: Lanes>(p: &Pieces, x: *const f32, g: *const f32, sums: &mut [f32]) {
    let correlation = Correlation {
        per_row: p.dense / LANES,
        row: p.dense,
        rows: 1,
    };
    for n in 0..p.count {
        for o in (0..p.cout).step_by(ROWS) {
            for i in (0..p.cin).step_by(COLUMNS) {
                // SAFETY: promised by the caller; offsets are those of existing channels.
                let found = unsafe {
                    let g = rows(g.add(n * p.g_step), o, p.cout, p.dense);
                    let x = rows(x.add(n * p.x_step), i, p.cin, p.dense);
                    correlation.tile::<V>(g, x)
                };
                for (c, found) in found.iter().enumerate().take(COLUMNS.min(p.cin - i)) {
                    for (r, found) in found.iter().enumerate().take(ROWS.min(p.cout - o)) {
                        sums[(o + r) * p.cin + i + c] += found;
                    }
                }
            }
        }
    }
}
/// `sum over v of g[r, v] * x[c, position(v)]` for four gradients and three inputs.
struct Correlation {
    /// Vectors in a row of pixels.
    per_row: usize,
    /// Values from one row of inputs to the next; rows of gradients are dense.
    row: usize,
    /// Rows of pixels.
    rows: usize,
}

impl Correlation {
    /// The sums; `[c][r]`.
    ///
    /// # Safety
    /// `g` and `x` must point at rows as described; the CPU must support `V`.
    #[inline(always)]
    unsafe fn tile<V: Lanes>(
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
