//! Eight lanes in one AVX register.

use super::lanes::Lanes;
use core::arch::x86_64::*;

/// One AVX register. Only [`dispatch!`](super::dispatch!) names it, after checking the CPU.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256);

// SAFETY (all unsafe blocks below): values of this type are made only inside functions compiled
// with AVX2 and FMA that `dispatch!` enters after detecting both, so the instructions exist; the
// two memory operations pass on their callers' promise of eight accessible f32 and allow any
// alignment.
impl Lanes for Avx2 {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(unsafe { _mm256_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self(unsafe { _mm256_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { _mm256_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Self(unsafe { _mm256_add_ps(self.0, o.0) })
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Self(unsafe { _mm256_sub_ps(self.0, o.0) })
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Self(unsafe { _mm256_mul_ps(self.0, o.0) })
    }
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        Self(unsafe { _mm256_div_ps(self.0, o.0) })
    }
    #[inline(always)]
    fn fma(self, a: Self, b: Self) -> Self {
        Self(unsafe { _mm256_fmadd_ps(self.0, a.0, b.0) })
    }
    #[inline(always)]
    fn clamp(self, lo: f32, hi: f32) -> Self {
        // min/max return their second operand when one is NaN, so the data goes second.
        unsafe {
            let low = _mm256_max_ps(_mm256_set1_ps(lo), self.0);
            Self(_mm256_min_ps(_mm256_set1_ps(hi), low))
        }
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn signed(self, like: Self) -> Self {
        unsafe {
            let sign = _mm256_and_ps(_mm256_set1_ps(-0.0), like.0);
            Self(_mm256_or_ps(self.abs().0, sign))
        }
    }
    #[inline(always)]
    fn round(self) -> Self {
        const MODE: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        Self(unsafe { _mm256_round_ps::<MODE>(self.0) })
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        unsafe {
            let n = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(n)))
        }
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe {
            let lo = _mm256_castps256_ps128(self.0);
            let a = _mm_add_ps(lo, _mm256_extractf128_ps::<1>(self.0));
            let b = _mm_add_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)))
        }
    }
    #[inline(always)]
    fn sums(v: [Self; 4]) -> [f32; 4] {
        unsafe {
            let [a, b, c, d] = [v[0].0, v[1].0, v[2].0, v[3].0];
            // Per half: pairs of lanes two apart, then the two that remain, as `sum` pairs them.
            let half = |a: __m256| {
                let high = _mm256_extractf128_ps::<1>(a);
                _mm_add_ps(_mm256_castps256_ps128(a), high)
            };
            let (a, b, c, d) = (half(a), half(b), half(c), half(d));
            let ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
            let cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), _mm_hadd_ps(ab, cd));
            out
        }
    }
    #[inline(always)]
    unsafe fn load_fours(p: [*const f32; 8]) -> [Self; 4] {
        unsafe {
            // Place i in the lower half, place i + 4 in the upper.
            let both = |i: usize| {
                let low = _mm256_castps128_ps256(_mm_loadu_ps(p[i]));
                _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(p[i + 4]))
            };
            let [a, b, c, d] = transposed([both(0), both(1), both(2), both(3)]);
            [Self(a), Self(b), Self(c), Self(d)]
        }
    }
    #[inline(always)]
    unsafe fn load_twos(p: [*const f32; 8]) -> [Self; 2] {
        unsafe {
            let two = |i: usize| _mm_castpd_ps(_mm_load_sd(p[i].cast()));
            let four = |i: usize| _mm_movelh_ps(two(i), two(i + 1));
            let eight =
                |i: usize| _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(four(i)), four(i + 4));
            let (a, b) = (eight(0), eight(2));
            [
                Self(_mm256_shuffle_ps::<0b10_00_10_00>(a, b)),
                Self(_mm256_shuffle_ps::<0b11_01_11_01>(a, b)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_fours(v: [Self; 4], p: [*mut f32; 8]) {
        unsafe {
            let both = |v: __m256, i: usize| {
                _mm_storeu_ps(p[i], _mm256_castps256_ps128(v));
                _mm_storeu_ps(p[i + 4], _mm256_extractf128_ps::<1>(v));
            };
            let [a, b, c, d] = transposed([v[0].0, v[1].0, v[2].0, v[3].0]);
            both(a, 0);
            both(b, 1);
            both(c, 2);
            both(d, 3);
        }
    }
    #[inline(always)]
    unsafe fn store_twos(v: [Self; 2], p: [*mut f32; 8]) {
        unsafe {
            // Places i and i + 1 in a half.
            let both = |v: __m128, i: usize| {
                _mm_storel_pd(p[i].cast(), _mm_castps_pd(v));
                _mm_storeh_pd(p[i + 1].cast(), _mm_castps_pd(v));
            };
            let low = _mm256_unpacklo_ps(v[0].0, v[1].0);
            let high = _mm256_unpackhi_ps(v[0].0, v[1].0);
            both(_mm256_castps256_ps128(low), 0);
            both(_mm256_castps256_ps128(high), 2);
            both(_mm256_extractf128_ps::<1>(low), 4);
            both(_mm256_extractf128_ps::<1>(high), 6);
        }
    }
}

/// The 4 x 4 matrices in the lower and the upper halves, transposed.
#[inline(always)]
fn transposed([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    unsafe {
        let (ab, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd),
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        ]
    }
}
