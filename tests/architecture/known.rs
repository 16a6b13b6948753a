//! What does not keep the rules yet. A test fails for an entry that is not needed any more: the lists only shrink.

/// Imports that close a circle of files: the first uses the second.
pub const CIRCLES: &[(&str, &str)] = &[
    (
        "kernels/src/attention.rs",
        "kernels/src/attention/backward.rs",
    ),
    (
        "kernels/src/attention.rs",
        "kernels/src/attention/forward.rs",
    ),
    ("kernels/src/conv.rs", "kernels/src/conv/forward.rs"),
    ("kernels/src/conv.rs", "kernels/src/conv/pack.rs"),
    ("kernels/src/simd.rs", "kernels/src/simd/avx2.rs"),
    ("src/noise/latent.rs", "src/noise/source.rs"),
];

/// Imports against the order of modules.
pub const UPWARDS: &[(&str, &str)] = &[];

/// Folders with more files beside each other than they may have, and how many they may have until then.
pub const CROWDED: &[(&str, usize)] = &[("kernels/src", 18)];

/// Modules that stand beside their folder instead of in it.
pub const BESIDE: &[&str] = &[
    "src/noise.rs",
    "kernels/src/attention.rs",
    "kernels/src/conv.rs",
    "kernels/src/gradient.rs",
    "kernels/src/simd.rs",
];
