//! What kernels compute with: eight numbers at once, whatever the CPU.

/// Number of f32 values one [`Lanes`] vector holds.
pub(crate) const LANES: usize = 8;

/// Eight f32 values and the arithmetic the kernels use.
///
/// The methods of an implementation may only be reached on a CPU that has its instructions; the
/// kernels are therefore `unsafe fn`, and [`dispatch!`] discharges that duty.
pub(crate) trait Lanes: Copy {
    /// All lanes set to `x`.
    fn splat(x: f32) -> Self;
    /// Reads eight values.
    ///
    /// # Safety
    /// `p` must be valid for reading eight f32 (any alignment of f32).
    unsafe fn load(p: *const f32) -> Self;
    /// Writes eight values.
    ///
    /// # Safety
    /// `p` must be valid for writing eight f32 (any alignment of f32).
    unsafe fn store(self, p: *mut f32);
    /// Lane-wise sum.
    fn add(self, o: Self) -> Self;
    /// Lane-wise difference.
    fn sub(self, o: Self) -> Self;
    /// Lane-wise product.
    fn mul(self, o: Self) -> Self;
    /// Lane-wise quotient.
    fn div(self, o: Self) -> Self;
    /// `self * a + b`, fused where the CPU can.
    fn fma(self, a: Self, b: Self) -> Self;
    /// Lane-wise clamp to `lo..=hi`; NaN stays NaN.
    fn clamp(self, lo: f32, hi: f32) -> Self;
    /// Lane-wise absolute value.
    fn abs(self) -> Self;
    /// The lanes with the signs of another's.
    fn signed(self, like: Self) -> Self;
    /// Nearest integer, for |x| below 2^22.
    fn round(self) -> Self;
    /// `2^self` for integer lanes in -126..=127.
    fn pow2(self) -> Self;
    /// Sum of the eight lanes, pairwise in a fixed order.
    fn sum(self) -> f32;
    /// The four vectors' [`sum`](Self::sum)s, cheaper than one by one.
    fn sums(v: [Self; 4]) -> [f32; 4];

    /// Four values from each of eight places: vector k holds the k-th of each.
    ///
    /// # Safety
    /// All `p` must be valid for reading four f32.
    unsafe fn load_fours(p: [*const f32; LANES]) -> [Self; 4];
    /// Two values from each of eight places: vector k holds the k-th of each.
    ///
    /// # Safety
    /// All `p` must be valid for reading two f32.
    unsafe fn load_twos(p: [*const f32; LANES]) -> [Self; 2];
    /// The reverse of [`load_fours`](Self::load_fours).
    ///
    /// # Safety
    /// All `p` must be valid for writing four f32.
    unsafe fn store_fours(v: [Self; 4], p: [*mut f32; LANES]);
    /// The reverse of [`load_twos`](Self::load_twos).
    ///
    /// # Safety
    /// All `p` must be valid for writing two f32.
    #[inline(always)]
    unsafe fn store_twos(v: [Self; 2], p: [*mut f32; LANES]) {
        let mut values = [[0.0f32; LANES]; 2];
        // SAFETY: two f32 are writable at each place by the method's contract.
        unsafe {
            v[0].store(values[0].as_mut_ptr());
            v[1].store(values[1].as_mut_ptr());
            for (i, p) in p.into_iter().enumerate() {
                p.write(values[0][i]);
                p.add(1).write(values[1][i]);
            }
        }
    }

    /// Reads `n <= 8` values; the other lanes are zero.
    ///
    /// # Safety
    /// `p` must be valid for reading `n` f32.
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        let mut a = [0.0f32; LANES];
        // SAFETY: the caller vouches for n readable values; a holds eight and n is capped.
        unsafe {
            core::ptr::copy_nonoverlapping(p, a.as_mut_ptr(), n.min(LANES));
            Self::load(a.as_ptr())
        }
    }

    /// Writes the first `n <= 8` values.
    ///
    /// # Safety
    /// `p` must be valid for writing `n` f32.
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        let mut a = [0.0f32; LANES];
        // SAFETY: the caller vouches for n writable values; a holds eight and n is capped.
        unsafe {
            self.store(a.as_mut_ptr());
            core::ptr::copy_nonoverlapping(a.as_ptr(), p, n.min(LANES));
        }
    }

    // What follows takes several vectors, operation by operation: each is a long chain of operations that depend on
    // each other, and only chains side by side keep the CPU busy.

    /// `e^x`, relative error about 1e-7 for lanes in -87..=88.
    ///
    /// Cody-Waite reduction by ln 2 in two parts, then a degree-7 Taylor polynomial on |r| <= ln2/2
    /// (its truncation error there is below 5e-9).
    #[inline(always)]
    fn exps<const N: usize>(x: [Self; N]) -> [Self; N] {
        let (mut n, mut r, mut p) = (x, x, x);
        let log2_e = Self::splat(std::f32::consts::LOG2_E);
        for k in 0..N {
            n[k] = x[k].mul(log2_e).round();
        }
        // ln 2 split so that n * hi is exact for |n| <= 2^8.
        let (hi, lo) = (Self::splat(-0.693_359_4), Self::splat(2.121_944_4e-4));
        for k in 0..N {
            r[k] = n[k].fma(hi, x[k]);
        }
        for k in 0..N {
            r[k] = n[k].fma(lo, r[k]);
        }
        let highest = Self::splat(1.0 / 5040.0);
        p.fill(highest);
        for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
            let coefficient = Self::splat(coefficient);
            for k in 0..N {
                p[k] = p[k].fma(r[k], coefficient);
            }
        }
        let one = Self::splat(1.0);
        for k in 0..N {
            p[k] = p[k].fma(r[k].mul(r[k]), r[k]);
        }
        for k in 0..N {
            p[k] = p[k].add(one).mul(n[k].pow2());
        }
        p
    }

    /// One vector's [`exps`](Self::exps).
    #[inline(always)]
    fn exp(self) -> Self {
        let [y] = Self::exps([self]);
        y
    }

    /// The logistic function `1 / (1 + e^-x)`.
    #[inline(always)]
    fn sigmoids<const N: usize>(x: [Self; N]) -> [Self; N] {
        let (zero, one) = (Self::splat(0.0), Self::splat(1.0));
        let mut y = x;
        for y in &mut y {
            *y = zero.sub(y.clamp(-87.0, 87.0));
        }
        y = Self::exps(y);
        for y in &mut y {
            *y = one.div(one.add(*y));
        }
        y
    }

    /// `x * sigmoid(x)`.
    #[inline(always)]
    fn silus<const N: usize>(x: [Self; N]) -> [Self; N] {
        let mut y = Self::sigmoids(x);
        for k in 0..N {
            y[k] = x[k].mul(y[k]);
        }
        y
    }

    /// The standard normal distribution up to `self`, and its density times the square root of 2 pi: absolute error of the
    /// first about 1e-7. [Abramowitz & Stegun 7.1.26]
    #[inline(always)]
    fn normal(self) -> [Self; 2] {
        let (one, half) = (Self::splat(1.0), Self::splat(0.5));
        let density = self.mul(self).mul(Self::splat(-0.5));
        let density = density.clamp(-87.0, 87.0).exp();
        let scaled = Self::splat(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2);
        let t = one.div(self.abs().fma(scaled, one));
        let p = Self::splat(1.061_405_4).fma(t, Self::splat(-1.453_152));
        let p = p.fma(t, Self::splat(1.421_413_7));
        let p = p.fma(t, Self::splat(-0.284_496_74));
        let p = p.fma(t, Self::splat(0.254_829_6)).mul(t);
        let tail = p.mul(density).mul(half);
        [half.sub(tail).signed(self).add(half), density]
    }

    /// Derivative of [`silus`](Self::silus): `s * (1 + x * (1 - s))` with `s = sigmoid(x)`.
    #[inline(always)]
    fn silu_slopes<const N: usize>(x: [Self; N]) -> [Self; N] {
        let one = Self::splat(1.0);
        let mut y = Self::sigmoids(x);
        for k in 0..N {
            y[k] = y[k].mul(x[k].fma(one.sub(y[k]), one));
        }
        y
    }
}

/// Vectors whose elementwise functions are computed together.
pub(crate) const TOGETHER: usize = 4;

// Kernel loops are written out rather than taking closures: a closure is compiled without the CPU
// features of the function around it, and where it is not inlined every vector operation is a call.

/// # Safety
/// `n <= 8` values must be readable.
#[inline(always)]
pub(crate) unsafe fn load<V: Lanes>(p: *const f32, n: usize) -> V {
    // SAFETY: passed on.
    unsafe {
        match n {
            LANES => V::load(p),
            _ => V::load_part(p, n),
        }
    }
}

/// # Safety
/// `n <= 8` values must be writable.
#[inline(always)]
pub(crate) unsafe fn store<V: Lanes>(v: V, p: *mut f32, n: usize) {
    // SAFETY: passed on.
    unsafe {
        match n {
            LANES => v.store(p),
            _ => v.store_part(p, n),
        }
    }
}
