//! Minimal algorithms for the vertical transform: two or four output rows at once.
//!
//! A 3x3 convolution is nested: along the rows it stays three shifted products, along the columns the
//! outputs of a strip are computed by a minimal algorithm (Winograd 1980; Lavin and Gray 2016): F(2, 3)
//! gets two outputs from four products instead of six, F(4, 3) four from six instead of twelve.
//!
//! With B, G and A the transforms of inputs, weights and products, `y = A^T [(G w) * (B^T x)]`. Being
//! bilinear, it gives the weight gradient as `G^T [(A g) * (B^T x)]`.

use crate::simd::Lanes;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{LANES, Portable};

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
