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
    ("src/autoencoder/mod.rs", "src/autoencoder/config.rs"),
    ("src/autoencoder/mod.rs", "src/autoencoder/decoder.rs"),
    ("src/autoencoder/mod.rs", "src/autoencoder/encoder.rs"),
    ("src/autoencoder/mod.rs", "src/autoencoder/tile.rs"),
    ("src/distill/mod.rs", "src/distill/rollout.rs"),
    ("src/golden/case.rs", "src/golden/network.rs"),
    ("src/golden/compvis.rs", "src/golden/pickle.rs"),
    ("src/golden/latent.rs", "src/golden/network.rs"),
    ("src/golden/mod.rs", "src/golden/autoencoder.rs"),
    ("src/golden/mod.rs", "src/golden/compvis.rs"),
    ("src/golden/mod.rs", "src/golden/edm_loss.rs"),
    ("src/golden/mod.rs", "src/golden/gits.rs"),
    ("src/golden/mod.rs", "src/golden/guidance.rs"),
    ("src/golden/mod.rs", "src/golden/latent.rs"),
    ("src/golden/mod.rs", "src/golden/layout.rs"),
    ("src/golden/mod.rs", "src/golden/metric.rs"),
    ("src/golden/mod.rs", "src/golden/network.rs"),
    ("src/golden/mod.rs", "src/golden/noise.rs"),
    ("src/golden/mod.rs", "src/golden/part.rs"),
    ("src/golden/mod.rs", "src/golden/pickle.rs"),
    ("src/golden/mod.rs", "src/golden/schedule.rs"),
    ("src/golden/mod.rs", "src/golden/solver.rs"),
    ("src/golden/mod.rs", "src/golden/text_encoder.rs"),
    ("src/golden/mod.rs", "src/golden/tokenizer.rs"),
    ("src/golden/mod.rs", "src/golden/train.rs"),
    ("src/grid/list.rs", "src/grid/spacing.rs"),
    ("src/grid/search.rs", "src/grid/spacing.rs"),
    ("src/import/diffusers.rs", "src/import/latent.rs"),
    ("src/import/mod.rs", "src/import/reader.rs"),
    ("src/import/mod.rs", "src/import/survey.rs"),
    ("src/import/pickle/mod.rs", "src/import/pickle/opcode.rs"),
    ("src/network/initial.rs", "src/network/latent_unet/mod.rs"),
    ("src/network/initial.rs", "src/network/step_branch.rs"),
    ("src/network/key.rs", "src/network/song_unet.rs"),
    ("src/network/key.rs", "src/network/step_branch.rs"),
    (
        "src/network/latent_unet/config.rs",
        "src/network/latent_unet/outline.rs",
    ),
    (
        "src/network/latent_unet/mod.rs",
        "src/network/latent_unet/attention.rs",
    ),
    (
        "src/network/latent_unet/mod.rs",
        "src/network/latent_unet/config.rs",
    ),
    (
        "src/network/latent_unet/mod.rs",
        "src/network/latent_unet/outline.rs",
    ),
    (
        "src/network/latent_unet/mod.rs",
        "src/network/latent_unet/residual.rs",
    ),
    (
        "src/network/latent_unet/mod.rs",
        "src/network/latent_unet/transformer.rs",
    ),
    ("src/network/mod.rs", "src/network/dhariwal_unet.rs"),
    ("src/network/mod.rs", "src/network/fold.rs"),
    ("src/network/mod.rs", "src/network/initial.rs"),
    ("src/network/mod.rs", "src/network/latent_unet/config.rs"),
    ("src/network/mod.rs", "src/network/latent_unet/mod.rs"),
    ("src/network/mod.rs", "src/network/parameter.rs"),
    ("src/network/mod.rs", "src/network/song_unet.rs"),
    ("src/network/mod.rs", "src/network/step_branch.rs"),
    ("src/network/mod.rs", "src/network/unet_body.rs"),
    ("src/network/mod.rs", "src/network/walk.rs"),
    ("src/network/outline.rs", "src/network/plan.rs"),
    ("src/network/outline.rs", "src/network/song_unet.rs"),
    ("src/network/plan.rs", "src/network/song_unet.rs"),
    ("src/network/song_unet.rs", "src/network/unet_body.rs"),
    ("src/noise/latent.rs", "src/noise/source.rs"),
    ("src/text/config.rs", "src/text/encoder.rs"),
];

/// Imports against the order of modules.
pub const UPWARDS: &[(&str, &str)] = &[];

/// Folders with more files beside each other than they may have, and how many they may have until then.
pub const CROWDED: &[(&str, usize)] = &[
    ("kernels/src", 18),
    ("src/golden", 23),
    ("src/import", 21),
    ("src/network", 21),
];

/// Modules that stand beside their folder instead of in it.
pub const BESIDE: &[&str] = &[
    "src/distill/check.rs",
    "src/distill/perceptual.rs",
    "src/grid.rs",
    "src/network/law.rs",
    "src/noise.rs",
    "src/workload.rs",
    "kernels/src/attention.rs",
    "kernels/src/conv.rs",
    "kernels/src/gradient.rs",
    "kernels/src/simd.rs",
];
