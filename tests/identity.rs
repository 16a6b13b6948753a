//! What is written is what was written so far: names, their order, shapes and fresh weights of every kind of network.
//!
//! The digests were taken before layers said their own names; a new one belongs to a new kind only.

use burn::tensor::Device;
use fewstep::model::hash_bytes;
use fewstep::network::{
    Decoder, DhariwalUNetConfig, Embedding, Encoder, LatentAttention, LatentUNetConfig, Network,
    NetworkConfig, ResampleFilter, SongUNetConfig, StepInit, TransformerConfig, add_step_branch,
    fold_step_branch, is_step_parameter, parameters,
};

fn configs() -> Vec<(&'static str, NetworkConfig)> {
    let ddpmpp = SongUNetConfig {
        resolution: 8,
        channels: 2,
        classes: 3,
        model_channels: 8,
        channel_multipliers: vec![1, 2, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        dropout: 0.0,
        ..SongUNetConfig::default()
    };
    let ncsnpp = SongUNetConfig {
        embedding: Embedding::Fourier,
        noise_multiplier: 2,
        encoder: Encoder::Residual,
        resample_filter: ResampleFilter::Binomial,
        ..ddpmpp.clone()
    };
    let skip = SongUNetConfig {
        encoder: Encoder::Skip,
        decoder: Decoder::Skip,
        ..ddpmpp.clone()
    };
    let adm = DhariwalUNetConfig {
        resolution: 8,
        channels: 2,
        classes: 3,
        model_channels: 64,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        augment_labels: 9,
        dropout: 0.0,
        step_branch: false,
    };
    let latent = LatentUNetConfig {
        resolution: 8,
        channels: 2,
        model_channels: 64,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_factors: vec![2],
        attention: LatentAttention::Pixels { head_channels: 16 },
        added: None,
        dropout: 0.0,
        step_branch: false,
    };
    let text = LatentUNetConfig {
        channel_multipliers: vec![2, 2],
        attention_factors: vec![1],
        attention: LatentAttention::Text {
            heads: 4.into(),
            width: 12,
            depth: 2.into(),
            linear: false,
        },
        ..latent.clone()
    };
    let transformer = TransformerConfig {
        resolution: 8,
        channels: 2,
        classes: 3,
        patch: 2,
        width: 16,
        depth: 2,
        heads: 4,
        dropout: 0.0,
        step_branch: false,
    };
    vec![
        ("ddpm++", NetworkConfig::SongUnet(ddpmpp)),
        ("ncsn++", NetworkConfig::SongUnet(ncsnpp)),
        ("skip", NetworkConfig::SongUnet(skip)),
        ("adm", NetworkConfig::DhariwalUnet(adm)),
        ("latent", NetworkConfig::LatentUnet(latent)),
        ("text", NetworkConfig::LatentUnet(text)),
        ("dit", NetworkConfig::Transformer(transformer)),
    ]
}

/// Adds names, shapes and numbers in order.
fn put(text: &mut Vec<u8>, network: &Network) {
    for parameter in parameters(network) {
        text.extend(format!("{} {:?}\n", parameter.name, parameter.shape).bytes());
        text.extend_from_slice(parameter.data.as_bytes());
    }
}

fn digest(config: &NetworkConfig) -> String {
    let device = Device::flex();
    let mut text = Vec::new();
    for config in [config.clone(), config.with_step_branch(true)] {
        for key in config.keys() {
            assert_eq!(key.step, is_step_parameter(&key.name), "{}", key.name);
            let line = format!("{} {:?} {} {}\n", key.name, key.shape, key.buffer, key.step);
            text.extend(line.bytes());
        }
        text.extend(format!("{} {:?}\n", config.multiply_adds(), config.filter()).bytes());
        for init in [StepInit::Official, StepInit::Zero] {
            put(&mut text, &config.init_with(7, init, &device).unwrap());
        }
    }
    let plain = config.init(8, &device).unwrap();
    for init in [StepInit::Official, StepInit::Zero] {
        let (with, grown) = add_step_branch(config, plain.clone(), 9, init).unwrap();
        put(&mut text, &grown);
        let (_, folded) = fold_step_branch(&with, &grown, 4).unwrap();
        put(&mut text, &folded);
    }
    hash_bytes(&text)
}

#[test]
fn networks_are_those_of_files_written_so_far() {
    let known = [
        ("ddpm++", "3c43377c758a07f0"),
        ("ncsn++", "b102bedd314c4a2e"),
        ("skip", "ddfc48c7894e403b"),
        ("adm", "ea05c2619358a966"),
        ("latent", "fcd0dcd3aef60b99"),
        ("text", "bbefc97b38d1005a"),
        ("dit", "dfcab165ab6aba67"),
    ];
    let found: Vec<_> = configs()
        .into_iter()
        .map(|(name, config)| (name, digest(&config)))
        .collect();
    let found: Vec<_> = found.iter().map(|(n, d)| (*n, &d[..16])).collect();
    assert_eq!(found, known);
}
