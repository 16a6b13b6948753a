//! The gradient of a convolution's bias.

use crate::memory::buffer::{add_up, chunks};
use crate::simd::{LANES, Lanes, dispatch};

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
    let mut sums = add_up(partial, batch, cout);
    for (o, sum) in sums.iter_mut().enumerate() {
        let images = (0..batch).map(|b| &g[(b * cout + o) * pixels..][..pixels]);
        if cancels(*sum, batch * pixels, images) {
            *sum = 0.0;
        }
    }
    sums
}

/// What rounding may leave of a sum, as a part of the sum of absolute values; a generous bound.
const ROUNDING: f32 = 1.0 / (1 << 16) as f32;

/// Whether values of which `count` were added up to `sum` cancel exactly, so that `sum` is rounding alone.
///
/// The gradient of a distance L1 has one absolute value and two signs, and half of each are not rare. An optimiser that
/// divides by the gradient's size, as Adam does, makes a whole step of any number but 0.
fn cancels<'a>(sum: f32, count: usize, images: impl Iterator<Item = &'a [f32]> + Clone) -> bool {
    // Where values are of one size, any of them shows it; of others an exact sum of 0 is no rarer by this.
    let mut first = images.clone().flat_map(|image| image.iter().take(LANES));
    let size = first
        .by_ref()
        .take(LANES)
        .fold(0.0f32, |most, v| most.max(v.abs()));
    if sum == 0.0 || sum.abs() > ROUNDING * count as f32 * size {
        return false;
    }
    // Differences of at most 2^29 equal numbers of 24 bits are exact in f64.
    let exact: f64 = images.flatten().map(|v| f64::from(*v)).sum();
    exact == 0.0
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Signs times a number with all its bits, in an order that leaves rounding behind.
    fn signs(batch: usize, pixels: usize, more: usize) -> Vec<f32> {
        let count = batch * pixels;
        let value = 1.027_064_9f32;
        let sign = |i: usize| {
            if i * 7 % count < count / 2 + more {
                value
            } else {
                -value
            }
        };
        (0..count).map(sign).collect()
    }

    #[test]
    fn signs_that_cancel_leave_nothing() {
        let (batch, pixels) = (3, 250);
        let even = signs(batch, pixels, 0);
        let plain: f32 = (0..batch)
            // SAFETY: the image holds its pixels.
            .map(|b| unsafe { total(even[b * pixels..].as_ptr(), pixels) })
            .sum();
        assert!(plain != 0.0 && plain.abs() < 1e-3, "{plain}");
        assert_eq!(bias_gradient(batch, 1, pixels, &even), [0.0]);
        // One more is no rounding.
        let odd = bias_gradient(batch, 1, pixels, &signs(batch, pixels, 1));
        assert!((odd[0] - 2.0 * 1.027_064_9).abs() < 1e-3, "{odd:?}");
        assert_eq!(bias_gradient(2, 1, 4, &[0.0; 8]), [0.0]);
        assert_eq!(bias_gradient(0, 2, 4, &[]), [0.0; 2]);
        assert_eq!(bias_gradient(2, 1, 0, &[]), [0.0]);
    }
}
