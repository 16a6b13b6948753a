//! SiLU, `x * sigmoid(x)`, and the gate of transformers, value times GELU, on slices.

use crate::memory::buffer::{chunks, spans};
use crate::simd::{LANES, Lanes, TOGETHER, dispatch, load, store};

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
            slope
                .mul(V::load_part(g.add(p), n))
                .store_part(out.add(p), n);
            p += LANES;
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
