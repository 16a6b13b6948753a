//! Weight and bias gradients of the convolution.
//!
//! Samples are taken in groups whose size depends on the batch alone; each group adds up in sample
//! order, then the groups' sums are added in group order. The result is thus the same for any number
//! of threads.

use super::Shape;
use super::scheme::{FOUR_FROM, Four, MOST, Scheme, Two};
use super::strip::Strips;
use super::tile::{COLUMNS, Correlation, ROWS};
use crate::buffer::{Out, add_up, chunks, filled, with_scratch};
use crate::simd::{LANES, Lanes, dispatch};
use rayon::prelude::*;
use std::ops::Range;

/// Most groups the batch is cut into: enough to keep many cores busy, few enough to add up cheaply.
const GROUPS: usize = 16;
/// Bytes of transformed inputs and gradients worked on at a time, to stay in the second-level cache.
const CACHE: usize = 256 << 10;
/// Vectors of pixels after which adding up lanes, and groups, no longer counts.
const ENOUGH: usize = 64;
/// Vectors of pixels to take at a time however many channels there are.
const FEW: usize = 16;
/// Output channels a task computes: many, because each task transforms all inputs.
const CHANNELS: usize = 64;

/// `dw[o, i, t] = sum_b sum_p g[b, o, p] * x[b, i, p + t]`, [cout, cin, side, side].
pub(crate) fn weight_gradient(s: Shape, x: &[f32], g: &[f32]) -> Vec<f32> {
    let pixels = s.pixels();
    let size = s.cout * s.cin * s.taps();
    assert_eq!(
        x.len(),
        s.batch * s.cin * pixels,
        "input of the declared shape"
    );
    assert_eq!(
        g.len(),
        s.batch * s.cout * pixels,
        "gradient of the declared shape"
    );
    if s.batch == 0 || size == 0 || pixels == 0 {
        return vec![0.0; size];
    }
    match s.side {
        1 => gradient_1(s, x, g),
        _ if s.cin < FOUR_FROM => gradient_3::<Two>(s, x, g),
        _ => gradient_3::<Four>(s, x, g),
    }
}

/// `db[o] = sum_b sum_p g[b, o, p]`.
pub(crate) fn bias_gradient(batch: usize, cout: usize, pixels: usize, g: &[f32]) -> Vec<f32> {
    let row = |b: usize, out: *mut f32| {
        for o in 0..cout {
            let image = &g[(b * cout + o) * pixels..][..pixels];
            // SAFETY: o < cout, the length of this task's chunk.
            unsafe { out.add(o).write(total(image.as_ptr(), pixels)) };
        }
    };
    // SAFETY: `row` writes its cout values.
    let partial = unsafe { chunks(batch, cout, row) };
    add_up(partial, batch, cout)
}

dispatch! {
    /// Sum of `n` values.
    unsafe fn total(p: *const f32, n: usize) -> f32 = total_lanes
}

/// # Safety
/// `p` must hold `n` values; the CPU must support `V`.
#[inline(always)]
unsafe fn total_lanes<V: Lanes>(p: *const f32, n: usize) -> f32 {
    let mut sums = [V::splat(0.0); 4];
    let mut i = 0;
    // SAFETY: reads stay below n.
    unsafe {
        while i + 4 * LANES <= n {
            for (k, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add(V::load(p.add(i + k * LANES)));
            }
            i += 4 * LANES;
        }
        while i < n {
            sums[0] = sums[0].add(V::load_part(p.add(i), (n - i).min(LANES)));
            i += LANES;
        }
    }
    sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum()
}

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

/// 3x3: sums of the strips' products, [cout, S::POINTS, cin, 3], transformed at the end.
fn gradient_3<S: Scheme>(s: Shape, x: &[f32], g: &[f32]) -> Vec<f32> {
    let strips = Strips::<S>::new(&s);
    let bytes = S::POINTS * (s.cin * strips.padded() + s.cout * strips.dense()) * size_of::<f32>();
    let (few, enough) = (
        FEW.div_ceil(strips.vectors),
        ENOUGH.div_ceil(strips.vectors),
    );
    let most = (CACHE / bytes).clamp(few, enough);
    let row = S::POINTS * s.cin * 3;
    let count = strips.count(s.batch);
    let sums = grouped(count, most, enough, s.cout, row, |range, channels, sums| {
        let count = range.len();
        let inputs = S::POINTS * s.cin * count * strips.padded();
        let grads = S::POINTS * channels.len() * count * strips.dense();
        with_scratch(inputs + grads, |scratch| {
            let (u, v) = scratch.split_at_mut(inputs);
            let task = Task {
                s,
                strips,
                first: range.start,
                count,
                channels,
                x: x.as_ptr(),
                g: g.as_ptr(),
            };
            // SAFETY: the strips are those of x and g; `u` and `v` have room for all points.
            unsafe { strips_3(&task, u.as_mut_ptr(), v.as_mut_ptr(), sums) };
        });
    });
    let mut gradient = vec![0.0; s.cout * s.cin * 9];
    for (at, taps) in gradient.chunks_exact_mut(9).enumerate() {
        let (o, i) = (at / s.cin, at % s.cin);
        for kx in 0..3 {
            let mut column = [0.0; MOST];
            for (j, sum) in column.iter_mut().enumerate().take(S::POINTS) {
                *sum = sums[o * row + (j * s.cin + i) * 3 + kx];
            }
            for (ky, w) in S::weight_transposed(column).into_iter().enumerate() {
                taps[ky * 3 + kx] = w;
            }
        }
    }
    gradient
}

struct Task<S> {
    s: Shape,
    strips: Strips<S>,
    first: usize,
    count: usize,
    channels: Range<usize>,
    x: *const f32,
    g: *const f32,
}

dispatch! { unsafe fn strips_3<S: Scheme>(t: &Task<S>, u: *mut f32, v: *mut f32, sums: &mut [f32]) = strips_3_lanes }

/// # Safety
/// The strips must be those of `x` and `g`, `u` and `v` have room for transformed inputs and gradients,
/// `sums` be [S::POINTS, cout, cin, 3]; the CPU must support `V`.
#[inline(always)]
unsafe fn strips_3_lanes<S: Scheme, V: Lanes>(
    t: &Task<S>,
    u: *mut f32,
    v: *mut f32,
    sums: &mut [f32],
) {
    let (s, strips, count) = (&t.s, t.strips, t.count);
    let (x_plane, g_plane) = (count * strips.padded(), count * strips.dense());
    let correlation = Correlation {
        per_row: strips.vectors,
        row: strips.padded(),
        rows: count,
    };
    let channels = t.channels.len();
    // SAFETY: promised by the caller; offsets are those of existing channels.
    unsafe {
        strips.inputs::<V>(t.x, 0..s.cin, s.cin, t.first, count, u);
        strips.gradients::<V>(t.g, t.channels.clone(), s.cout, t.first, count, v);
        for j in 0..S::POINTS {
            let (u, v) = (u.add(j * s.cin * x_plane), v.add(j * channels * g_plane));
            for o in (0..channels).step_by(ROWS) {
                let g = rows(v, o, channels, g_plane);
                for i in 0..s.cin {
                    let x = u.add(i * x_plane);
                    let found = correlation.tile::<V>(g, [x, x.add(1), x.add(2)]);
                    for r in 0..ROWS.min(channels - o) {
                        let sums = &mut sums[(((o + r) * S::POINTS + j) * s.cin + i) * 3..][..3];
                        for (sum, found) in sums.iter_mut().zip(&found) {
                            *sum += found[r];
                        }
                    }
                }
            }
        }
    }
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

/// 1x1.
fn gradient_1(s: Shape, x: &[f32], g: &[f32]) -> Vec<f32> {
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
