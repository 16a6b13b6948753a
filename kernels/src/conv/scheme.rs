//! Minimal algorithms for a row or a column of a tile: two or four outputs at once.
//!
//! F(2, 3) gets two outputs from four products instead of six, F(4, 3) four from six instead of twelve
//! (Winograd 1980; Lavin and Gray 2016). Used along rows and columns of a 3x3 convolution, 16 products give
//! 2x2 outputs instead of 36, and 36 products 4x4 outputs instead of 144.
//!
//! With B, G and A the transforms of inputs, weights and products, `y = A^T [(G w) * (B^T x)]`. Being
//! bilinear, it gives the weight gradient as `G^T [(A g) * (B^T x)]`.

use crate::simd::Lanes;

/// Most products of a row; what a [`Scheme`] does not use stays zero.
pub(super) const MOST: usize = 6;

/// A minimal algorithm.
pub(super) trait Scheme: Send + Sync {
    /// Outputs.
    const OUTPUTS: usize;
    /// Products, and inputs.
    const PRODUCTS: usize;
    /// Products of a tile.
    const POINTS: usize = Self::PRODUCTS * Self::PRODUCTS;

    /// `G w` of three taps.
    fn weight<V: Lanes>(w: [V; 3]) -> [V; MOST];
    /// `G^T s`: the gradient of three taps from the products' sums.
    fn weight_transposed<V: Lanes>(s: [V; MOST]) -> [V; 3];
    /// `B^T x` of inputs.
    fn input<V: Lanes>(x: [V; MOST]) -> [V; MOST];
    /// `A g` of the outputs' gradient.
    fn gradient<V: Lanes>(g: [V; MOST]) -> [V; MOST];
    /// `A^T m`: outputs from products.
    fn output<V: Lanes>(m: [V; MOST]) -> [V; MOST];
}

/// Input channels from which on [`Four`] is used.
///
/// A sum over few channels is so exact that the larger transform's own rounding shows: at 16 channels it has
/// twice the error of the direct sum, at 32 four tenths more, at 64 a tenth more, at 256 a third less.
pub(super) const FOUR_FROM: usize = 32;

/// F(2, 3) with the points 0, +-1 and infinity. It adds up less than the direct sum, and rounds less.
pub(super) struct Two;

impl Scheme for Two {
    const OUTPUTS: usize = 2;
    const PRODUCTS: usize = 4;

    #[inline(always)]
    fn weight<V: Lanes>(w: [V; 3]) -> [V; MOST] {
        let (none, half) = (V::splat(0.0), V::splat(0.5));
        let (even, odd) = (half.mul(w[0].add(w[2])), half.mul(w[1]));
        [w[0], even.add(odd), even.sub(odd), w[2], none, none]
    }

    #[inline(always)]
    fn weight_transposed<V: Lanes>(s: [V; MOST]) -> [V; 3] {
        let half = V::splat(0.5);
        let (plus, minus) = (half.mul(s[1].add(s[2])), half.mul(s[1].sub(s[2])));
        [s[0].add(plus), minus, plus.add(s[3])]
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

/// F(4, 3) with the points 0, +-5/8, +-3/2 and infinity.
///
/// They are exact in binary, and lose less than half of what the usual 0, +-1, +-2 lose to rounding.
pub(super) struct Four;

/// The two pairs of interpolation points, and their squares and cubes.
const P: f32 = 0.625;
const Q: f32 = 1.5;
const P2: f32 = P * P;
const Q2: f32 = Q * Q;
const P3: f32 = P2 * P;
const Q3: f32 = Q2 * Q;

/// One over the product of the differences between a point and the other finite ones: at 0, +-P and +-Q.
const SCALES: [f64; 3] = {
    let (p2, q2) = (P2 as f64, Q2 as f64);
    [
        1.0 / (p2 * q2),
        1.0 / (2.0 * p2 * (p2 - q2)),
        1.0 / (2.0 * q2 * (q2 - p2)),
    ]
};
/// What the transform of the weights multiplies by, rounded once: the first tap at 0, and the taps at P and at Q.
const AT_0: f32 = SCALES[0] as f32;
const AT_P: [f32; 3] = taps_at(P, SCALES[1]);
const AT_Q: [f32; 3] = taps_at(Q, SCALES[2]);

const fn taps_at(point: f32, scale: f64) -> [f32; 3] {
    let point = point as f64;
    [
        scale as f32,
        (scale * point) as f32,
        (scale * point * point) as f32,
    ]
}

impl Scheme for Four {
    const OUTPUTS: usize = 4;
    const PRODUCTS: usize = 6;

    #[inline(always)]
    fn weight<V: Lanes>(w: [V; 3]) -> [V; MOST] {
        let at = |c: [f32; 3]| {
            let even = V::splat(c[0]).fma(w[0], V::splat(c[2]).mul(w[2]));
            let odd = V::splat(c[1]).mul(w[1]);
            (even.add(odd), even.sub(odd))
        };
        let ((p, minus_p), (q, minus_q)) = (at(AT_P), at(AT_Q));
        [V::splat(AT_0).mul(w[0]), p, minus_p, q, minus_q, w[2]]
    }

    #[inline(always)]
    fn weight_transposed<V: Lanes>(s: [V; MOST]) -> [V; 3] {
        let (plus_p, minus_p) = (s[1].add(s[2]), s[1].sub(s[2]));
        let (plus_q, minus_q) = (s[3].add(s[4]), s[3].sub(s[4]));
        let at = |k: usize, p: V, q: V, rest: V| {
            V::splat(AT_P[k]).fma(p, V::splat(AT_Q[k]).fma(q, rest))
        };
        [
            at(0, plus_p, plus_q, V::splat(AT_0).mul(s[0])),
            at(1, minus_p, minus_q, V::splat(0.0)),
            at(2, plus_p, plus_q, s[5]),
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

    fn lanes<const N: usize>(x: [f32; N]) -> [Portable; N] {
        x.map(Portable::splat)
    }

    /// One of eight equal lanes.
    fn lane(v: Portable) -> f32 {
        v.sum() / LANES as f32
    }

    fn products_give_the_convolution<S: Scheme>() {
        let w = [0.5, -0.8, 1.3];
        let (transformed, weights) = (S::input(lanes(X)), S::weight(lanes(w)));
        let m = core::array::from_fn(|j| transformed[j].mul(weights[j]));
        for (i, y) in S::output(m).into_iter().enumerate().take(S::OUTPUTS) {
            let direct: f32 = (0..3).map(|k| w[k] * X[i + k]).sum();
            assert!((lane(y) - direct).abs() < 1e-5, "{} {direct}", lane(y));
        }
    }

    fn products_give_the_weight_gradient<S: Scheme>() {
        let g = [0.9, -0.2, -1.5, 0.6, 0.0, 0.0];
        let (inputs, grads) = (S::input(lanes(X)), S::gradient(lanes(g)));
        let s = core::array::from_fn(|j| inputs[j].mul(grads[j]));
        for (k, found) in S::weight_transposed(s).into_iter().enumerate() {
            let direct: f32 = (0..S::OUTPUTS).map(|i| g[i] * X[i + k]).sum();
            assert!(
                (lane(found) - direct).abs() < 1e-5,
                "{} {direct}",
                lane(found)
            );
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
