//! SiLU, `x * sigmoid(x)`, element by element on slices.

use crate::buffer::spans;
use crate::simd::{LANES, Lanes, dispatch};

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
    let whole = x.len() / LANES * LANES;
    // SAFETY: reads and writes stay below x.len().
    unsafe {
        for p in (0..whole).step_by(LANES) {
            let v = V::load(x.as_ptr().add(p));
            v.silu().store(out.add(p));
        }
        if whole < x.len() {
            let v = V::load_part(x.as_ptr().add(whole), x.len() - whole);
            v.silu().store_part(out.add(whole), x.len() - whole);
        }
    }
}

/// # Safety
/// `g` and `out` must hold as many values as `x`; the CPU must support `V`.
#[inline(always)]
unsafe fn gradient_lanes<V: Lanes>(x: &[f32], g: &[f32], out: *mut f32) {
    let whole = x.len() / LANES * LANES;
    // SAFETY: reads and writes stay below x.len().
    unsafe {
        for p in (0..whole).step_by(LANES) {
            let v = V::load(x.as_ptr().add(p)).silu_slope();
            v.mul(V::load(g.as_ptr().add(p))).store(out.add(p));
        }
        let n = x.len() - whole;
        if n > 0 {
            let v = V::load_part(x.as_ptr().add(whole), n).silu_slope();
            v.mul(V::load_part(g.as_ptr().add(whole), n))
                .store_part(out.add(whole), n);
        }
    }
}
