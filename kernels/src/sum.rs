//! The scaled sum of a branch and its shortcut, on slices.

use crate::memory::buffer::spans;
use crate::simd::{LANES, Lanes, dispatch, load, store};

/// `(a + b) * scale`.
pub(crate) fn forward(a: &[f32], b: &[f32], scale: f32) -> Vec<f32> {
    assert_eq!(a.len(), b.len());
    // SAFETY: `sum` writes the whole span.
    unsafe { spans(a.len(), |r, out| sum(&a[r.clone()], &b[r], scale, out)) }
}

/// Gradient with respect to either, given that of the output.
pub(crate) fn backward(g: &[f32], scale: f32) -> Vec<f32> {
    // SAFETY: `multiple` writes the whole span.
    unsafe { spans(g.len(), |r, out| multiple(&g[r], scale, out)) }
}

dispatch! { unsafe fn sum(a: &[f32], b: &[f32], scale: f32, out: *mut f32) = sum_lanes }
dispatch! { unsafe fn multiple(g: &[f32], scale: f32, out: *mut f32) = multiple_lanes }

/// # Safety
/// `b` must be as long as `a`, `out` hold as many values; the CPU must support `V`.
#[inline(always)]
unsafe fn sum_lanes<V: Lanes>(a: &[f32], b: &[f32], scale: f32, out: *mut f32) {
    let scale = V::splat(scale);
    for p in (0..a.len()).step_by(LANES) {
        let n = LANES.min(a.len() - p);
        // SAFETY: reads and writes stay below the length of all three.
        unsafe {
            let v = load::<V>(a.as_ptr().add(p), n).add(load(b.as_ptr().add(p), n));
            store(v.mul(scale), out.add(p), n);
        }
    }
}

/// # Safety
/// `out` must hold as many values as `g`; the CPU must support `V`.
#[inline(always)]
unsafe fn multiple_lanes<V: Lanes>(g: &[f32], scale: f32, out: *mut f32) {
    let scale = V::splat(scale);
    for p in (0..g.len()).step_by(LANES) {
        let n = LANES.min(g.len() - p);
        // SAFETY: reads and writes stay below the length of both.
        unsafe { store(load::<V>(g.as_ptr().add(p), n).mul(scale), out.add(p), n) };
    }
}
