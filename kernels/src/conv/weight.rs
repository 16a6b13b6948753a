//! Weight gradient of 3x3 convolutions.
//!
//! Tiles are taken in groups whose size depends on the shape alone, and added up in order: the result is the same for any
//! number of threads.

use super::correlation;
use super::grid::{Grid, Window};
use super::product::{self, PANEL, Product, Start};
use super::scheme::{FOUR_FROM, Four, MOST, Scheme, Two};
use super::shape::Shape;
use super::transform;
use crate::memory::buffer::{LINE, Out, Room, chunks, with_scratch};
use crate::simd::{LANES, Lanes, dispatch};
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of transformed inputs and gradients to work on at a time: those of one point stay in the second-level cache.
const CACHE: usize = 256 << 10;
/// Fewest and most tiles to take at a time.
const FEW: usize = 16;
const MANY: usize = 128;
/// Pairs of channels up to which each group of tiles has sums of its own, and most groups.
const SMALL: usize = 2048;
const GROUPS: usize = 16;
/// Blocks of output channels of a task.
const BLOCKS: usize = 8;

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
    match s.side {
        1 => correlation::gradient_1(s, x, g),
        _ if s.cin < FOUR_FROM => gradient_3::<Two>(s, x, g),
        _ => gradient_3::<Four>(s, x, g),
    }
}

/// 3x3: products of the tiles' inputs and gradients, summed for each point, transformed at the end.
fn gradient_3<S: Scheme>(s: Shape, x: &[f32], g: &[f32]) -> Vec<f32> {
    let grid = Grid::new::<S>(&s);
    let tiles = grid.count(s.batch);
    // As many at a time as stay in the cache, or as sums are worth being put away for.
    let most = (CACHE / (S::POINTS * (s.cin + s.cout) * size_of::<f32>()))
        .max(2 * s.cin * s.cout / (s.cin + s.cout))
        .clamp(FEW, MANY)
        .min(tiles)
        .next_multiple_of(LANES);
    // Small sums: a few sets of them, one for each group of tiles, keep threads from waiting for each other.
    let groups = match s.cin * s.cout <= SMALL {
        true => (tiles / MANY).clamp(1, GROUPS),
        false => 1,
    };
    let columns = s.cin.next_multiple_of(PANEL);
    // Not powers of two, or points would evict each other.
    let layout = Layout {
        s,
        grid,
        most,
        columns,
        blocks: product::blocks(s.cout).collect(),
        input_point: most * columns + LINE,
        gradient_point: s.cout * most + LINE,
        sum_point: s.cout * columns + LINE,
        groups,
    };
    let sums_len = S::POINTS * layout.sum_point;
    let mut sums = Room::new(groups * sums_len);
    let sums = sums.out();
    let group = |n: usize| {
        let range = n * tiles / groups..(n + 1) * tiles / groups;
        // SAFETY: each group has sums of its own.
        let sums = unsafe { Out::from_pointer(sums.at(n * sums_len)) };
        add::<S>(&layout, range, x, g, sums);
    };
    match groups {
        1 => group(0),
        _ => (0..groups).into_par_iter().for_each(group),
    }
    // SAFETY: all sums were written; task o writes the gradient of its output channel.
    unsafe {
        chunks(s.cout, s.cin * 9, |o, to| {
            taps::<S>(&layout, o, sums, to);
        })
    }
}

/// Sums of some tiles: in parallel if this is the only group.
fn add<S: Scheme>(l: &Layout, tiles: Range<usize>, x: &[f32], g: &[f32], sums: Out) {
    let each = |count: usize, work: &(dyn Fn(usize) + Sync)| match l.groups {
        1 => (0..count).into_par_iter().for_each(work),
        _ => (0..count).for_each(work),
    };
    let mut u = Room::new(S::POINTS * l.input_point);
    let mut v = Room::new(S::POINTS * l.gradient_point);
    let (u, v) = (u.out(), v.out());
    for first in tiles.clone().step_by(l.most) {
        let count = l.most.min(tiles.end - first);
        let window = Window::new(l.grid, first, count, 1);
        // Not a power of two either.
        let plane = window.len.next_multiple_of(LINE) + LINE;
        each(l.s.cin.div_ceil(LANES), &|eight| {
            with_scratch(LANES * plane, |copy| {
                // SAFETY: the window is one of `x`; the copies have room; these channels of `u` are this task's.
                unsafe { inputs::<S>(l, &window, eight, x.as_ptr(), copy, plane, u) };
            });
        });
        let window = Window::new(l.grid, first, count, 0);
        each(l.s.cout, &|o| {
            with_scratch(window.len, |copy| {
                // SAFETY: the window is one of `g`; the copy has room; this channel of `v` is this task's.
                unsafe { gradients::<S>(l, &window, (first, count), o, g.as_ptr(), copy, v) };
            });
        });
        // Some blocks of one point a task.
        let parts = l.blocks.len().div_ceil(BLOCKS);
        each(S::POINTS * parts, &|n| {
            let (p, part) = (n / parts, n % parts);
            let at = |part| part * l.blocks.len() / parts;
            let blocks = &l.blocks[at(part)..at(part + 1)];
            let start = match first == tiles.start {
                true => Start::Zero,
                false => Start::There,
            };
            // SAFETY: inputs and gradients of `count` tiles were written; these rows of the sums are this task's.
            unsafe { products(l, p, blocks, count, (u, v), start, sums) };
        });
    }
}

/// How what is transformed lies in memory.
struct Layout {
    s: Shape,
    grid: Grid,
    /// Most tiles at a time.
    most: usize,
    /// Input channels, to whole panels.
    columns: usize,
    /// Blocks of output channels.
    blocks: Vec<(usize, usize)>,
    /// Values from one point to the next: of inputs [panel][tile][channel], of gradients [channel][tile], and
    /// of sums [output channel][input channel].
    input_point: usize,
    gradient_point: usize,
    sum_point: usize,
    /// Groups of tiles with sums of their own.
    groups: usize,
}

dispatch! { unsafe fn inputs<S: Scheme>(l: &Layout, window: &Window, eight: usize, x: *const f32, copy: &mut [f32], plane: usize, u: Out) = inputs_lanes }

/// Transforms eight input channels; missing ones repeat the last, and are dropped at the end.
///
/// # Safety
/// `window` must be one of `x`, `copy` have room for eight of it, `plane` values apart, `u` for the points; the CPU must
/// support `V`.
#[inline(always)]
unsafe fn inputs_lanes<S: Scheme, V: Lanes>(
    l: &Layout,
    window: &Window,
    eight: usize,
    x: *const f32,
    copy: &mut [f32],
    plane: usize,
    u: Out,
) {
    copy.fill(0.0);
    let copy = copy.as_mut_ptr();
    // SAFETY: promised by the caller.
    unsafe {
        for lane in 0..LANES {
            let c = (eight * LANES + lane).min(l.s.cin - 1);
            window.copy::<V>(x, l.s.cin, c, copy.add(lane * plane));
        }
        let (panel, half) = (eight / 2, eight % 2);
        let to = u.at(panel * l.most * PANEL + half * LANES);
        for (tile, &at) in window.tiles.iter().enumerate().take(window.count) {
            let channels = core::array::from_fn(|lane| copy.cast_const().add(lane * plane + at));
            transform::input::<S, V>(channels, window.row, to.add(tile * PANEL), l.input_point);
        }
    }
}

dispatch! { unsafe fn gradients<S: Scheme>(l: &Layout, window: &Window, tiles: (usize, usize), o: usize, g: *const f32, copy: &mut [f32], v: Out) = gradients_lanes }

/// Transforms the gradient of one output channel.
///
/// # Safety
/// As [`inputs_lanes`].
#[inline(always)]
unsafe fn gradients_lanes<S: Scheme, V: Lanes>(
    l: &Layout,
    window: &Window,
    (first, count): (usize, usize),
    o: usize,
    g: *const f32,
    copy: &mut [f32],
    v: Out,
) {
    let s = &l.s;
    let whole = l.grid.is_whole();
    // SAFETY: promised by the caller; tiles that are missing in the last vector repeat one that is there.
    unsafe {
        if !whole {
            copy.fill(0.0);
            window.copy::<V>(g, s.cout, o, copy.as_mut_ptr());
        }
        for (n, tiles) in window.tiles.as_chunks::<LANES>().0.iter().enumerate() {
            let to = v.at(o * l.most + n * LANES);
            let (tiles, row) = match whole {
                true => {
                    let tile = |i: usize| first + (n * LANES + i).min(count - 1);
                    let g = g.add(o * s.pixels());
                    let at = |i| g.add(l.grid.pixel(tile(i), s.cout));
                    (core::array::from_fn(at), s.width)
                }
                false => (tiles.map(|at| copy.as_ptr().add(at)), window.row),
            };
            transform::gradient::<S, V>(tiles, row, to, l.gradient_point);
        }
    }
}

dispatch! { unsafe fn products(l: &Layout, p: usize, blocks: &[(usize, usize)], count: usize, factors: (Out, Out), start: Start, sums: Out) = products_lanes }

/// Adds the products of `count` tiles for some output channels at point `p`.
///
/// # Safety
/// The factors must hold inputs and gradients as `l` tells, `sums` have room; the CPU must support `V`.
#[inline(always)]
unsafe fn products_lanes<V: Lanes>(
    l: &Layout,
    p: usize,
    blocks: &[(usize, usize)],
    count: usize,
    (u, v): (Out, Out),
    start: Start,
    sums: Out,
) {
    // SAFETY: promised by the caller.
    unsafe {
        for panel in 0..l.columns / PANEL {
            for &(first, rows) in blocks {
                let product = Product {
                    depth: count,
                    left: v.at(p * l.gradient_point + first * l.most),
                    row: l.most,
                    term: 1,
                    right: u.at(p * l.input_point + panel * l.most * PANEL),
                    start,
                    to: sums.at(p * l.sum_point + first * l.columns + panel * PANEL),
                    stride: l.columns,
                };
                product.run::<V>(rows, (l.s.cin - panel * PANEL).div_ceil(LANES).min(2));
            }
        }
    }
}

dispatch! { unsafe fn taps<S: Scheme>(l: &Layout, o: usize, sums: Out, to: *mut f32) = taps_lanes }

/// The gradient of one output channel's weights.
///
/// # Safety
/// `sums` must be as `l` tells, `to` have room for [cin, 9]; the CPU must support `V`.
#[inline(always)]
unsafe fn taps_lanes<S: Scheme, V: Lanes>(l: &Layout, o: usize, sums: Out, to: *mut f32) {
    for i in (0..l.s.cin).step_by(LANES) {
        let mut points = [[V::splat(0.0); MOST]; MOST];
        let mut found = [[0.0f32; LANES]; 9];
        // SAFETY: promised by the caller.
        unsafe {
            for (j, row) in points.iter_mut().enumerate().take(S::PRODUCTS) {
                for (k, value) in row.iter_mut().enumerate().take(S::PRODUCTS) {
                    let p = j * S::PRODUCTS + k;
                    for group in 0..l.groups {
                        let p = group * S::POINTS + p;
                        *value = value.add(V::load(sums.at(p * l.sum_point + o * l.columns + i)));
                    }
                }
            }
            let taps = transform::weight_transposed::<S, V>(points);
            for (tap, found) in taps.into_iter().zip(&mut found) {
                tap.store(found.as_mut_ptr());
            }
            for lane in 0..LANES.min(l.s.cin - i) {
                for (t, found) in found.iter().enumerate() {
                    to.add((i + lane) * 9 + t).write(found[lane]);
                }
            }
        }
    }
}
