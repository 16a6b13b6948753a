//! Maxima and means over 3x3 pixels.

use super::map::{Inner, Maps};
use super::wide::{WIDE, Wide, dispatch_wide};
use crate::memory::buffer::filled;
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{activation, module};
use rayon::prelude::*;
use std::ops::Range;

/// Pixels of a window's side.
const SIDE: usize = 3;

impl Maps {
    /// The largest of 3x3 pixels, every second window, none beyond the edge.
    ///
    /// # Panics
    /// If the images are smaller than a window.
    pub fn halve_by_maximum(&self) -> Self {
        self.pool(0..self.dims()[3], 2, 0, false)
    }

    /// The largest of each pixel and its neighbours.
    pub fn maximum(&self) -> Self {
        self.pool(0..self.dims()[3], 1, 1, false)
    }

    /// The mean of each pixel and those neighbours that there are, of some channels; what is negative becomes zero.
    ///
    /// # Panics
    /// If the channels are not there.
    pub fn rectified_mean(&self, channels: Range<usize>) -> Self {
        self.pool(channels, 1, 1, true)
    }

    fn pool(&self, channels: Range<usize>, stride: usize, padding: usize, mean: bool) -> Self {
        let [batch, height, width, all] = self.dims();
        assert!(channels.end <= all, "channels that are there");
        let values = match &self.inner {
            Inner::Here(values) => values,
            Inner::There(x) => {
                let x = x.as_ref().clone().narrow(1, channels.start, channels.len());
                return Self::there(match mean {
                    true => {
                        let options = AvgPoolOptions::new([SIDE; 2])
                            .with_stride([stride; 2])
                            .with_padding([padding; 2])
                            .with_count_include_pad(false);
                        activation::relu(module::avg_pool2d(x, options))
                    }
                    false => {
                        let options = MaxPoolOptions::new([SIDE; 2])
                            .with_stride([stride; 2])
                            .with_padding([padding; 2]);
                        module::max_pool2d(x, options)
                    }
                });
            }
        };
        let side = |size: usize| {
            assert!(size + 2 * padding >= SIDE, "an image smaller than a window");
            (size + 2 * padding - SIDE) / stride + 1
        };
        let dims = [batch, side(height), side(width), channels.len()];
        let [_, down, across, count] = dims;
        let row = |n: usize, to: *mut f32| {
            let (image, row) = (n / down, n % down);
            let image = &values[image * height * width * all..][..height * width * all];
            let window = |at: usize, size: usize| {
                let end = (at * stride + SIDE).saturating_sub(padding).min(size);
                (at * stride).saturating_sub(padding)..end
            };
            for column in 0..across {
                let rows = window(row, height);
                let columns = window(column, width);
                let task = Window {
                    x: image[(rows.start * width + columns.start) * all + channels.start..]
                        .as_ptr(),
                    row: width * all,
                    pixel: all,
                    rows: rows.len(),
                    columns: columns.len(),
                    channels: count,
                    mean,
                    // SAFETY: a pixel of this task's row.
                    y: unsafe { to.add(column * count) },
                };
                // SAFETY: the window's pixels lie in the image.
                unsafe { pool_on(&task) };
            }
        };
        // SAFETY: every row is written.
        let pooled = unsafe {
            filled(dims.iter().product(), |y| {
                (0..batch * down)
                    .into_par_iter()
                    .for_each(|n| row(n, y.at(n * across * count)));
            })
        };
        Self::here(pooled, dims)
    }
}

/// The pixels that one output is made of.
struct Window {
    x: *const f32,
    row: usize,
    pixel: usize,
    rows: usize,
    columns: usize,
    channels: usize,
    mean: bool,
    y: *mut f32,
}

dispatch_wide! { unsafe fn pool_on(w: &Window) = pool_wide }

/// # Safety
/// The pixels must lie where the window says; the CPU must support `W`.
#[inline(always)]
unsafe fn pool_wide<W: Wide>(w: &Window) {
    let share = W::splat(1.0 / (w.rows * w.columns) as f32);
    let mut channel = 0;
    while channel < w.channels {
        let part = (w.channels - channel).min(WIDE);
        let (x, y) = (w.x.wrapping_add(channel), w.y.wrapping_add(channel));
        // SAFETY: promised by the caller; of a last part only its channels are touched.
        unsafe {
            let load = |at: usize| match part {
                WIDE => W::load(x.add(at)),
                _ => W::load_part(x.add(at), part),
            };
            let mut found = load(0);
            for row in 0..w.rows {
                for column in usize::from(row == 0)..w.columns {
                    let value = load(row * w.row + column * w.pixel);
                    found = match w.mean {
                        true => found.add(value),
                        false => value.max(found),
                    };
                }
            }
            if w.mean {
                found = found.mul(share).max(W::splat(0.0));
            }
            match part {
                WIDE => found.store(y),
                _ => found.store_part(y, part),
            }
        }
        channel += part;
    }
}
