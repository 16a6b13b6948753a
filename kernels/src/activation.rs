//! SiLU, `x * sigmoid(x)`, and the gate of transformers, value times GELU, on slices.

use crate::buffer::{chunks, spans};
use crate::simd::{LANES, Lanes, dispatch, load, store};

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

/// `value * gelu(gate)` of rows `[value, gate]`, `width` numbers each; GELU is x times the normal distribution up to x.
pub(crate) fn gated(x: &[f32], width: usize) -> Vec<f32> {
    let rows = x.chunks_exact((2 * width).max(1)).len();
    // SAFETY: `gate` writes the whole row.
    unsafe {
        chunks(rows, width, |r, out| {
            let (value, of) = x[2 * r * width..][..2 * width].split_at(width);
            gate(value, of, out);
        })
    }
}

/// Gradient with respect to `x`, given that of the output.
pub(crate) fn gated_backward(x: &[f32], g: &[f32], width: usize) -> Vec<f32> {
    let rows = x.chunks_exact((2 * width).max(1)).len();
    assert_eq!(g.len(), rows * width);
    // SAFETY: `gate_gradient` writes the whole row.
    unsafe {
        chunks(rows, 2 * width, |r, out| {
            let (value, of) = x[2 * r * width..][..2 * width].split_at(width);
            gate_gradient(value, of, &g[r * width..][..width], out);
        })
    }
}

dispatch! { unsafe fn gate(value: &[f32], of: &[f32], out: *mut f32) = gate_lanes }
dispatch! { unsafe fn gate_gradient(value: &[f32], of: &[f32], g: &[f32], out: *mut f32) = gate_gradient_lanes }

/// # Safety
/// `out` must hold as many values as `value` and `of`; the CPU must support `V`.
#[inline(always)]
unsafe fn gate_lanes<V: Lanes>(value: &[f32], of: &[f32], out: *mut f32) {
    for p in (0..value.len()).step_by(LANES) {
        let n = LANES.min(value.len() - p);
        // SAFETY: reads and writes stay below the length of all three.
        unsafe {
            let x = load::<V>(of.as_ptr().add(p), n);
            let [part, _] = x.normal();
            let v = load::<V>(value.as_ptr().add(p), n);
            store(v.mul(x.mul(part)), out.add(p), n);
        }
    }
}

/// # Safety
/// `out` must hold twice as many values as `value`, `of` and `g`; the CPU must support `V`.
#[inline(always)]
unsafe fn gate_gradient_lanes<V: Lanes>(value: &[f32], of: &[f32], g: &[f32], out: *mut f32) {
    let root = V::splat((0.5 / std::f64::consts::PI).sqrt() as f32);
    for p in (0..value.len()).step_by(LANES) {
        let n = LANES.min(value.len() - p);
        // SAFETY: reads and writes stay below the length of all.
        unsafe {
            let x = load::<V>(of.as_ptr().add(p), n);
            let v = load::<V>(value.as_ptr().add(p), n);
            let g = load::<V>(g.as_ptr().add(p), n);
            let [part, density] = x.normal();
            let slope = x.fma(density.mul(root), part);
            store(g.mul(x.mul(part)), out.add(p), n);
            let to = out.add(value.len() + p);
            store(g.mul(v).mul(slope), to, n);
        }
    }
}
