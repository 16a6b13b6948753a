//! Eight f32 lanes with one implementation for AVX2 + FMA and one portable, chosen at run time.
//!
//! Kernels are written once, generic over [`Lanes`], as `#[inline(always)]` functions; the
//! [`dispatch!`] macro instantiates them inside a function compiled with the CPU features they need.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod dispatch;
mod lanes;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
pub(crate) use dispatch::dispatch;
#[cfg(target_arch = "x86_64")]
pub(crate) use dispatch::is_wide;
pub(crate) use lanes::{LANES, Lanes, TOGETHER, load, store};
pub(crate) use portable::Portable;
