//! Forward convolution and its input gradient.

use super::{Layout, Shape};
use crate::buffer::{chunks, with_scratch};
use crate::simd::{LANES, Lanes, dispatch};

/// Output channels one kernel call computes.
const ROWS: usize = 4;
/// Pixel vectors one kernel call computes. The 4 x 2 sums are as many as hide the latency of a fused
/// multiply-add at two a cycle; 4 x 3 would fill all 16 registers and makes the compiler spill.
const COLUMNS: usize = 2;
/// Pixel vectors all output channels are computed for before moving on, so the input stays in L1.
const BAND: usize = 24;

/// `y[b, o] = bias[o] + sum_i w[o, i] * x[b, i]`.
///
/// `x` is [batch, cin, height, width], `w` [cout, cin, side, side], `bias` [cout]; all dense.
pub(crate) fn forward(s: Shape, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let taps = s.taps();
    let packed = pack(s.cout, s.cin * taps, |o, k| w[o * s.cin * taps + k]);
    run(s, x, &packed, bias)
}

/// Gradient with respect to `x`, given the gradient `g` [batch, cout, height, width] of the output.
pub(crate) fn input_gradient(s: Shape, g: &[f32], w: &[f32]) -> Vec<f32> {
    let taps = s.taps();
    let packed = pack(s.cin, s.cout * taps, |i, k| {
        let (o, t) = (k / taps, k % taps);
        w[(o * s.cin + i) * taps + taps - 1 - t]
    });
    let swapped = Shape {
        cin: s.cout,
        cout: s.cin,
        ..s
    };
    run(swapped, g, &packed, None)
}

/// Weights in the order the kernel reads them: [block of four outputs][k][output], zero-padded.
fn pack(outputs: usize, depth: usize, weight: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut packed = vec![0.0; outputs.div_ceil(ROWS) * depth * ROWS];
    for o in 0..outputs {
        let block = &mut packed[o / ROWS * depth * ROWS..][..depth * ROWS];
        for k in 0..depth {
            block[k * ROWS + o % ROWS] = weight(o, k);
        }
    }
    packed
}

fn run(s: Shape, x: &[f32], packed: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let layout = s.layout();
    let (pixels, inputs) = (s.pixels(), s.cin * s.pixels());
    assert_eq!(x.len(), s.batch * inputs, "input of the declared shape");
    assert_eq!(
        packed.len(),
        s.cout.div_ceil(ROWS) * s.cin * s.taps() * ROWS
    );
    assert!(bias.is_none_or(|b| b.len() == s.cout));
    let sample = |b: usize, out: *mut f32| {
        let dense = &x[b * inputs..(b + 1) * inputs];
        let task = |input: *const f32| Task {
            layout,
            cin: s.cin,
            cout: s.cout,
            input,
            packed: packed.as_ptr(),
            bias,
            out,
        };
        // Dense whole vectors need no border and no copy.
        if s.side == 1 && pixels % LANES == 0 {
            // SAFETY: as below; no vector is partial, so no read passes the end.
            return unsafe { sample_1(&task(dense.as_ptr())) };
        }
        with_scratch(layout.scratch(s.cin), |planes| {
            layout.fill(dense, s.cin, planes);
            let task = task(planes.as_ptr());
            // SAFETY: the planes hold cin bordered images and a vector to spare, the packed weights
            // were checked above, and `out` is this sample's chunk of cout images.
            unsafe {
                match s.side {
                    1 => sample_1(&task),
                    _ => sample_3(&task),
                }
            }
        })
    };
    // SAFETY: `sample` writes each of its cout * pixels outputs and nothing else.
    unsafe { chunks(s.batch, s.cout * pixels, sample) }
}

/// One sample's work.
struct Task<'a> {
    layout: Layout,
    cin: usize,
    cout: usize,
    input: *const f32,
    packed: *const f32,
    bias: Option<&'a [f32]>,
    out: *mut f32,
}

dispatch! { unsafe fn sample_1(t: &Task<'_>) = sample[1] }
dispatch! { unsafe fn sample_3(t: &Task<'_>) = sample[3] }

/// # Safety
/// `input` must hold `cin` planes of `layout` and eight values more, `packed` the weights for `cout`
/// outputs of `SIDE` x `SIDE` taps, `out` room for `cout` images; the CPU must support `V`.
#[inline(always)]
unsafe fn sample<const SIDE: usize, V: Lanes>(t: &Task<'_>) {
    let total = t.layout.height * t.layout.vectors();
    let blocks = t.cout.div_ceil(ROWS);
    let mut first = 0;
    while first < total {
        let end = (first + BAND).min(total);
        for block in 0..blocks {
            let mut v = first;
            // SAFETY: vectors v .. v + columns lie within the image.
            unsafe {
                while v + COLUMNS <= end {
                    tile::<SIDE, COLUMNS, V>(t, block, v);
                    v += COLUMNS;
                }
                if v < end {
                    tile::<SIDE, 1, V>(t, block, v);
                }
            }
        }
        first = end;
    }
}

/// Four outputs at `N` pixel vectors from number `first` on.
///
/// # Safety
/// As [`sample`]; the vectors must lie within the image.
#[inline(always)]
unsafe fn tile<const SIDE: usize, const N: usize, V: Lanes>(
    t: &Task<'_>,
    block: usize,
    first: usize,
) {
    let l = &t.layout;
    let per_row = l.vectors();
    let place: [(usize, usize); N] =
        core::array::from_fn(|n| ((first + n) / per_row, (first + n) % per_row * LANES));
    let offset: [usize; N] = core::array::from_fn(|n| place[n].0 * l.row + place[n].1);
    let mut sums = [[V::splat(0.0); N]; ROWS];
    // SAFETY: `packed` holds `cin * SIDE^2` groups of four weights for each block; an offset plus the
    // tap's row and column stays inside the bordered plane except for the lanes past a row's end,
    // which read the next row, the next plane or the eight spare values. Stores are cut to the row.
    unsafe {
        let mut w = t.packed.add(block * t.cin * SIDE * SIDE * ROWS);
        for i in 0..t.cin {
            let plane = t.input.add(i * l.plane);
            for ky in 0..SIDE {
                let line = plane.add(ky * l.row);
                for kx in 0..SIDE {
                    let x: [V; N] = core::array::from_fn(|n| V::load(line.add(offset[n] + kx)));
                    for (r, row) in sums.iter_mut().enumerate() {
                        let weight = V::splat(*w.add(r));
                        for (sum, &x) in row.iter_mut().zip(&x) {
                            *sum = weight.fma(x, *sum);
                        }
                    }
                    w = w.add(ROWS);
                }
            }
        }
        let image = l.height * l.width;
        for (r, row) in sums.iter().enumerate() {
            let o = block * ROWS + r;
            if o >= t.cout {
                break;
            }
            let bias = V::splat(t.bias.map_or(0.0, |b| b[o]));
            for (&(y, x), sum) in place.iter().zip(row) {
                let to = t.out.add(o * image + y * l.width + x);
                let n = l.width - x;
                if n >= LANES {
                    sum.add(bias).store(to);
                } else {
                    sum.add(bias).store_part(to, n);
                }
            }
        }
    }
}
