//! Weight and bias gradients of the convolution.
//!
//! Samples are taken in groups whose size depends on the batch alone; each group adds up in sample
//! order, then the groups' sums are added in group order. The result is thus the same for any number
//! of threads.

use super::{Layout, Shape};
use crate::buffer::{add_up, chunks, with_scratch};
use crate::simd::{LANES, Lanes, dispatch};

/// Output channels, and shifted inputs, one kernel call correlates.
const ROWS: usize = 4;
const COLUMNS: usize = 3;
/// Most groups the batch is cut into: enough to keep many cores busy, few enough to add up cheaply.
const GROUPS: usize = 16;
/// Pixels of several small images correlated in one go, to spread the cost of adding up lanes.
const PIXELS: usize = 1024;

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
    let together = (PIXELS / pixels).max(1);
    let per_group = s.batch.div_ceil(GROUPS).next_multiple_of(together);
    let groups = s.batch.div_ceil(per_group);
    let group = |n: usize, out: *mut f32| {
        // SAFETY: `out` is this group's chunk; writing zeros makes it a valid slice.
        let sums = unsafe {
            out.write_bytes(0, size);
            std::slice::from_raw_parts_mut(out, size)
        };
        let end = ((n + 1) * per_group).min(s.batch);
        let mut first = n * per_group;
        while first < end {
            let next = (first + together).min(end);
            correlate(s, x, g, first..next, sums);
            first = next;
        }
    };
    // SAFETY: `group` zeroes, and so writes, its whole chunk.
    let partial = unsafe { chunks(groups, size, group) };
    add_up(partial, groups, size)
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

/// Adds the weight gradient of the samples in `range` to `sums`.
///
/// Inputs are copied into bordered planes and gradients into planes with the same row length, zero
/// past each row's end; a tap's inner product then is one run over the whole plane.
fn correlate(s: Shape, x: &[f32], g: &[f32], range: std::ops::Range<usize>, sums: &mut [f32]) {
    let layout = s.layout();
    let pixels = s.pixels();
    let count = range.len();
    let run = (layout.height * layout.row).next_multiple_of(LANES);
    let in_place = s.side == 1 && run == pixels;
    let (x_step, g_step) = match in_place {
        true => (s.cin * pixels, s.cout * pixels),
        false => (layout.scratch(s.cin), s.cout * run),
    };
    let copies = if in_place { 0 } else { count };
    with_scratch(copies * (x_step + g_step), |scratch| {
        let (planes, grads) = scratch.split_at_mut(copies * x_step);
        for (n, b) in range.clone().enumerate().take(copies) {
            let dense = &x[b * s.cin * pixels..][..s.cin * pixels];
            layout.fill(dense, s.cin, &mut planes[n * x_step..][..x_step]);
            let dense = &g[b * s.cout * pixels..][..s.cout * pixels];
            spread(&layout, dense, run, &mut grads[n * g_step..][..g_step]);
        }
        let (x, g) = match in_place {
            true => (&x[range.start * x_step..], &g[range.start * g_step..]),
            false => (&*planes, &*grads),
        };
        let task = Task {
            layout,
            count,
            cin: s.cin,
            cout: s.cout,
            x: x.as_ptr(),
            x_step,
            g: g.as_ptr(),
            g_step,
            run,
        };
        // SAFETY: both slices hold `count` samples of the layout; `sums` is [cout, cin, taps].
        unsafe {
            match s.side {
                1 => samples_1(&task, sums),
                _ => samples_3(&task, sums),
            }
        }
    });
}

/// Copies dense gradient images into planes of `run` values with the layout's row length.
fn spread(layout: &Layout, dense: &[f32], run: usize, planes: &mut [f32]) {
    let image = layout.height * layout.width;
    for (plane, image) in planes.chunks_exact_mut(run).zip(dense.chunks_exact(image)) {
        let (rows, rest) = plane.split_at_mut(layout.height * layout.row);
        for (to, from) in rows
            .chunks_exact_mut(layout.row)
            .zip(image.chunks_exact(layout.width))
        {
            to[..layout.width].copy_from_slice(from);
            to[layout.width..].fill(0.0);
        }
        rest.fill(0.0);
    }
}

struct Task {
    layout: Layout,
    count: usize,
    cin: usize,
    cout: usize,
    x: *const f32,
    x_step: usize,
    g: *const f32,
    g_step: usize,
    /// Values from one gradient plane to the next; whole vectors.
    run: usize,
}

dispatch! { unsafe fn samples_1(t: &Task, sums: &mut [f32]) = samples[1] }
dispatch! { unsafe fn samples_3(t: &Task, sums: &mut [f32]) = samples[3] }

/// # Safety
/// `t` must describe readable planes (x with eight values to spare unless the planes of a 1x1 kernel
/// are whole vectors), `sums` be [cout, cin, SIDE, SIDE], and the CPU support `V`.
#[inline(always)]
unsafe fn samples<const SIDE: usize, V: Lanes>(t: &Task, sums: &mut [f32]) {
    let taps = SIDE * SIDE;
    for o in (0..t.cout).step_by(ROWS) {
        // Missing channels of the last block repeat the last one; their results are dropped.
        let g: [usize; ROWS] = core::array::from_fn(|r| (o + r).min(t.cout - 1) * t.run);
        let rows = ROWS.min(t.cout - o);
        let mut put = |i: usize, tap: usize, found: [[f32; COLUMNS]; ROWS], columns: usize| {
            for (r, found) in found.iter().enumerate().take(rows) {
                let at = ((o + r) * t.cin + i) * taps + tap;
                for (sum, value) in sums[at..at + columns].iter_mut().zip(found) {
                    *sum += value;
                }
            }
        };
        // SAFETY: all offsets are those of existing planes and taps.
        unsafe {
            if SIDE == 1 {
                for i in (0..t.cin).step_by(COLUMNS) {
                    let x: [usize; COLUMNS] =
                        core::array::from_fn(|c| (i + c).min(t.cin - 1) * t.layout.plane);
                    put(i, 0, tile::<V>(t, g, x), COLUMNS.min(t.cin - i));
                }
            } else {
                for i in 0..t.cin {
                    for ky in 0..SIDE {
                        let start = i * t.layout.plane + ky * t.layout.row;
                        let x = [start, start + 1, start + 2];
                        put(i, ky * SIDE, tile::<V>(t, g, x), COLUMNS);
                    }
                }
            }
        }
    }
}

/// Inner products of four gradient planes with three input planes, over all samples and pixels.
///
/// # Safety
/// As [`samples`], for planes starting at the offsets `g` and `x` within each sample.
#[inline(always)]
unsafe fn tile<V: Lanes>(
    t: &Task,
    g: [usize; ROWS],
    x: [usize; COLUMNS],
) -> [[f32; COLUMNS]; ROWS] {
    let mut sums = [[V::splat(0.0); COLUMNS]; ROWS];
    // SAFETY: every read lies within a plane, or past it by less than a vector where the gradient is
    // zero and the memory belongs to the next plane or the spare values.
    unsafe {
        for n in 0..t.count {
            let (gs, xs) = (t.g.add(n * t.g_step), t.x.add(n * t.x_step));
            let g = g.map(|g| gs.add(g));
            let x = x.map(|x| xs.add(x));
            let mut p = 0;
            while p < t.run {
                let xv = x.map(|x| V::load(x.add(p)));
                for (row, g) in sums.iter_mut().zip(g) {
                    let gv = V::load(g.add(p));
                    for (sum, &xv) in row.iter_mut().zip(&xv) {
                        *sum = gv.fma(xv, *sum);
                    }
                }
                p += LANES;
            }
        }
    }
    sums.map(|row| row.map(|v| v.sum()))
}
