//! Weights of the perceptual distance from foreign files.

#[path = "support/foreign.rs"]
mod foreign;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/torch.rs"]
mod torch;

use burn::tensor::{Device, TensorData};
use fewstep::distill::{Perceptual, PerceptualConfig};
use std::path::Path;

/// VGG16 and the LPIPS heads as they are published: state dicts of PyTorch, with much that is not needed.
#[test]
fn perceptual_weights_are_read_from_pytorch_files() {
    let folder = tempfile::tempdir().unwrap();
    let widths = [
        64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512,
    ];
    let layers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
    let fill = |shape: &[usize]| {
        let len: usize = shape.iter().product();
        (0..len)
            .map(|i| (i % 97) as f32 / 97.0)
            .collect::<Vec<f32>>()
    };
    let tensor = |name: String, shape: Vec<usize>| (name, shape.clone(), fill(&shape));
    let (mut vgg, mut input) = (Vec::new(), 3);
    for (width, layer) in widths.into_iter().zip(layers) {
        vgg.push(tensor(
            format!("features.{layer}.weight"),
            vec![width, input, 3, 3],
        ));
        vgg.push(tensor(format!("features.{layer}.bias"), vec![width]));
        input = width;
    }
    let heads = [64, 128, 256, 512, 512].into_iter().enumerate();
    let heads: Vec<_> = heads
        .map(|(i, width)| tensor(format!("lin{i}.model.1.weight"), vec![1, width, 1, 1]))
        .collect();
    let all = vgg.iter().chain(&heads);
    let all = all.map(|(name, shape, values)| {
        (name.clone(), TensorData::new(values.clone(), shape.clone()))
    });
    let config = PerceptualConfig::default();
    let device = Device::flex();
    let wanted = Perceptual::from_tensors(all.collect(), &config, Path::new("x"), &device);
    vgg.push(tensor("classifier.0.bias".into(), vec![3]));
    let write = |name: &str, bytes: Vec<u8>| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let files = [
        write("vgg16.pth", torch::legacy(&vgg)),
        write("lpips.pth", torch::zip(&heads, "little")),
    ];
    let found = Perceptual::read(&files, &config, &device).unwrap();
    assert_eq!(found.config(), wanted.unwrap().config());
}
