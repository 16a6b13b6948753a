//! Weights as the products want them: in blocks of output channels, 3x3 ones transformed.

use super::scheme::{FOUR_FROM, Four, MOST, Scheme, Two};
use super::shape::Shape;
use super::{direct, product, transform};
use crate::memory::buffer::{LINE, Out, filled, with_scratch};
use crate::simd::{LANES, Lanes, dispatch};
use rayon::prelude::*;

/// Weights `[cout, cin, side, side]` of a convolution, read in place.
#[derive(Clone, Copy)]
struct Weights<'a> {
    values: &'a [f32],
    /// Values from one output, and one input, channel to the next.
    output: usize,
    input: usize,
    /// Whether the taps are turned round.
    turned: bool,
}

/// Pixels of a batch from which packing is next to nothing beside the products.
const MANY: usize = 2048;
/// Bytes of packed weights worth saving then.
const LARGE: usize = 8 << 20;

/// Whether to keep frozen weights packed. Large ones for large images are not: a network of 200 MB would take four
/// times that, to save a few hundredths of the time.
pub(crate) fn worth_keeping(s: &Shape) -> bool {
    s.batch * s.pixels() < MANY || packed_len(s) * size_of::<f32>() < LARGE
}

/// Weights `w` [cout, cin, side, side] for [`super::forward`].
pub(crate) fn pack(s: Shape, w: &[f32]) -> Vec<f32> {
    assert_eq!(
        w.len(),
        s.cout * s.cin * s.taps(),
        "weights of the declared shape"
    );
    pack_weights(
        &s,
        Weights {
            values: w,
            output: s.cin * s.taps(),
            input: s.taps(),
            turned: false,
        },
    )
}

/// Weights `w` [cin, cout, side, side], the taps turned round, for [`super::forward`]: those of the gradient.
pub(super) fn pack_turned(s: Shape, w: &[f32]) -> Vec<f32> {
    assert_eq!(
        w.len(),
        s.cout * s.cin * s.taps(),
        "weights of the declared shape"
    );
    pack_weights(
        &s,
        Weights {
            values: w,
            output: s.taps(),
            input: s.cout * s.taps(),
            turned: true,
        },
    )
}

/// Values from one point of packed weights to the next: not a power of two, or points would evict each other.
pub(super) fn point_len(s: &Shape) -> usize {
    s.cout * s.cin + LINE
}

/// Values that [`pack`] makes.
pub(crate) fn packed_len(s: &Shape) -> usize {
    match s.side {
        1 => s.cout * s.cin,
        _ if direct::takes(s) => s.cout * s.cin * s.taps(),
        _ if s.cin < FOUR_FROM => Two::POINTS * point_len(s),
        _ => Four::POINTS * point_len(s),
    }
}

fn pack_weights(s: &Shape, w: Weights<'_>) -> Vec<f32> {
    match s.side {
        1 => pack_1(s, w),
        _ if direct::takes(s) => pack_direct(s, w),
        _ if s.cin < FOUR_FROM => pack_3::<Two>(s, w),
        _ => pack_3::<Four>(s, w),
    }
}

/// For each point the [`product::blocks`] of output channels, each ordered [input channel][row].
fn pack_3<S: Scheme>(s: &Shape, w: Weights<'_>) -> Vec<f32> {
    let blocks: Vec<_> = product::blocks(s.cout).collect();
    // Small weights are not worth handing out.
    let least = (SERIAL / (s.cin * S::POINTS).max(1)).max(1);
    // SAFETY: the blocks cover all rows, and what lies between the points is cleared.
    unsafe {
        filled(S::POINTS * point_len(s), |out| {
            for p in 0..S::POINTS {
                out.at(p * point_len(s) + s.cout * s.cin)
                    .write_bytes(0, LINE);
            }
            blocks.par_iter().with_min_len(least).for_each(|&block| {
                with_scratch(GATHERED * 9 * LANES, |taps| {
                    block_3::<S>(s, w, block, taps.as_mut_ptr(), out);
                });
            });
        })
    }
}

/// Input channels whose taps are brought into lanes before they are transformed.
const GATHERED: usize = 16;

dispatch! { unsafe fn block_3<S: Scheme>(s: &Shape, w: Weights<'_>, block: (usize, usize), taps: *mut f32, out: Out) = block_3_lanes }

/// # Safety
/// `w` must be of shape `s`, the block one of its rows, `taps` have room for [`GATHERED`] channels, `out` be the packed
/// weights; the CPU must support `V`.
#[inline(always)]
unsafe fn block_3_lanes<S: Scheme, V: Lanes>(
    s: &Shape,
    w: Weights<'_>,
    (first, rows): (usize, usize),
    taps: *mut f32,
    out: Out,
) {
    // SAFETY: promised by the caller.
    unsafe {
        match rows {
            1 => rows_3::<S, 1, V>(s, w, first, taps, out),
            2 => rows_3::<S, 2, V>(s, w, first, taps, out),
            3 => rows_3::<S, 3, V>(s, w, first, taps, out),
            4 => rows_3::<S, 4, V>(s, w, first, taps, out),
            5 => rows_3::<S, 5, V>(s, w, first, taps, out),
            _ => rows_3::<S, 6, V>(s, w, first, taps, out),
        }
    }
}

/// # Safety
/// As [`block_3_lanes`].
#[inline(always)]
unsafe fn rows_3<S: Scheme, const R: usize, V: Lanes>(
    s: &Shape,
    w: Weights<'_>,
    first: usize,
    taps: *mut f32,
    out: Out,
) {
    let point = point_len(s);
    for start in (0..s.cin).step_by(GATHERED) {
        let count = GATHERED.min(s.cin - start);
        // SAFETY: channels exist, tap t of lane r of channel i lies at i * 9 * LANES + t * LANES + r < the room for
        // taps, and each point's R values are this block's.
        unsafe {
            for i in 0..count {
                let to = taps.add(i * 9 * LANES);
                for r in 0..R {
                    let from = &w.values[(first + r) * w.output + (start + i) * w.input..][..9];
                    for (t, &value) in from.iter().enumerate() {
                        let t = if w.turned { 8 - t } else { t };
                        to.add(t * LANES + r).write(value);
                    }
                }
            }
            for i in 0..count {
                let from = taps.add(i * 9 * LANES);
                let mut lanes = [V::splat(0.0); 9];
                for (t, lanes) in lanes.iter_mut().enumerate() {
                    *lanes = V::load(from.add(t * LANES));
                }
                let points = transform::weight::<S, V>(lanes);
                let to = out.at(first * s.cin + (start + i) * R);
                for (j, points) in points.iter().enumerate().take(S::PRODUCTS) {
                    for (k, value) in points.iter().enumerate().take(S::PRODUCTS) {
                        let mut values = [0.0f32; LANES];
                        value.store(values.as_mut_ptr());
                        let to = to.add((j * S::PRODUCTS + k) * point);
                        to.copy_from_nonoverlapping(values.as_ptr(), R);
                    }
                }
            }
        }
    }
    const { assert!(S::PRODUCTS <= MOST) };
}

/// The [`product::blocks`] of output channels, each ordered [input channel][row].
fn pack_1(s: &Shape, w: Weights<'_>) -> Vec<f32> {
    let mut packed = Vec::with_capacity(s.cout * s.cin);
    for (first, rows) in product::blocks(s.cout) {
        for i in 0..s.cin {
            packed.extend((first..first + rows).map(|o| w.values[o * w.output + i * w.input]));
        }
    }
    packed
}

/// The [`product::blocks`] of output channels, each ordered [input channel][tap][row].
fn pack_direct(s: &Shape, w: Weights<'_>) -> Vec<f32> {
    let (taps, blocks) = (s.taps(), product::blocks(s.cout).collect::<Vec<_>>());
    // SAFETY: the blocks cover all rows, and all terms of theirs are written.
    unsafe {
        filled(s.cout * s.cin * taps, |out| {
            blocks.par_iter().for_each(|&(first, rows)| {
                for i in 0..s.cin {
                    for r in 0..rows {
                        let from = &w.values[(first + r) * w.output + i * w.input..][..taps];
                        for (t, &value) in from.iter().enumerate() {
                            let t = if w.turned { taps - 1 - t } else { t };
                            out.at((first * s.cin + i * rows) * taps + t * rows + r)
                                .write(value);
                        }
                    }
                }
            });
        })
    }
}

/// Values to pack before a second thread is worth it.
const SERIAL: usize = 1 << 12;
