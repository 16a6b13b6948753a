//! 3x3 convolution of small images with many channels: their transformed weights would be four times as many as the
//! weights, and moving those takes longer than the products that transforms save.

use super::product::{self, PANEL, Product, Start};
use super::shape::Shape;
use crate::memory::buffer::{Out, Room, filled, with_scratch};
use crate::simd::{Lanes, dispatch};
use rayon::prelude::*;

/// Most pixels of a small image.
const PIXELS: usize = 64;
/// Pairs of channels from which there are many: their transformed weights leave the second-level cache.
const PAIRS: usize = 1 << 18;
/// Input channels whose taps are added up together.
const CHANNELS: usize = 128;
/// Blocks of output channels, and panels of pixels, of a task.
const BLOCKS: usize = 8;
const PANELS: usize = 16;

/// Whether the shape is convolved here; the batch does not matter, or results would depend on it.
pub(super) fn takes(s: &Shape) -> bool {
    s.side == 3 && s.pixels() <= PIXELS && s.cin * s.cout >= PAIRS
}

/// `packed` holds the [`product::blocks`] of output channels, each ordered [input channel][tap][row].
pub(super) fn run(s: Shape, x: &[f32], bias: Option<&[f32]>, packed: &[f32]) -> Vec<f32> {
    let (per_image, terms) = (s.pixels().div_ceil(PANEL), s.cin * s.taps());
    let panels = s.batch * per_image;
    let mut room = Room::new(panels * terms * PANEL);
    let taps = room.out();
    (0..s.cin).into_par_iter().for_each(|c| {
        // SAFETY: each channel has its own places, and all are written.
        unsafe { gather(&s, x, c, taps) };
    });
    let blocks: Vec<_> = product::blocks(s.cout).collect();
    let (rows, columns) = (blocks.len().div_ceil(BLOCKS), panels.div_ceil(PANELS));
    let work = |n: usize, y: Out| {
        let blocks = &blocks[n % rows * BLOCKS..];
        let first = n / rows * PANELS;
        let task = Task {
            s: &s,
            blocks: &blocks[..BLOCKS.min(blocks.len())],
            first,
            count: PANELS.min(panels - first),
            bias,
            packed: packed.as_ptr(),
            // SAFETY: the start of the room.
            taps: unsafe { taps.at(0) },
        };
        with_scratch(task.rows() * task.count * PANEL, |sums| {
            // SAFETY: `sums` has room for the task's rows and panels, `taps` all panels.
            unsafe { sum(&task, sums.as_mut_ptr()) };
            // SAFETY: a task writes its channels of its pixels only.
            unsafe { task.write(sums, y) };
        });
    };
    // SAFETY: the tasks cover all channels of all pixels.
    unsafe {
        filled(s.batch * s.cout * s.pixels(), |y| {
            (0..rows * columns).into_par_iter().for_each(|n| work(n, y));
        })
    }
}

/// Where the taps of a channel begin for a panel: [group of channels][panel][channel of the group][tap][pixel].
fn place(s: &Shape, c: usize, panel: usize, panels: usize) -> usize {
    let (group, inside) = (c / CHANNELS, c % CHANNELS);
    let size = CHANNELS.min(s.cin - group * CHANNELS);
    let taps = s.taps();
    (group * CHANNELS * panels + panel * size + inside) * taps * PANEL
}

/// The pixels that each tap of channel `c` meets.
///
/// # Safety
/// `to` must have room for the taps of all channels; nothing else may write those of this one.
unsafe fn gather(s: &Shape, x: &[f32], c: usize, to: Out) {
    let (pixels, per_image) = (s.pixels(), s.pixels().div_ceil(PANEL));
    for b in 0..s.batch {
        let image = &x[(b * s.cin + c) * pixels..][..pixels];
        for p in 0..per_image {
            let start = place(s, c, b * per_image + p, s.batch * per_image);
            for tap in 0..s.taps() {
                for j in 0..PANEL {
                    let at = p * PANEL + j;
                    let (row, column) = (at / s.width + tap / 3, at % s.width + tap % 3);
                    let inside = at < pixels
                        && (1..=s.height).contains(&row)
                        && (1..=s.width).contains(&column);
                    let value = match inside {
                        true => image[(row - 1) * s.width + column - 1],
                        false => 0.0,
                    };
                    // SAFETY: promised by the caller.
                    unsafe { to.at(start + tap * PANEL + j).write(value) };
                }
            }
        }
    }
}

/// Some output channels of some panels.
struct Task<'a> {
    s: &'a Shape,
    blocks: &'a [(usize, usize)],
    /// The first panel, and how many.
    first: usize,
    count: usize,
    bias: Option<&'a [f32]>,
    packed: *const f32,
    taps: *const f32,
}

impl Task<'_> {
    /// Its first output channel.
    fn start(&self) -> usize {
        self.blocks.first().map_or(0, |b| b.0)
    }

    fn rows(&self) -> usize {
        self.blocks.iter().map(|b| b.1).sum()
    }

    /// # Safety
    /// `y` must hold all outputs.
    unsafe fn write(&self, sums: &[f32], y: Out) {
        let s = self.s;
        let (pixels, per_image) = (s.pixels(), s.pixels().div_ceil(PANEL));
        for r in 0..self.rows() {
            for p in 0..self.count {
                let (b, first) = (
                    (self.first + p) / per_image,
                    (self.first + p) % per_image * PANEL,
                );
                let count = PANEL.min(pixels - first);
                let from = &sums[(r * self.count + p) * PANEL..][..count];
                let to = (b * s.cout + self.start() + r) * pixels + first;
                // SAFETY: `count` pixels of this channel follow.
                unsafe {
                    y.at(to).copy_from_nonoverlapping(from.as_ptr(), count);
                }
            }
        }
    }
}

dispatch! { unsafe fn sum(t: &Task<'_>, sums: *mut f32) = sum_lanes }

/// # Safety
/// `sums` must have room for the task's rows of whole panels; the CPU must support `V`.
#[inline(always)]
unsafe fn sum_lanes<V: Lanes>(t: &Task<'_>, sums: *mut f32) {
    let s = t.s;
    let panels = s.batch * s.pixels().div_ceil(PANEL);
    let taps = s.taps();
    for group in (0..s.cin).step_by(CHANNELS) {
        let depth = CHANNELS.min(s.cin - group) * taps;
        for &(first, rows) in t.blocks {
            for p in 0..t.count {
                // SAFETY: promised by the caller.
                unsafe {
                    let start = match (group, t.bias) {
                        (0, Some(bias)) => Start::Rows(bias[first..].as_ptr()),
                        (0, None) => Start::Zero,
                        _ => Start::There,
                    };
                    let product = Product {
                        depth,
                        left: t.packed.add((first * s.cin + group * rows) * taps),
                        row: 1,
                        term: rows,
                        right: t.taps.add(place(s, group, t.first + p, panels)),
                        start,
                        to: sums.add(((first - t.start()) * t.count + p) * PANEL),
                        stride: t.count * PANEL,
                    };
                    product.run::<V>(rows, 2);
                }
            }
        }
    }
}
