//! SiLU, `x * sigmoid(x)`, element by element on slices.

use crate::buffer::spans;
use crate::simd::{LANES, Lanes, TOGETHER, dispatch};

/// `x * sigmoid(x)`.
pub(crate) fn forward(x: &[f32]) -> Vec<f32> {
    // SAFETY: `silu` writes the whole span.
    unsafe { spans(x.len(), |range, out| silu(&x[range], out)) }
}

/// Gradient with respect to `x`, given that of the output.
pub(crate) fn backward(x: &[f32], g: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), g.len());
    // SAFETY: `silu_gradient` writes the whole span.
    unsafe { spans(x.len(), |r, out| silu_gradient(&x[r.clone()], &g[r], out)) }
}

dispatch! { unsafe fn silu(x: &[f32], out: *mut f32) = silu_lanes }
dispatch! { unsafe fn silu_gradient(x: &[f32], g: &[f32], out: *mut f32) = gradient_lanes }

/// # Safety
/// `out` must hold as many values as `x`; the CPU must support `V`.
#[inline(always)]
unsafe fn silu_lanes<V: Lanes>(x: &[f32], out: *mut f32) {
    let len = x.len();
    let x = x.as_ptr();
    let mut p = 0;
    // SAFETY: reads and writes stay below x.len().
    unsafe {
        while p + TOGETHER * LANES <= len {
            let mut v = [V::splat(0.0); TOGETHER];
            for (k, v) in v.iter_mut().enumerate() {
                *v = V::load(x.add(p + k * LANES));
            }
            for (k, y) in V::silus(v).into_iter().enumerate() {
                y.store(out.add(p + k * LANES));
            }
            p += TOGETHER * LANES;
        }
        while p < len {
            let n = (len - p).min(LANES);
            let [y] = V::silus([V::load_part(x.add(p), n)]);
            y.store_part(out.add(p), n);
            p += LANES;
        }
    }
}

/// # Safety
/// `g` and `out` must hold as many values as `x`; the CPU must support `V`.
#[inline(always)]
unsafe fn gradient_lanes<V: Lanes>(x: &[f32], g: &[f32], out: *mut f32) {
    let len = x.len();
    let (x, g) = (x.as_ptr(), g.as_ptr());
    let mut p = 0;
    // SAFETY: reads and writes stay below x.len().
    unsafe {
        while p + TOGETHER * LANES <= len {
            let mut v = [V::splat(0.0); TOGETHER];
            for (k, v) in v.iter_mut().enumerate() {
                *v = V::load(x.add(p + k * LANES));
            }
            for (k, slope) in V::silu_slopes(v).into_iter().enumerate() {
                let at = p + k * LANES;
                slope.mul(V::load(g.add(at))).store(out.add(at));
            }
            p += TOGETHER * LANES;
        }
        while p < len {
            let n = (len - p).min(LANES);
            let [slope] = V::silu_slopes([V::load_part(x.add(p), n)]);
            slope.mul(V::load_part(g.add(p), n)).store_part(out.add(p), n);
            p += LANES;
        }
    }
}
