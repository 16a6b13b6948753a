//! The vertical Winograd transform: strips of two or four output rows.
//!
//! A 3x3 convolution is nested: along the rows it stays three shifted products, along the columns the
//! outputs of a strip are computed by a minimal algorithm (Winograd 1980; Lavin and Gray 2016): F(2, 3)
//! gets two outputs from four products instead of six, F(4, 3) four from six instead of twelve.
//!
//! With B, G and A the transforms of inputs, weights and products, `y = A^T [(G w) * (B^T x)]`. Being
//! bilinear, it gives the weight gradient as `G^T [(A g) * (B^T x)]`.

use super::Shape;
use crate::simd::{LANES, Lanes};
use std::marker::PhantomData;
use std::ops::Range;

/// Most products a strip needs; what a [`Scheme`] does not use stays zero.
pub(super) const MOST: usize = 6;

/// A minimal algorithm.
pub(super) trait Scheme: Send + Sync {
    /// Output rows of a strip.
    const STRIP: usize;
    /// Products: transformed rows, also the input rows of a strip.
    const POINTS: usize;

    /// `G w` of one column of taps.
    fn weight(w: [f32; 3]) -> [f32; MOST];
    /// `G^T s`: the gradient of one column of taps from the products' sums.
    fn weight_transposed(s: [f32; MOST]) -> [f32; 3];
    /// `B^T x` of the input rows.
    fn input<V: Lanes>(x: [V; MOST]) -> [V; MOST];
    /// `A g` of the rows of the output's gradient.
    fn gradient<V: Lanes>(g: [V; MOST]) -> [V; MOST];
    /// `A^T m`: output rows from products.
    fn output<V: Lanes>(m: [V; MOST]) -> [V; MOST];
}

/// Input channels from which on [`Four`] is used.
///
/// A sum over few channels is so exact that the larger transform's own rounding shows: at 16 channels it
/// has twice the error of the direct sum, at 64 a third more, at 256 the same.
pub(super) const FOUR_FROM: usize = 48;

/// F(2, 3) with the points 0, +-1 and infinity. It adds up less than the direct sum, and rounds less.
pub(super) struct Two;

impl Scheme for Two {
    const STRIP: usize = 2;
    const POINTS: usize = 4;

    fn weight(w: [f32; 3]) -> [f32; MOST] {
        let even = 0.5 * (w[0] + w[2]);
        [w[0], even + 0.5 * w[1], even - 0.5 * w[1], w[2], 0.0, 0.0]
    }

    fn weight_transposed(s: [f32; MOST]) -> [f32; 3] {
        let (plus, minus) = (0.5 * (s[1] + s[2]), 0.5 * (s[1] - s[2]));
        [s[0] + plus, minus, plus + s[3]]
    }

    #[inline(always)]
    fn input<V: Lanes>(x: [V; MOST]) -> [V; MOST] {
        let none = V::splat(0.0);
        let [x0, x1, x2, x3, ..] = x;
        [x0.sub(x2), x1.add(x2), x2.sub(x1), x3.sub(x1), none, none]
    }

    #[inline(always)]
    fn gradient<V: Lanes>(g: [V; MOST]) -> [V; MOST] {
        let none = V::splat(0.0);
        [g[0], g[0].add(g[1]), g[0].sub(g[1]), g[1], none, none]
    }

    #[inline(always)]
    fn output<V: Lanes>(m: [V; MOST]) -> [V; MOST] {
        let none = V::splat(0.0);
        let (first, second) = (m[0].add(m[1].add(m[2])), m[1].sub(m[2]).add(m[3]));
        [first, second, none, none, none, none]
    }
}

/// F(4, 3) with the points 0, +-3/4, +-3/2 and infinity.
///
/// They are exact in binary, and keep the rounding error within 1.5 times that of the direct sum; the
/// usual 0, +-1, +-2 double it.
pub(super) struct Four;

/// The two pairs of interpolation points, and their squares and cubes.
const P: f32 = 0.75;
const Q: f32 = 1.5;
const P2: f32 = P * P;
const Q2: f32 = Q * Q;
const P3: f32 = P2 * P;
const Q3: f32 = Q2 * Q;

impl Four {
    /// Products of the differences between a point and the other finite ones: at 0, +-P and +-Q.
    const DIVISORS: [f32; 3] = [P2 * Q2, 2.0 * P2 * (P2 - Q2), 2.0 * Q2 * (Q2 - P2)];
}

impl Scheme for Four {
    const STRIP: usize = 4;
    const POINTS: usize = 6;

    fn weight(w: [f32; 3]) -> [f32; MOST] {
        let [zero, p, q] = Self::DIVISORS;
        let even = |x2: f32| w[0] + x2 * w[2];
        [
            w[0] / zero,
            (even(P2) + P * w[1]) / p,
            (even(P2) - P * w[1]) / p,
            (even(Q2) + Q * w[1]) / q,
            (even(Q2) - Q * w[1]) / q,
            w[2],
        ]
    }

    fn weight_transposed(s: [f32; MOST]) -> [f32; 3] {
        let [zero, p, q] = Self::DIVISORS;
        let (plus_p, minus_p) = ((s[1] + s[2]) / p, (s[1] - s[2]) / p);
        let (plus_q, minus_q) = ((s[3] + s[4]) / q, (s[3] - s[4]) / q);
        [
            s[0] / zero + plus_p + plus_q,
            P * minus_p + Q * minus_q,
            P2 * plus_p + Q2 * plus_q + s[5],
        ]
    }

    #[inline(always)]
    fn input<V: Lanes>(x: [V; MOST]) -> [V; MOST] {
        let (p, q) = (V::splat(P), V::splat(Q));
        let (minus_p2, minus_q2) = (V::splat(-P2), V::splat(-Q2));
        let (minus_sum, product) = (V::splat(-(P2 + Q2)), V::splat(P2 * Q2));
        let (even_p, odd_p) = (minus_q2.fma(x[2], x[4]), minus_q2.fma(x[1], x[3]).mul(p));
        let (even_q, odd_q) = (minus_p2.fma(x[2], x[4]), minus_p2.fma(x[1], x[3]).mul(q));
        [
            product.fma(x[0], minus_sum.fma(x[2], x[4])),
            even_p.add(odd_p),
            even_p.sub(odd_p),
            even_q.add(odd_q),
            even_q.sub(odd_q),
            product.fma(x[1], minus_sum.fma(x[3], x[5])),
        ]
    }

    #[inline(always)]
    fn gradient<V: Lanes>(g: [V; MOST]) -> [V; MOST] {
        let (even_p, even_q) = (V::splat(P2).fma(g[2], g[0]), V::splat(Q2).fma(g[2], g[0]));
        let odd_p = V::splat(P3).fma(g[3], V::splat(P).mul(g[1]));
        let odd_q = V::splat(Q3).fma(g[3], V::splat(Q).mul(g[1]));
        [
            g[0],
            even_p.add(odd_p),
            even_p.sub(odd_p),
            even_q.add(odd_q),
            even_q.sub(odd_q),
            g[3],
        ]
    }

    #[inline(always)]
    fn output<V: Lanes>(m: [V; MOST]) -> [V; MOST] {
        let (plus_p, minus_p) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (plus_q, minus_q) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(plus_p).add(plus_q),
            V::splat(Q).fma(minus_q, V::splat(P).mul(minus_p)),
            V::splat(Q2).fma(plus_q, V::splat(P2).mul(plus_p)),
            V::splat(Q3).fma(minus_q, V::splat(P3).fma(minus_p, m[5])),
            V::splat(0.0),
            V::splat(0.0),
        ]
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Portable;

    const X: [f32; MOST] = [0.3, -1.2, 0.7, 2.0, -0.4, 1.1];

    fn lanes(x: [f32; MOST]) -> [Portable; MOST] {
        x.map(Portable::splat)
    }

    /// One of eight equal lanes.
    fn lane(v: Portable) -> f32 {
        v.sum() / LANES as f32
    }

    fn products_give_the_convolution<S: Scheme>() {
        let w = [0.5, -0.8, 1.3];
        let (transformed, weights) = (S::input(lanes(X)), S::weight(w));
        let m = core::array::from_fn(|j| transformed[j].mul(Portable::splat(weights[j])));
        for (i, y) in S::output(m).into_iter().enumerate().take(S::STRIP) {
            let direct: f32 = (0..3).map(|k| w[k] * X[i + k]).sum();
            assert!((lane(y) - direct).abs() < 1e-5, "{} {direct}", lane(y));
        }
    }

    fn products_give_the_weight_gradient<S: Scheme>() {
        let g = [0.9, -0.2, -1.5, 0.6, 0.0, 0.0];
        let (inputs, grads) = (S::input(lanes(X)), S::gradient(lanes(g)));
        let s = core::array::from_fn(|j| lane(inputs[j]) * lane(grads[j]));
        for (k, found) in S::weight_transposed(s).into_iter().enumerate() {
            let direct: f32 = (0..S::STRIP).map(|i| g[i] * X[i + k]).sum();
            assert!((found - direct).abs() < 1e-5, "{found} {direct}");
        }
    }

    #[test]
    fn both_schemes_are_exact_algebra() {
        products_give_the_convolution::<Two>();
        products_give_the_convolution::<Four>();
        products_give_the_weight_gradient::<Two>();
        products_give_the_weight_gradient::<Four>();
    }
}
