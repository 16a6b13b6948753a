//! Sizes that no network can have are refused by name.

use super::super::*;

#[test]
fn sizes_that_do_not_fit_are_named() {
    let song = SongUNetConfig::default();
    let adm = DhariwalUNetConfig::default();
    let latent = LatentUNetConfig::stable_diffusion();
    let cases = [
        (
            "model_channels",
            NetworkConfig::LatentUnet(LatentUNetConfig {
                model_channels: 48,
                ..latent.clone()
            }),
        ),
        (
            "resolution",
            NetworkConfig::LatentUnet(LatentUNetConfig {
                resolution: 60,
                ..latent.clone()
            }),
        ),
        (
            "attention_factors",
            NetworkConfig::LatentUnet(LatentUNetConfig {
                attention_factors: vec![16],
                ..latent.clone()
            }),
        ),
        (
            "attention.head_channels",
            NetworkConfig::LatentUnet(LatentUNetConfig {
                attention: LatentAttention::Pixels { head_channels: 0 },
                ..latent.clone()
            }),
        ),
        (
            "attention.heads",
            NetworkConfig::LatentUnet(LatentUNetConfig {
                attention: LatentAttention::Text {
                    heads: 7.into(),
                    width: 8,
                    depth: 1.into(),
                    linear: false,
                },
                ..latent.clone()
            }),
        ),
        (
            "attention.depth",
            NetworkConfig::LatentUnet(LatentUNetConfig {
                attention: LatentAttention::Text {
                    heads: 8.into(),
                    width: 8,
                    depth: vec![1, 2, 0, 1].into(),
                    linear: true,
                },
                ..latent.clone()
            }),
        ),
        (
            "attention.heads",
            NetworkConfig::LatentUnet(LatentUNetConfig {
                attention: LatentAttention::Text {
                    heads: vec![5, 10, 20].into(),
                    width: 8,
                    depth: 1.into(),
                    linear: true,
                },
                ..latent.clone()
            }),
        ),
        (
            "added",
            NetworkConfig::LatentUnet(LatentUNetConfig {
                attention: LatentAttention::Pixels { head_channels: 32 },
                added: Some(Added { text: 8, waves: 4 }),
                ..latent
            }),
        ),
        (
            "noise_multiplier",
            NetworkConfig::SongUnet(SongUNetConfig {
                noise_multiplier: 0,
                ..song.clone()
            }),
        ),
        // 68 + 68 channels in a decoder block's first norm are no 32 equal groups.
        (
            "model_channels",
            NetworkConfig::SongUnet(SongUNetConfig {
                model_channels: 68,
                channel_multipliers: vec![1],
                ..song
            }),
        ),
        // 224 / 64 = 3 heads do not divide 224 channels.
        (
            "model_channels",
            NetworkConfig::DhariwalUnet(DhariwalUNetConfig {
                model_channels: 112,
                channel_multipliers: vec![2],
                ..adm.clone()
            }),
        ),
        (
            "blocks",
            NetworkConfig::DhariwalUnet(DhariwalUNetConfig {
                blocks: usize::MAX,
                ..adm.clone()
            }),
        ),
        (
            "model_channels",
            NetworkConfig::DhariwalUnet(DhariwalUNetConfig {
                model_channels: 1 << 62,
                ..adm
            }),
        ),
    ];
    let transformer = |change: &dyn Fn(&mut TransformerConfig)| {
        let mut config = TransformerConfig::default();
        change(&mut config);
        NetworkConfig::Transformer(config)
    };
    let transformers = [
        ("resolution", transformer(&|c| c.resolution = 33)),
        ("patch", transformer(&|c| c.patch = 0)),
        (
            "patch",
            transformer(&|c| (c.patch, c.resolution) = (256, 256)),
        ),
        ("width", transformer(&|c| c.width = 6)),
        ("heads", transformer(&|c| c.heads = 5)),
        ("heads", transformer(&|c| c.heads = 0)),
        ("depth", transformer(&|c| c.depth = usize::MAX)),
        ("classes", transformer(&|c| c.classes = usize::MAX)),
        ("channels", transformer(&|c| c.channels = 0)),
        ("dropout", transformer(&|c| c.dropout = 1.0)),
    ];
    for (field, config) in cases.into_iter().chain(transformers) {
        let error = config.init(0, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}
