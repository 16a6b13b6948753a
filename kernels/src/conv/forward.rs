//! Forward convolution and its input gradient.

use super::direct;
use super::grid::{Grid, Window};
use super::pack::{pack_turned, packed_len, point_len};
use super::product::{self, PANEL, Product, Start};
use super::scheme::{FOUR_FROM, Four, Scheme, Two};
use super::shape::Shape;
use super::transform;
use crate::memory::buffer::{LINE, Out, filled, with_scratch};
use crate::simd::{LANES, Lanes, dispatch};
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of transformed inputs that a task works on, to stay in the second-level cache.
const INPUTS: usize = 80 << 10;
/// Bytes of products, likewise.
const PRODUCTS: usize = 96 << 10;
/// Panels of a task, where there are enough: the fewer, the more often are the weights read; the more, the less is left
/// for other threads.
const PANELS: [usize; 2] = [2, 8];

/// `y[b, o] = bias[o] + sum_i w[o, i] * x[b, i]`.
///
/// `x` is [batch, cin, height, width], `bias` [cout], both dense; `w` [cout, cin, side, side] as
/// [`pack`](super::pack()) gives it.
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
        _ if direct::takes(&s) => direct::run(s, x, bias, w),
        _ if s.cin < FOUR_FROM => run_3::<Two>(s, x, bias, w),
        _ => run_3::<Four>(s, x, bias, w),
    }
}

/// Gradient with respect to `x`, given the gradient `g` [batch, cout, height, width] of the output and
/// the weights `w` [cout, cin, side, side].
///
/// It is the convolution with the taps turned round and the channels swapped.
pub(crate) fn input_gradient(s: Shape, g: &[f32], w: &[f32]) -> Vec<f32> {
    let swapped = Shape {
        cin: s.cout,
        cout: s.cin,
        ..s
    };
    forward(swapped, g, &pack_turned(swapped, w), None)
}

/// 3x3, some panels of tiles at a time.
fn run_3<S: Scheme>(s: Shape, x: &[f32], bias: Option<&[f32]>, packed: &[f32]) -> Vec<f32> {
    let grid = Grid::new::<S>(&s);
    let tiles = grid.count(s.batch);
    let panels = tiles.div_ceil(PANEL);
    let panel_bytes = S::POINTS * PANEL * size_of::<f32>();
    // Two tasks for each thread, of whole panels, and if these are too few, of some output channels.
    let wanted = 2 * rayon::current_num_threads();
    let [few, many] = PANELS;
    let size = (INPUTS / (panel_bytes * s.cin).max(1))
        .min(panels.div_ceil(wanted))
        .clamp(few, many);
    let ranges = panels.div_ceil(size);
    let blocks: Vec<_> = product::blocks(s.cout).collect();
    let parts = match wanted {
        2 => 1,
        _ => wanted.div_ceil(ranges.max(1)).min(blocks.len().div_ceil(4)),
    };
    let work = |n: usize, y: Out| {
        let (range, part) = (n / parts, n % parts);
        let first = range * size * PANEL;
        let count = (size * PANEL).min(tiles - first);
        let blocks = &blocks[part * blocks.len() / parts..(part + 1) * blocks.len() / parts];
        let window = Window::new(grid, first, count, 1);
        let panels = count.div_ceil(PANEL);
        let most = (PRODUCTS / (panel_bytes * panels)).max(6);
        // Not a power of two, or points would evict each other.
        let input_point = panels * s.cin * PANEL + LINE;
        let product_point = panels * most.min(s.cout) * PANEL + LINE;
        let copy = window.len.next_multiple_of(LINE);
        let len = S::POINTS * (input_point + product_point) + copy;
        let task = Task {
            s,
            grid,
            first,
            count,
            window: &window,
            blocks,
            most,
            x: x.as_ptr(),
            packed: packed.as_ptr(),
            bias,
            input_point,
            product_point,
        };
        with_scratch(len, |scratch| {
            let (copy, rest) = scratch.split_at_mut(copy);
            let (u, m) = rest.split_at_mut(S::POINTS * input_point);
            // SAFETY: tiles below `tiles` belong to images of the batch, and tasks to different tiles or
            // channels; `copy`, `u` and `m` have room for the window, and all points' inputs and products.
            unsafe {
                let (u, m) = (u.as_mut_ptr(), m.as_mut_ptr());
                tiles_3::<S>(&task, copy.as_mut_ptr(), u, m, y.at(0));
            }
        });
    };
    // SAFETY: the tiles cover every pixel of every image.
    unsafe {
        filled(s.batch * s.cout * s.pixels(), |y| {
            (0..ranges * parts).into_par_iter().for_each(|n| work(n, y));
        })
    }
}

/// Some tiles' work for some output channels.
struct Task<'a> {
    s: Shape,
    grid: Grid,
    first: usize,
    count: usize,
    window: &'a Window,
    /// First output channel and number of them, of each block.
    blocks: &'a [(usize, usize)],
    /// Output channels to compute at a time.
    most: usize,
    x: *const f32,
    packed: *const f32,
    bias: Option<&'a [f32]>,
    /// Values from one point to the next.
    input_point: usize,
    product_point: usize,
}

impl Task<'_> {
    /// Vectors of tiles in a panel.
    fn vectors(&self, panel: usize) -> usize {
        (self.count - panel * PANEL).div_ceil(LANES).min(2)
    }
}

dispatch! { unsafe fn tiles_3<S: Scheme>(t: &Task<'_>, copy: *mut f32, u: *mut f32, m: *mut f32, y: *mut f32) = tiles_3_lanes }

/// # Safety
/// The tiles must be those of `x` and `y`, `packed` the weights of the shape, `copy`, `u` and `m` have room for
/// the window, transformed inputs and products; the CPU must support `V`.
#[inline(always)]
unsafe fn tiles_3_lanes<S: Scheme, V: Lanes>(
    t: &Task<'_>,
    copy: *mut f32,
    u: *mut f32,
    m: *mut f32,
    y: *mut f32,
) {
    let panels = t.count.div_ceil(PANEL);
    // SAFETY: promised by the caller.
    unsafe {
        inputs::<S, V>(t, copy, u);
        let mut blocks = t.blocks;
        while let [(start, _), ..] = *blocks {
            let fit = blocks.partition_point(|&(first, rows)| first + rows <= start + t.most);
            let (now, rest) = blocks.split_at(fit.max(1));
            blocks = rest;
            let end = now.last().map_or(start, |&(first, rows)| first + rows);
            for p in 0..S::POINTS {
                for &(first, rows) in now {
                    for panel in 0..panels {
                        let to = (panel * (end - start) + first - start) * PANEL;
                        let product = Product {
                            depth: t.s.cin,
                            left: t.packed.add(p * point_len(&t.s) + first * t.s.cin),
                            row: 1,
                            term: rows,
                            right: u.add(p * t.input_point + panel * t.s.cin * PANEL),
                            start: Start::Zero,
                            to: m.add(p * t.product_point + to),
                            stride: PANEL,
                        };
                        product.run::<V>(rows, t.vectors(panel));
                    }
                }
            }
            outputs::<S, V>(t, start..end, m, y);
        }
    }
}

/// Transformed inputs `u` [point][panel][channel][tile].
///
/// # Safety
/// As [`tiles_3_lanes`].
#[inline(always)]
unsafe fn inputs<S: Scheme, V: Lanes>(t: &Task<'_>, copy: *mut f32, u: *mut f32) {
    let (s, window) = (&t.s, t.window);
    // SAFETY: promised by the caller.
    unsafe {
        copy.write_bytes(0, window.len);
        for c in 0..s.cin {
            window.copy::<V>(t.x, s.cin, c, copy);
            for (n, tiles) in window.tiles.as_chunks::<LANES>().0.iter().enumerate() {
                let tiles = tiles.map(|at| copy.cast_const().add(at));
                let to = u.add((n / 2 * s.cin + c) * PANEL + n % 2 * LANES);
                transform::input::<S, V>(tiles, window.row, to, t.input_point);
            }
        }
    }
}

/// Some channels' outputs from products `m` [point][panel][channel][tile].
///
/// # Safety
/// As [`tiles_3_lanes`].
#[inline(always)]
unsafe fn outputs<S: Scheme, V: Lanes>(
    t: &Task<'_>,
    channels: Range<usize>,
    m: *const f32,
    y: *mut f32,
) {
    let s = &t.s;
    for n in 0..t.count.div_ceil(LANES) {
        let first = t.first + n * LANES;
        let count = LANES.min(t.first + t.count - first);
        let places: [usize; LANES] =
            core::array::from_fn(|i| t.grid.pixel(first + i.min(count - 1), s.cout));
        let whole = count == LANES && t.grid.is_whole();
        for c in channels.clone() {
            let bias = t.bias.map_or(0.0, |b| b[c]);
            let from = n / 2 * channels.len() + c - channels.start;
            // SAFETY: promised by the caller; of tiles that are not whole only the image's pixels are written.
            unsafe {
                let from = m.add(from * PANEL + n % 2 * LANES);
                let y = y.add(c * s.pixels());
                if whole {
                    let tiles = places.map(|at| y.add(at));
                    transform::output::<S, V>(from, t.product_point, bias, tiles, s.width);
                    continue;
                }
                let mut found = [[0.0f32; 16]; LANES];
                let tiles = found.each_mut().map(|tile| tile.as_mut_ptr());
                transform::output::<S, V>(from, t.product_point, bias, tiles, S::OUTPUTS);
                for (i, tile) in found.iter().enumerate().take(count) {
                    let [rows, columns] = t.grid.size(first + i);
                    for r in 0..rows {
                        let from = tile.as_ptr().add(r * S::OUTPUTS);
                        y.add(places[i] + r * s.width)
                            .copy_from_nonoverlapping(from, columns);
                    }
                }
            }
        }
    }
}

/// 1x1: each task some panels of pixels of an image.
fn run_1(s: Shape, x: &[f32], bias: Option<&[f32]>, packed: &[f32]) -> Vec<f32> {
    let pixels = s.pixels();
    if s.cin == 0 {
        // Sums of nothing.
        let image = (0..s.cout).flat_map(|o| {
            let value = bias.map_or(0.0, |bias| bias[o]);
            std::iter::repeat_n(value, pixels)
        });
        return image.collect::<Vec<_>>().repeat(s.batch);
    }
    let size = (INPUTS / (s.cin * PANEL * size_of::<f32>()).max(1)).clamp(1, 8) * PANEL;
    let per_image = pixels.div_ceil(size);
    let work = |n: usize, y: Out| {
        let (b, first) = (n / per_image, n % per_image * size);
        let task = Task1 {
            s,
            x: x[b * s.cin * pixels + first..].as_ptr(),
            packed: packed.as_ptr(),
            bias,
            count: size.min(pixels - first),
        };
        let inputs = task.count.next_multiple_of(PANEL) * s.cin;
        with_scratch(inputs + s.cout * PANEL, |scratch| {
            let (u, m) = scratch.split_at_mut(inputs);
            // SAFETY: the task's pixels of image b; the scratch holds its inputs and a panel of outputs.
            unsafe {
                let y = y.at(b * s.cout * pixels + first);
                pixels_1(&task, u.as_mut_ptr(), m.as_mut_ptr(), y);
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

/// Some pixels of an image.
struct Task1<'a> {
    s: Shape,
    x: *const f32,
    packed: *const f32,
    bias: Option<&'a [f32]>,
    count: usize,
}

dispatch! { unsafe fn pixels_1(t: &Task1<'_>, u: *mut f32, m: *mut f32, y: *mut f32) = pixels_1_lanes }

/// # Safety
/// `x` and `y` must hold the pixels, `u` and `m` have room for whole panels of inputs and one of outputs; the CPU must
/// support `V`.
#[inline(always)]
unsafe fn pixels_1_lanes<V: Lanes>(t: &Task1<'_>, u: *mut f32, m: *mut f32, y: *mut f32) {
    let (s, pixels) = (&t.s, t.s.pixels());
    let (whole, rest) = (t.count / PANEL, t.count % PANEL);
    // SAFETY: promised by the caller; of a panel that is not whole only `rest` pixels are written.
    unsafe {
        // Copied together: rows of pixels a power of two apart would evict each other.
        for i in 0..s.cin {
            let from = t.x.add(i * pixels);
            for panel in 0..whole {
                let (from, to) = (from.add(panel * PANEL), u.add((panel * s.cin + i) * PANEL));
                V::load(from).store(to);
                V::load(from.add(LANES)).store(to.add(LANES));
            }
            if rest > 0 {
                let to = u.add((whole * s.cin + i) * PANEL);
                to.write_bytes(0, PANEL);
                to.copy_from_nonoverlapping(from.add(whole * PANEL), rest);
            }
        }
        for (o, rows) in product::blocks(s.cout) {
            for panel in 0..t.count.div_ceil(PANEL) {
                let (to, stride) = match panel < whole {
                    true => (y.add(o * pixels + panel * PANEL), pixels),
                    false => (m.add(o * PANEL), PANEL),
                };
                let product = Product {
                    depth: s.cin,
                    left: t.packed.add(o * s.cin),
                    row: 1,
                    term: rows,
                    right: u.add(panel * s.cin * PANEL),
                    start: t.bias.map_or(Start::Zero, |b| Start::Rows(b[o..].as_ptr())),
                    to,
                    stride,
                };
                product.run::<V>(rows, 2);
            }
        }
        if rest > 0 {
            for o in 0..s.cout {
                y.add(o * pixels + whole * PANEL)
                    .copy_from_nonoverlapping(m.add(o * PANEL), rest);
            }
        }
    }
}
