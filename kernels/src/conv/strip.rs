//! The vertical Winograd transform: strips of two or four output rows.
//!
//! How the strips of a batch are read, transformed and written; the arithmetic is that of a [`Scheme`].

use super::Shape;
use super::scheme::{MOST, Scheme};
use crate::simd::{LANES, Lanes};
use std::marker::PhantomData;
use std::ops::Range;

/// Strips of all images of a batch, numbered image by image, and how transformed ones lie in memory.
pub(super) struct Strips<S> {
    scheme: PhantomData<S>,
    height: usize,
    width: usize,
    /// Strips of one image, the last perhaps partial.
    per_image: usize,
    /// Vectors of eight pixels in a row, the last perhaps partial.
    pub vectors: usize,
}

impl<S> Clone for Strips<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Strips<S> {}

impl<S: Scheme> Strips<S> {
    pub fn new(s: &Shape) -> Self {
        Self {
            scheme: PhantomData,
            height: s.height,
            width: s.width,
            per_image: s.height.div_ceil(S::STRIP),
            vectors: s.width.div_ceil(LANES),
        }
    }

    /// Strips in `batch` images.
    pub fn count(&self, batch: usize) -> usize {
        batch * self.per_image
    }

    /// Values in a row of transformed inputs: whole vectors and a zero on either side.
    pub fn padded(&self) -> usize {
        self.vectors * LANES + 2
    }

    /// Values in a row of products: whole vectors.
    pub fn dense(&self) -> usize {
        self.vectors * LANES
    }

    /// Transforms inputs of the strips from `first` on: `some` channels of `x` [batch, channels, height,
    /// width] to `to` [points, some, count, padded()].
    ///
    /// # Safety
    /// `x` must hold the images of these strips, `to` have room; the CPU must support `V`.
    #[inline(always)]
    pub unsafe fn inputs<V: Lanes>(
        &self,
        x: *const f32,
        some: Range<usize>,
        channels: usize,
        first: usize,
        count: usize,
        to: *mut f32,
    ) {
        let (row, image) = (self.padded(), self.height * self.width);
        let point = some.len() * count * row;
        for n in 0..count {
            let (b, strip) = ((first + n) / self.per_image, (first + n) % self.per_image);
            for c in some.clone() {
                // SAFETY: image b has channel c; rows are read only inside the image and written only
                // inside row n of channel c.
                unsafe {
                    let image = x.add((b * channels + c) * image);
                    let rows: [Option<*const f32>; MOST] = core::array::from_fn(|j| {
                        // One row above the strip, four in it, one below.
                        let y = (strip * S::STRIP + j).wrapping_sub(1);
                        (j < S::POINTS && y < self.height).then(|| image.add(y * self.width))
                    });
                    let to = to.add(((c - some.start) * count + n) * row);
                    for j in 0..S::POINTS {
                        to.add(j * point).write(0.0);
                        to.add(j * point + row - 1).write(0.0);
                    }
                    for at in (0..self.width).step_by(LANES) {
                        let len = (self.width - at).min(LANES);
                        let mut x = [V::splat(0.0); MOST];
                        for (x, row) in x.iter_mut().zip(rows).take(S::POINTS) {
                            *x = load::<V>(row, at, len);
                        }
                        for (j, v) in S::input(x).into_iter().enumerate().take(S::POINTS) {
                            v.store(to.add(j * point + 1 + at));
                        }
                    }
                }
            }
        }
    }

    /// Transforms gradients of the outputs: `some` channels of `g` [batch, channels, height, width] to `to`
    /// [points, some, count, dense()].
    ///
    /// # Safety
    /// As [`inputs`](Self::inputs).
    #[inline(always)]
    pub unsafe fn gradients<V: Lanes>(
        &self,
        g: *const f32,
        some: Range<usize>,
        channels: usize,
        first: usize,
        count: usize,
        to: *mut f32,
    ) {
        let (row, image) = (self.dense(), self.height * self.width);
        let point = some.len() * count * row;
        for n in 0..count {
            let (b, strip) = ((first + n) / self.per_image, (first + n) % self.per_image);
            for c in some.clone() {
                // SAFETY: as in `inputs`.
                unsafe {
                    let image = g.add((b * channels + c) * image);
                    let rows: [Option<*const f32>; MOST] = core::array::from_fn(|j| {
                        let y = strip * S::STRIP + j;
                        (j < S::STRIP && y < self.height).then(|| image.add(y * self.width))
                    });
                    let to = to.add(((c - some.start) * count + n) * row);
                    for at in (0..self.width).step_by(LANES) {
                        let len = (self.width - at).min(LANES);
                        let mut g = [V::splat(0.0); MOST];
                        for (g, row) in g.iter_mut().zip(rows).take(S::STRIP) {
                            *g = load::<V>(row, at, len);
                        }
                        for (j, v) in S::gradient(g).into_iter().enumerate().take(S::POINTS) {
                            v.store(to.add(j * point + at));
                        }
                    }
                }
            }
        }
    }

    /// Makes outputs of products: `m` [points, channels, count, dense()] to `y`
    /// [batch, channels, height, width].
    ///
    /// # Safety
    /// As [`inputs`](Self::inputs); `bias` holds `channels` values.
    #[inline(always)]
    pub unsafe fn outputs<V: Lanes>(
        &self,
        m: *const f32,
        bias: Option<&[f32]>,
        channels: usize,
        first: usize,
        count: usize,
        y: *mut f32,
    ) {
        let (row, image) = (self.dense(), self.height * self.width);
        let point = channels * count * row;
        for n in 0..count {
            let (b, strip) = ((first + n) / self.per_image, (first + n) % self.per_image);
            let rows = S::STRIP.min(self.height - strip * S::STRIP);
            for c in 0..channels {
                let bias = V::splat(bias.map_or(0.0, |b| b[c]));
                // SAFETY: as in `inputs`; only the image's own rows and columns are written.
                unsafe {
                    let m = m.add((c * count + n) * row);
                    let y = y.add((b * channels + c) * image + strip * S::STRIP * self.width);
                    for at in (0..self.width).step_by(LANES) {
                        let len = (self.width - at).min(LANES);
                        let mut products = [V::splat(0.0); MOST];
                        for (j, p) in products.iter_mut().enumerate().take(S::POINTS) {
                            *p = V::load(m.add(j * point + at));
                        }
                        for (r, v) in S::output(products).into_iter().enumerate().take(rows) {
                            let (v, to) = (v.add(bias), y.add(r * self.width + at));
                            match len {
                                LANES => v.store(to),
                                _ => v.store_part(to, len),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Up to eight values of a row; zeros past its end, and where there is no row.
///
/// # Safety
/// The row must hold `len` values from `at` on; the CPU must support `V`.
#[inline(always)]
unsafe fn load<V: Lanes>(row: Option<*const f32>, at: usize, len: usize) -> V {
    // SAFETY: promised by the caller.
    unsafe {
        match row {
            None => V::splat(0.0),
            Some(row) if len == LANES => V::load(row.add(at)),
            Some(row) => V::load_part(row.add(at), len),
        }
    }
}
