//! Forward convolution and its input gradient.

use super::Shape;
use super::pack::{pack_taps, packed_len};
use super::scheme::{FOUR_FROM, Four, Scheme, Two};
use super::strip::Strips;
use super::tile::{self, Product};
use crate::buffer::{Out, filled, with_scratch};
use crate::simd::{LANES, Lanes, dispatch};
use rayon::prelude::*;

/// Bytes of transformed inputs and products that a task works on, to stay in the second-level cache.
const CACHE: usize = 256 << 10;
/// Vectors of pixels that are enough for a task to pay for its overheads.
const ENOUGH: usize = 36;

/// `y[b, o] = bias[o] + sum_i w[o, i] * x[b, i]`.
///
/// `x` is [batch, cin, height, width], `bias` [cout], both dense; `w` [cout, cin, side, side] as
/// [`pack`] gives it.
pub(crate) fn forward(s: Shape, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    assert_eq!(
        x.len(),
        s.batch * s.cin * s.pixels(),
        "input of the declared shape"
    );
    assert_eq!(w.len(), packed_len(&s), "weights of the declared shape");
    assert!(bias.is_none_or(|b| b.len() == s.cout));
    match s.side {
        1 => run_1(s, x, bias, w),
        _ if s.cin < FOUR_FROM => run_3::<Two>(s, x, bias, w),
        _ => run_3::<Four>(s, x, bias, w),
    }
}

/// Gradient with respect to `x`, given the gradient `g` [batch, cout, height, width] of the output and
/// the weights `w` [cout, cin, side, side].
///
/// It is the convolution with the taps turned round and the channels swapped.
pub(crate) fn input_gradient(s: Shape, g: &[f32], w: &[f32]) -> Vec<f32> {
    let taps = s.taps();
    let swapped = Shape {
        cin: s.cout,
        cout: s.cin,
        ..s
    };
    let packed = pack_taps(swapped, |i, o, t| w[(o * s.cin + i) * taps + taps - 1 - t]);
    forward(swapped, g, &packed, None)
}

/// 3x3, strip by strip.
fn run_3<S: Scheme>(s: Shape, x: &[f32], bias: Option<&[f32]>, packed: &[f32]) -> Vec<f32> {
    let strips = Strips::<S>::new(&s);
    let count = strips.count(s.batch);
    let packed_point = s.cout * s.cin * 3;
    let bytes = S::POINTS * (s.cin * strips.padded() + s.cout * strips.dense()) * size_of::<f32>();
    let most = (CACHE / bytes.max(1)).min(ENOUGH.div_ceil(strips.vectors.max(1)));
    // Not so many that a small batch leaves threads without work.
    let fair = count.div_ceil(2 * rayon::current_num_threads());
    let size = most.min(fair).max(1);
    let work = |n: usize, y: Out| {
        let first = n * size;
        let count = size.min(count - first);
        let inputs = s.cin * count * strips.padded();
        let products = s.cout * count * strips.dense();
        with_scratch(S::POINTS * (inputs + products), |scratch| {
            let (u, m) = scratch.split_at_mut(S::POINTS * inputs);
            let task = Task3 {
                s,
                strips,
                first,
                count,
                taps: 3,
                x: x.as_ptr(),
                packed: packed.as_ptr(),
                packed_point,
                bias,
            };
            // SAFETY: strips below `count` belong to images of the batch, and tasks to different
            // strips; `u` and `m` have room for all points' inputs and products.
            unsafe { strips_3(&task, u.as_mut_ptr(), m.as_mut_ptr(), y.at(0)) };
        });
    };
    // SAFETY: the strips cover every row of every image.
    unsafe {
        filled(s.batch * s.cout * s.pixels(), |y| {
            (0..count.div_ceil(size))
                .into_par_iter()
                .for_each(|n| work(n, y));
        })
    }
}

/// Some strips' work.
struct Task3<'a, S> {
    s: Shape,
    strips: Strips<S>,
    first: usize,
    count: usize,
    /// Always 3, which the compiler must not know: see [`tile::product`].
    taps: usize,
    x: *const f32,
    packed: *const f32,
    packed_point: usize,
    bias: Option<&'a [f32]>,
}

dispatch! { unsafe fn strips_3<S: Scheme>(t: &Task3<'_, S>, u: *mut f32, m: *mut f32, y: *mut f32) = strips_3_lanes }

/// # Safety
/// The strips must be those of `x` and `y`, `packed` the weights of the shape, `u` and `m` have room for
/// transformed inputs and products; the CPU must support `V`.
#[inline(always)]
unsafe fn strips_3_lanes<S: Scheme, V: Lanes>(
    t: &Task3<'_, S>,
    u: *mut f32,
    m: *mut f32,
    y: *mut f32,
) {
    let (s, strips, count) = (&t.s, t.strips, t.count);
    let (plane, stride) = (count * strips.padded(), count * strips.dense());
    // SAFETY: promised by the caller.
    unsafe {
        strips.inputs::<V>(t.x, 0..s.cin, s.cin, t.first, count, u);
        for j in 0..S::POINTS {
            tile::product::<V>(&Product {
                cin: s.cin,
                cout: s.cout,
                taps: t.taps,
                plane,
                per_row: strips.vectors,
                row: strips.padded(),
                vectors: count * strips.vectors,
                x: u.add(j * s.cin * plane),
                w: t.packed.add(j * t.packed_point),
                start: None,
                y: m.add(j * s.cout * stride),
                stride,
            });
        }
        strips.outputs::<V>(m, t.bias, s.cout, t.first, count, y);
    }
}

/// 1x1: each task some pixels of an image.
fn run_1(s: Shape, x: &[f32], bias: Option<&[f32]>, packed: &[f32]) -> Vec<f32> {
    let pixels = s.pixels();
    let size =
        (CACHE / 4 / (s.cin * size_of::<f32>()).max(1)).clamp(2 * LANES, 32 * LANES) & !(LANES - 1);
    let per_image = pixels.div_ceil(size);
    let work = |n: usize, y: Out| {
        let (b, first) = (n / per_image, n % per_image * size);
        let count = size.min(pixels - first);
        let dense = count.next_multiple_of(LANES);
        with_scratch((s.cin + s.cout) * dense, |scratch| {
            let (u, m) = scratch.split_at_mut(s.cin * dense);
            // Copied together: rows of pixels a power of two apart would evict each other.
            for (i, row) in u.chunks_exact_mut(dense).enumerate() {
                row[..count].copy_from_slice(&x[(b * s.cin + i) * pixels + first..][..count]);
                row[count..].fill(0.0);
            }
            // SAFETY: the task's pixels of image b.
            let y = unsafe { y.at(b * s.cout * pixels + first) };
            let whole = dense == count;
            let product = Product {
                cin: s.cin,
                cout: s.cout,
                taps: 1,
                plane: dense,
                per_row: dense / LANES,
                row: 0,
                vectors: dense / LANES,
                x: u.as_ptr(),
                w: packed.as_ptr(),
                start: bias,
                y: if whole { y } else { m.as_mut_ptr() },
                stride: if whole { pixels } else { dense },
            };
            // SAFETY: the scratch holds whole vectors; whole vectors of `y` are this task's, and of others
            // only `count` values a channel are written.
            unsafe {
                pixels_1(&product);
                if !whole {
                    for (o, found) in m.chunks_exact(dense).enumerate() {
                        y.add(o * pixels)
                            .copy_from_nonoverlapping(found.as_ptr(), count);
                    }
                }
            }
        });
    };
    // SAFETY: the tasks cover all pixels of all images.
    unsafe {
        filled(s.batch * s.cout * pixels, |y| {
            (0..s.batch * per_image)
                .into_par_iter()
                .for_each(|n| work(n, y));
        })
    }
}

dispatch! { unsafe fn pixels_1(t: &Product<'_>) = pixels_1_lanes }

/// # Safety
/// As [`tile::product`].
#[inline(always)]
unsafe fn pixels_1_lanes<V: Lanes>(t: &Product<'_>) {
    // SAFETY: promised by the caller.
    unsafe { tile::product::<V>(t) }
}
