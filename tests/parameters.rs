//! Names and shapes of all parameters and buffers are those of the official weight files.

use burn::tensor::Device;
use fewstep::network::{
    DhariwalUNetConfig, Embedding, Encoder, NetworkConfig, ResampleFilter, SongUNetConfig, shapes,
};
use std::collections::BTreeMap;
use std::path::Path;

/// Shape by name, of one kind.
type Names = BTreeMap<String, String>;

fn listed(name: &str, kind: &str) -> Names {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parameters");
    let text = std::fs::read_to_string(folder.join(format!("{name}.tsv"))).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split('\t').collect());
    rows.filter(|row: &Vec<&str>| row[1] == kind)
        .map(|row| (row[0].to_string(), row[2].to_string()))
        .collect()
}

fn names(all: Vec<(String, Vec<usize>)>) -> Names {
    let mut found = Names::new();
    for (name, shape) in all {
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        let twice = found.insert(name, shape.join("x"));
        assert!(twice.is_none());
    }
    found
}

fn buffers(config: &NetworkConfig) -> Names {
    let all = config.keys().into_iter().filter(|key| key.buffer);
    names(all.map(|key| (key.name, key.shape)).collect())
}

/// Compares with the list, and the counts with the published ones: tensors and weights, with and without the step
/// branch.
fn check(name: &str, plain: &NetworkConfig, with: (usize, u64), without: (usize, u64)) {
    let all = |config: &NetworkConfig| shapes(&config.blank(&Device::flex()).unwrap());
    assert_eq!((all(plain).len(), plain.parameter_count()), without);
    let config = &plain.with_step_branch(true);
    let ours = all(config);
    let weights = ours.iter().map(|(_, s)| s.iter().product::<usize>() as u64);
    assert_eq!((ours.len(), weights.sum::<u64>()), with);
    assert_eq!(config.parameter_count(), with.1);
    assert_eq!(names(ours), listed(name, "parameter"));
    assert_eq!(buffers(config), listed(name, "buffer"));
}

#[test]
fn cifar10() {
    let config = NetworkConfig::SongUnet(SongUNetConfig::default());
    check("cifar10", &config, (487, 60_396_419), (417, 55_733_891));
}

#[test]
fn ffhq_and_afhqv2() {
    let config = NetworkConfig::SongUnet(SongUNetConfig {
        resolution: 64,
        channel_multipliers: vec![1, 2, 2, 2],
        dropout: 0.05,
        ..SongUNetConfig::default()
    });
    check("ffhq-afhqv2", &config, (633, 67_256_067), (541, 61_805_571));
}

#[test]
fn imagenet64() {
    let config = NetworkConfig::DhariwalUnet(DhariwalUNetConfig::default());
    check(
        "imagenet64",
        &config,
        (617, 324_100_611),
        (541, 295_899_267),
    );
}

/// NCSN++ has the parameters of DDPM++ in other sizes, and those that its own parts need.
#[test]
fn ncsnpp_differs_from_ddpmpp_where_it_should() {
    let plain = SongUNetConfig {
        step_branch: true,
        ..SongUNetConfig::default()
    };
    let ncsnpp = NetworkConfig::SongUnet(SongUNetConfig {
        embedding: Embedding::Fourier,
        noise_multiplier: 2,
        encoder: Encoder::Residual,
        resample_filter: ResampleFilter::Binomial,
        ..plain.clone()
    });
    let plain = NetworkConfig::SongUnet(plain);
    let all = |config: &NetworkConfig| names(shapes(&config.blank(&Device::flex()).unwrap()));
    let (old, new) = (all(&plain), all(&ncsnpp));
    let changed: Vec<(&str, &str)> = new
        .iter()
        .filter(|(name, shape)| old.get(*name) != Some(*shape))
        .map(|(name, shape)| (name.as_str(), shape.as_str()))
        .collect();
    let expected = [
        ("model.enc.16x16_aux_residual.bias", "256"),
        ("model.enc.16x16_aux_residual.weight", "256x3x3x3"),
        ("model.enc.8x8_aux_residual.bias", "256"),
        ("model.enc.8x8_aux_residual.weight", "256x256x3x3"),
        ("model.map_augment.weight", "256x9"),
        ("model.map_layer0.weight", "512x256"),
        ("model.map_noise.freqs", "128"),
        ("model.map_step_layer0.weight", "512x256"),
    ];
    assert_eq!(changed, expected);
    assert!(old.keys().all(|name| new.contains_key(name)));

    let mut expected: Names = buffers(&plain);
    for shape in expected.values_mut() {
        *shape = "1x1x4x4".into();
    }
    for size in [16, 8] {
        let name = format!("model.enc.{size}x{size}_aux_residual.resample_filter");
        expected.insert(name, "1x1x4x4".into());
    }
    assert_eq!(buffers(&ncsnpp), expected);
}
