//! The inner loop of a convolution: some rows of pixels, all output channels.

use super::wide::{WIDE, Wide, dispatch_wide};

/// Rows of output pixels, and where everything they need lies.
pub(super) struct Strip<'a> {
    /// The first number under the first tap of the first pixel.
    pub x: *const f32,
    /// Numbers from a row of taps to the next, from a row of outputs' taps to the next, and from a pixel's to the next.
    pub tap_row: usize,
    pub row: usize,
    pub pixel: usize,
    /// Rows of taps, and numbers in one.
    pub taps: usize,
    pub run: usize,
    /// Rows, and pixels in a row.
    pub rows: usize,
    pub width: usize,
    /// Weights `[block of channels][tap][channel]`, a bias for each channel of whole blocks, and output channels.
    pub weights: &'a [f32],
    pub bias: &'a [f32],
    pub channels: usize,
    /// Of so many channels, from the first on, what is negative becomes zero.
    pub rectified: usize,
    /// The first output; rows and pixels follow each other.
    pub y: *mut f32,
}

/// One group of pixels and one or two blocks of channels.
#[derive(Clone, Copy)]
struct Tile {
    x: *const f32,
    tap_row: usize,
    pixel: usize,
    taps: usize,
    run: usize,
    weights: *const f32,
    /// Numbers from a block's weights to the next's.
    block: usize,
    bias: *const f32,
    /// Blocks, from the first on, in which what is negative becomes zero.
    rectified: usize,
    y: *mut f32,
    channels: usize,
    /// Channels of the last block.
    last: usize,
}

dispatch_wide! { unsafe fn run_on(s: &Strip<'_>) = run_wide }

/// Computes the strip.
///
/// # Safety
/// Everything must lie where the strip says.
pub(super) unsafe fn run(s: &Strip<'_>) {
    // SAFETY: promised by the caller.
    unsafe { run_on(s) }
}

/// # Safety
/// As [`run`]; the CPU must support `W`.
#[inline(always)]
unsafe fn run_wide<W: Wide>(s: &Strip<'_>) {
    let (blocks, groups) = (s.channels.div_ceil(WIDE), s.width.div_ceil(W::PIXELS));
    let block = s.taps * s.run * WIDE;
    let mut first = 0;
    while first < blocks {
        let count = W::BLOCKS.min(blocks - first);
        let channel = first * WIDE;
        for row in 0..s.rows {
            for group in 0..groups {
                // As equal as can be: a group of few pixels costs nearly as much as a full one.
                let from = group * s.width / groups;
                let pixels = (group + 1) * s.width / groups - from;
                // SAFETY: promised by the caller; blocks are below the number of blocks.
                unsafe {
                    let tile = Tile {
                        x: s.x.add(row * s.row + from * s.pixel),
                        tap_row: s.tap_row,
                        pixel: s.pixel,
                        taps: s.taps,
                        run: s.run,
                        weights: s.weights.as_ptr().add(first * block),
                        block,
                        bias: s.bias.as_ptr().add(channel),
                        rectified: s.rectified.saturating_sub(channel).div_ceil(WIDE),
                        y: s.y.add((row * s.width + from) * s.channels + channel),
                        channels: s.channels,
                        last: (s.channels - channel - (count - 1) * WIDE).min(WIDE),
                    };
                    match count {
                        2 => tile.pixels::<W, 2>(pixels),
                        _ => tile.pixels::<W, 1>(pixels),
                    }
                }
            }
        }
        first += count;
    }
}

impl Tile {
    /// # Safety
    /// As [`run`]; the CPU must support `W`.
    #[inline(always)]
    unsafe fn pixels<W: Wide, const B: usize>(&self, pixels: usize) {
        // SAFETY: promised by the caller.
        unsafe {
            match pixels {
                1 => self.sums::<W, 1, B>(),
                2 => self.sums::<W, 2, B>(),
                3 => self.sums::<W, 3, B>(),
                4 => self.sums::<W, 4, B>(),
                5 => self.sums::<W, 5, B>(),
                6 => self.sums::<W, 6, B>(),
                7 => self.sums::<W, 7, B>(),
                8 => self.sums::<W, 8, B>(),
                9 => self.sums::<W, 9, B>(),
                10 => self.sums::<W, 10, B>(),
                11 => self.sums::<W, 11, B>(),
                _ => self.sums::<W, 12, B>(),
            }
        }
    }

    /// # Safety
    /// As [`run`]; the CPU must support `W`.
    #[inline(always)]
    unsafe fn sums<W: Wide, const P: usize, const B: usize>(&self) {
        if P > W::PIXELS || B > W::BLOCKS {
            return;
        }
        // SAFETY: promised by the caller.
        unsafe {
            let mut sums = [[W::splat(0.0); B]; P];
            let (mut weights, mut line) = (self.weights, self.x);
            let (one, two, three) = (self.pixel, 2 * self.pixel, 3 * self.pixel);
            for _ in 0..self.taps {
                // Few addresses for many pixels, or they would not fit the registers.
                let mut x = [
                    line,
                    line.wrapping_add(three),
                    line.wrapping_add(2 * three),
                    line.wrapping_add(3 * three),
                ];
                for _ in 0..self.run {
                    let mut w = [W::splat(0.0); B];
                    for (b, w) in w.iter_mut().enumerate() {
                        *w = W::load(weights.add(b * self.block));
                    }
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let at = x[p / 3].wrapping_add([0, one, two][p % 3]);
                        let value = W::splat(*at);
                        for (sum, w) in sums.iter_mut().zip(&w) {
                            *sum = value.fma(*w, *sum);
                        }
                    }
                    weights = weights.add(WIDE);
                    for x in &mut x {
                        *x = x.wrapping_add(1);
                    }
                }
                line = line.wrapping_add(self.tap_row);
            }
            for (p, sums) in sums.iter().enumerate() {
                for (b, &sum) in sums.iter().enumerate() {
                    let mut sum = sum.add(W::load(self.bias.add(b * WIDE)));
                    if b < self.rectified {
                        sum = sum.max(W::splat(0.0));
                    }
                    let to = self.y.add(p * self.channels + b * WIDE);
                    match b + 1 == B && self.last < WIDE {
                        true => sum.store_part(to, self.last),
                        false => sum.store(to),
                    }
                }
            }
        }
    }
}
