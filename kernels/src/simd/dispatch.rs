//! Which instructions a kernel runs with.

/// Whether this CPU has AVX2 and FMA, and the environment's `FEWSTEP_SIMD=portable` does not say to leave them alone: with
/// it, this machine computes as one without them.
#[cfg(target_arch = "x86_64")]
pub(crate) fn is_wide() -> bool {
    static WIDE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *WIDE.get_or_init(|| {
        let there = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
        there && std::env::var_os("FEWSTEP_SIMD").is_none_or(|typed| typed != "portable")
    })
}

/// Makes `fn name(args) -> ret` that runs `kernel::<impl Lanes>`, or `kernel::<S, impl Lanes>` for
/// `fn name<S: Bound>`, with the widest instructions this CPU has. `unsafe fn` like the kernel: the
/// remaining duty is the kernel's own.
macro_rules! dispatch {
    ($(#[$doc:meta])* $vis:vis unsafe fn $name:ident$(<$param:ident: $bound:ident>)?($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $kernel:ident) => {
        $(#[$doc])*
        $vis unsafe fn $name$(<$param: $bound>)?($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                unsafe fn wide$(<$param: $bound>)?($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: the caller's promises are passed on unchanged.
                    unsafe { $kernel::<$($param,)? $crate::simd::Avx2>($($arg),*) }
                }
                if $crate::simd::is_wide() {
                    // SAFETY: both features were detected.
                    return unsafe { wide$(::<$param>)?($($arg),*) };
                }
            }
            // SAFETY: the portable lanes need no CPU feature; the rest is the caller's promise.
            unsafe { $kernel::<$($param,)? $crate::simd::Portable>($($arg),*) }
        }
    };
}
pub(crate) use dispatch;
