//! Names and shapes of all parameters are those of the official weight files.

use burn::tensor::Device;
use fewstep::network::{NetworkConfig, SongUNetConfig, parameters};
use std::collections::BTreeMap;
use std::path::Path;

/// The published sizes, with the step branch.
fn config(resolution: usize, multipliers: &[usize], dropout: f64) -> NetworkConfig {
    NetworkConfig::SongUnet(SongUNetConfig {
        resolution,
        channels: 3,
        classes: 0,
        model_channels: 128,
        channel_multipliers: multipliers.to_vec(),
        blocks: 4,
        attention_resolutions: vec![16],
        augment_labels: 9,
        dropout,
        step_branch: true,
    })
}

fn listed(name: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parameters");
    let text = std::fs::read_to_string(folder.join(format!("{name}.tsv"))).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split('\t').collect());
    rows.filter(|row: &Vec<&str>| row[1] == "parameter")
        .map(|row| (row[0].to_string(), row[2].to_string()))
        .collect()
}

fn check(name: &str, config: &NetworkConfig, tensors: usize, weights: usize) {
    let network = config.init(0, &Device::flex()).unwrap();
    let mut count = 0;
    let mut ours = BTreeMap::new();
    for parameter in parameters(&network) {
        let shape: Vec<String> = parameter.shape.iter().map(usize::to_string).collect();
        count += parameter.shape.iter().product::<usize>();
        let twice = ours.insert(parameter.name, shape.join("x"));
        assert!(twice.is_none());
    }
    assert_eq!(ours, listed(name));
    assert_eq!((ours.len(), count), (tensors, weights));
}

// One test, so that the two networks are not in memory together.
#[test]
fn official_networks() {
    check("cifar10", &config(32, &[2, 2, 2], 0.13), 487, 60_396_419);
    check("ffhq-afhqv2", &config(64, &[1, 2, 2, 2], 0.05), 633, 67_256_067);
}
