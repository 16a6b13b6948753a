//! Sixteen f32 lanes: one AVX-512 register, two of AVX, or an array.

/// Number of f32 values one [`Wide`] holds.
pub(super) const WIDE: usize = 16;

/// Sixteen f32 values and the arithmetic of convolutions and pools. Every implementation rounds as the others, but where
/// there is no fused product.
///
/// The methods may only be reached on a CPU that has the implementation's instructions; [`dispatch`] sees to it.
pub(super) trait Wide: Copy {
    /// Most pixels, and blocks of sixteen channels, whose sums fit the registers together with what is added to them.
    const PIXELS: usize;
    const BLOCKS: usize;
    /// All lanes set to `x`.
    fn splat(x: f32) -> Self;
    /// # Safety
    /// `p` must be valid for reading sixteen f32.
    unsafe fn load(p: *const f32) -> Self;
    /// # Safety
    /// `p` must be valid for writing sixteen f32.
    unsafe fn store(self, p: *mut f32);
    fn add(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    /// `self * a + b`, fused where the CPU can.
    fn fma(self, a: Self, b: Self) -> Self;
    /// Lane-wise maximum; where `self` is NaN, it is NaN.
    fn max(self, o: Self) -> Self;

    /// Reads `n <= 16` values; the other lanes are zero.
    ///
    /// # Safety
    /// `p` must be valid for reading `n` f32.
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        let mut values = [0.0f32; WIDE];
        // SAFETY: the caller vouches for n values; there is room for sixteen.
        unsafe {
            core::ptr::copy_nonoverlapping(p, values.as_mut_ptr(), n.min(WIDE));
            Self::load(values.as_ptr())
        }
    }

    /// Writes the first `n <= 16` values.
    ///
    /// # Safety
    /// `p` must be valid for writing `n` f32.
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        let mut values = [0.0f32; WIDE];
        // SAFETY: the caller vouches for n values; there is room for sixteen.
        unsafe {
            self.store(values.as_mut_ptr());
            core::ptr::copy_nonoverlapping(values.as_ptr(), p, n.min(WIDE));
        }
    }
}

/// The portable lanes.
#[derive(Clone, Copy)]
pub(super) struct Array([f32; WIDE]);

impl Wide for Array {
    const PIXELS: usize = 4;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; WIDE])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: sixteen f32 are readable by the method's contract; the read is unaligned.
        Self(unsafe { p.cast::<[f32; WIDE]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: sixteen f32 are writable by the method's contract; the write is unaligned.
        unsafe { p.cast::<[f32; WIDE]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] + o.0[i]))
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] * o.0[i]))
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
    fn max(self, o: Self) -> Self {
        let larger = |i: usize| match o.0[i] > self.0[i] {
            true => o.0[i],
            false => self.0[i],
        };
        Self(core::array::from_fn(larger))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{WIDE, Wide};
    use core::arch::x86_64::*;

    /// One AVX-512 register.
    #[derive(Clone, Copy)]
    pub(crate) struct One(__m512);

    /// Two AVX registers.
    #[derive(Clone, Copy)]
    pub(crate) struct Two(__m256, __m256);

    // SAFETY (all unsafe blocks below): values of these types are made only inside functions compiled with their features,
    // which `dispatch!` enters after detecting them; the memory operations pass on their callers' promise and allow any
    // alignment.
    impl Wide for One {
        const PIXELS: usize = 12;
        const BLOCKS: usize = 2;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            Self(unsafe { _mm512_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        fn add(self, o: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, o.0) })
        }
        #[inline(always)]
        fn mul(self, o: Self) -> Self {
            Self(unsafe { _mm512_mul_ps(self.0, o.0) })
        }
        #[inline(always)]
        fn fma(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(self.0, a.0, b.0) })
        }
        #[inline(always)]
        fn max(self, o: Self) -> Self {
            // The second operand is the answer where one is NaN.
            Self(unsafe { _mm512_max_ps(o.0, self.0) })
        }
    }

    impl Wide for Two {
        const PIXELS: usize = 6;
        const BLOCKS: usize = 1;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            let x = unsafe { _mm256_set1_ps(x) };
            Self(x, x)
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { Self(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(WIDE / 2))) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe {
                _mm256_storeu_ps(p, self.0);
                _mm256_storeu_ps(p.add(WIDE / 2), self.1);
            }
        }
        #[inline(always)]
        fn add(self, o: Self) -> Self {
            unsafe { Self(_mm256_add_ps(self.0, o.0), _mm256_add_ps(self.1, o.1)) }
        }
        #[inline(always)]
        fn mul(self, o: Self) -> Self {
            unsafe { Self(_mm256_mul_ps(self.0, o.0), _mm256_mul_ps(self.1, o.1)) }
        }
        #[inline(always)]
        fn fma(self, a: Self, b: Self) -> Self {
            unsafe {
                let low = _mm256_fmadd_ps(self.0, a.0, b.0);
                Self(low, _mm256_fmadd_ps(self.1, a.1, b.1))
            }
        }
        #[inline(always)]
        fn max(self, o: Self) -> Self {
            unsafe { Self(_mm256_max_ps(o.0, self.0), _mm256_max_ps(o.1, self.1)) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{One, Two};

/// Whether this CPU has AVX-512, and the environment's `FEWSTEP_SIMD=avx2` does not say to leave it alone, nor `portable` to
/// leave more.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_one() -> bool {
    static THERE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *THERE.get_or_init(|| {
        let there = std::is_x86_feature_detected!("avx512f") && crate::simd::is_wide();
        there && std::env::var_os("FEWSTEP_SIMD").is_none_or(|typed| typed != "avx2")
    })
}

/// Makes `unsafe fn name(args)` that runs `kernel::<impl Wide>` with the widest instructions this CPU has. The remaining
/// duty is the kernel's own.
macro_rules! dispatch_wide {
    (unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $kernel:ident) => {
        unsafe fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                unsafe fn one($($arg: $ty),*) {
                    // SAFETY: the caller's promises are passed on unchanged.
                    unsafe { $kernel::<$crate::maps::wide::One>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                unsafe fn two($($arg: $ty),*) {
                    // SAFETY: as above.
                    unsafe { $kernel::<$crate::maps::wide::Two>($($arg),*) }
                }
                if $crate::maps::wide::has_one() {
                    // SAFETY: the feature was detected.
                    return unsafe { one($($arg),*) };
                }
                if $crate::simd::is_wide() {
                    // SAFETY: both features were detected.
                    return unsafe { two($($arg),*) };
                }
            }
            // SAFETY: the portable lanes need no CPU feature; the rest is the caller's promise.
            unsafe { $kernel::<$crate::maps::wide::Array>($($arg),*) }
        }
    };
}
pub(super) use dispatch_wide;
