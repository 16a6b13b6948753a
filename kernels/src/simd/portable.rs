//! Eight lanes in an array.

use super::lanes::{LANES, Lanes};

/// The portable implementation; compilers turn it into whatever vectors the target has.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, o: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(core::array::from_fn(|i| f(self.0[i], o.0[i])))
    }
}

impl Lanes for Portable {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; LANES])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: eight f32 are readable by the method's contract; the read is unaligned.
        Self(unsafe { p.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: eight f32 are writable by the method's contract; the write is unaligned.
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        self.zip(o, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        self.zip(o, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        self.zip(o, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        self.zip(o, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self, b: Self) -> Self {
        // Two roundings where there is no instruction for one: f32::mul_add is a slow library call then.
        match cfg!(target_arch = "aarch64") {
            true => Self(core::array::from_fn(|i| self.0[i].mul_add(a.0[i], b.0[i]))),
            false => self.mul(a).add(b),
        }
    }
    #[inline(always)]
    fn clamp(self, lo: f32, hi: f32) -> Self {
        Self(self.0.map(|x| x.clamp(lo, hi)))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline(always)]
    fn signed(self, like: Self) -> Self {
        self.zip(like, f32::copysign)
    }
    #[inline(always)]
    fn round(self) -> Self {
        // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
        const MAGIC: f32 = 12_582_912.0;
        Self(self.0.map(|x| (x + MAGIC) - MAGIC))
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        Self(
            self.0
                .map(|x| f32::from_bits((((x as i32) + 127) << 23) as u32)),
        )
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        let a = self.0;
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    fn sums(v: [Self; 4]) -> [f32; 4] {
        [v[0].sum(), v[1].sum(), v[2].sum(), v[3].sum()]
    }
    #[inline(always)]
    unsafe fn load_fours(p: [*const f32; LANES]) -> [Self; 4] {
        // SAFETY: four f32 are readable at each place by the method's contract.
        core::array::from_fn(|k| Self(p.map(|p| unsafe { *p.add(k) })))
    }
    #[inline(always)]
    unsafe fn load_twos(p: [*const f32; LANES]) -> [Self; 2] {
        // SAFETY: two f32 are readable at each place by the method's contract.
        core::array::from_fn(|k| Self(p.map(|p| unsafe { *p.add(k) })))
    }
    #[inline(always)]
    unsafe fn store_fours(v: [Self; 4], p: [*mut f32; LANES]) {
        for (i, p) in p.into_iter().enumerate() {
            for (k, v) in v.iter().enumerate() {
                // SAFETY: four f32 are writable at each place by the method's contract.
                unsafe { p.add(k).write(v.0[i]) };
            }
        }
    }
}
