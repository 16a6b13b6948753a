//! Laws that every network keeps.

use super::*;
use crate::noise::{Domain, Stream};
use burn::tensor::TensorData;
use std::collections::BTreeSet;

mod adapted;
mod fresh;
mod sizes;

const CLASSES: usize = 3;

/// Batch, tokens and width of the texts.
const TEXT: [usize; 3] = [2, 5, 12];

/// Small networks with all kinds of parts, and with the step branch.
fn configs() -> Vec<(&'static str, NetworkConfig)> {
    let ddpmpp = SongUNetConfig {
        resolution: 8,
        channels: 2,
        classes: CLASSES,
        model_channels: 8,
        channel_multipliers: vec![1, 2, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        dropout: 0.0,
        step_branch: true,
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
        classes: CLASSES,
        model_channels: 64,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        augment_labels: 9,
        dropout: 0.0,
        step_branch: true,
    };
    // Two channels a group at least: what is added to all of a group is forgotten.
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
        step_branch: true,
    };
    let text = LatentUNetConfig {
        channel_multipliers: vec![2, 2],
        attention_factors: vec![1],
        attention: LatentAttention::Text {
            heads: 4.into(),
            width: TEXT[2],
            depth: 2.into(),
            linear: false,
        },
        ..latent.clone()
    };
    // Stable Diffusion XL: two of the five rows of a text are what is told of it besides its tokens.
    let whole = LatentUNetConfig {
        channel_multipliers: vec![1, 2],
        attention_factors: vec![2],
        attention: LatentAttention::Text {
            heads: vec![0, 4].into(),
            width: TEXT[2],
            depth: vec![0, 2].into(),
            linear: true,
        },
        added: Some(Added { text: 8, waves: 4 }),
        ..latent.clone()
    };
    let transformer = TransformerConfig {
        resolution: 8,
        channels: 2,
        classes: CLASSES,
        patch: 2,
        width: 16,
        depth: 2,
        heads: 4,
        dropout: 0.0,
        step_branch: true,
    };
    vec![
        ("ddpm++", NetworkConfig::SongUnet(ddpmpp)),
        ("ncsn++", NetworkConfig::SongUnet(ncsnpp)),
        ("skip", NetworkConfig::SongUnet(skip)),
        ("adm", NetworkConfig::DhariwalUnet(adm)),
        ("latent", NetworkConfig::LatentUnet(latent)),
        ("text", NetworkConfig::LatentUnet(text)),
        ("whole", NetworkConfig::LatentUnet(whole)),
        ("dit", NetworkConfig::Transformer(transformer)),
    ]
}

fn random<const D: usize>(shape: [usize; D], index: u64, device: &Device) -> Tensor<D> {
    let values = Stream::new(0, Domain::Test, index).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The network with no weight at zero, so that every path counts.
fn stirred(config: &NetworkConfig) -> Network {
    let device = Device::flex();
    let network = config.init(0, &device).unwrap();
    let mut index = 100;
    replace(network, &mut |_, name, shape| {
        index += 1;
        let len = shape.iter().product();
        let scale = if name.ends_with(".freqs") { 1.0 } else { 0.2 };
        Some(random([len], index, &device).mul_scalar(scale))
    })
}

/// A network with every weight random, of a size that keeps the activations near 1: in a fresh one the ends of the blocks
/// are zero, and with them many gradients.
pub(crate) fn filled(config: &NetworkConfig, seed: u64) -> Network {
    let device = Device::flex();
    let fresh = config.init(1, &device).unwrap();
    replace(fresh, &mut |i, _, shape| {
        let len: usize = shape.iter().product();
        let scale = (len as f32 / shape[0] as f32).sqrt();
        let values = Stream::new(seed, Domain::Test, i as u64).normals(len);
        let values: Vec<f32> = values.into_iter().map(|v| v / scale).collect();
        Some(Tensor::from_data(values.as_slice(), &device))
    })
}

/// Images, labels and augmentation labels of a batch of two.
struct Batch {
    images: Images,
    labels: Tensor<2>,
    augment: Tensor<2>,
    context: Tensor<3>,
}

impl Batch {
    fn new(config: &NetworkConfig, device: &Device) -> Self {
        let [c, h, w] = config.image_shape();
        Self {
            images: random([2, c, h, w], 1, device),
            labels: crate::denoiser::one_hot(&[2, 0], CLASSES, device).unwrap(),
            augment: random([2, 9], 2, device),
            context: random(TEXT, 4, device),
        }
    }

    fn inputs(&self, steps: Option<usize>) -> Inputs<'_> {
        Inputs {
            noise: &[0.3, -1.1],
            labels: Some(&self.labels),
            augment: Some(&self.augment),
            context: Some(&self.context),
            steps,
            dropout: None,
        }
    }

    fn answer(&self, network: &Network, steps: Option<usize>) -> Images {
        network.forward(self.images.clone(), self.inputs(steps))
    }
}

fn values(images: &Images) -> Vec<f32> {
    images.clone().into_data().iter::<f32>().collect()
}

/// The gradient of the sum of all answers times fixed random numbers.
fn gradients_of(config: &NetworkConfig, network: &Network, steps: Option<usize>) -> Vec<Gathered> {
    let device = Device::flex().autodiff();
    let network = network.clone().to_device(&device).train();
    let batch = Batch::new(config, &device);
    let loss = probe(&batch.answer(&network, steps));
    gradients(&network, &loss.backward())
}

/// The same, and the gradient of the images, by parts that are run twice.
fn gradients_by_parts(
    config: &NetworkConfig,
    network: &Network,
    steps: Option<usize>,
) -> (Images, Vec<Gathered>) {
    let device = Device::flex();
    let batch = Batch::new(config, &device);
    let inputs = batch.inputs(steps);
    let tracked = network.clone().to_device(&device.autodiff()).train();
    let (answer, recorded) = tracked.record(batch.images.clone(), inputs);
    assert_eq!(values(&answer), values(&batch.answer(&tracked, steps)));
    let answer = answer.autodiff().require_grad();
    let mut found = probe(&answer).backward();
    let gradient = answer.grad_remove(&mut found).unwrap();
    let mut sum = None;
    let of_images = tracked.backward(recorded, inputs, gradient, &mut sum);
    (of_images, sum.unwrap())
}

#[test]
fn gradients_by_parts_are_the_same() {
    for (name, config) in configs() {
        let network = stirred(&config);
        for steps in [None, Some(4)] {
            let whole = gradients_of(&config, &network, steps);
            let (of_images, parts) = gradients_by_parts(&config, &network, steps);
            for (a, b) in whole.iter().zip(&parts) {
                let bits = |g: &Gathered| g.tensor.clone().map(|t| t.into_data());
                assert!(bits(a) == bits(b), "{name}: {}", a.name);
            }
            // The images' gradient, where there is a graph for it.
            let device = Device::flex().autodiff();
            let mut batch = Batch::new(&config, &device);
            batch.images = batch.images.require_grad();
            let network = network.clone().to_device(&device).train();
            let found = probe(&batch.answer(&network, steps)).backward();
            let wanted = batch.images.grad(&found).unwrap();
            assert_eq!(values(&wanted), values(&of_images), "{name}");
        }
    }
}

fn probe(answer: &Images) -> Tensor<1> {
    let weights = random(answer.dims(), 3, &answer.device());
    (answer.clone() * weights).sum()
}

#[test]
fn what_the_key_table_names_is_built() {
    for (name, config) in configs() {
        for config in [config.with_step_branch(false), config] {
            let network = config.blank(&Device::flex()).unwrap();
            let built: BTreeSet<_> = shapes(&network).into_iter().collect();
            let keys = config.keys().into_iter().filter(|key| !key.buffer);
            let listed: Vec<_> = keys.map(|key| (key.name, key.shape)).collect();
            assert_eq!(built.len(), listed.len(), "{name}");
            assert_eq!(built, listed.into_iter().collect(), "{name}");
            let sizes = built.iter().map(|(_, s)| s.iter().product::<usize>());
            assert_eq!(
                config.parameter_count(),
                sizes.sum::<usize>() as u64,
                "{name}"
            );
        }
    }
}

#[test]
fn every_parameter_counts_and_only_the_step_branch_may_not() {
    for (which, config) in configs() {
        let network = stirred(&config);
        for steps in [Some(5), None] {
            let mut without = BTreeSet::new();
            for g in gradients_of(&config, &network, steps) {
                let Some(gradient) = g.tensor else {
                    without.insert(g.name);
                    continue;
                };
                let size = gradient.abs().max().into_scalar::<f64>();
                assert!(size > 1e-6 && size.is_finite(), "{which} {}", g.name);
            }
            let names = shapes(&network).into_iter().map(|(name, _)| name);
            let expected: BTreeSet<String> = names
                .filter(|name| {
                    let branch = steps.is_none() && is_step_parameter(name);
                    branch || name == "model.map_noise.freqs"
                })
                .collect();
            assert_eq!(without, expected, "{which} {steps:?}");
        }
    }
}

/// Against a difference quotient along the gradient itself. In f32 the quotient is good to about a thousandth.
#[test]
fn gradients_are_slopes() {
    for (which, config) in configs() {
        let network = stirred(&config);
        let gradient = gradients_of(&config, &network, Some(4));
        let squares = gradient.iter().filter_map(|g| g.tensor.clone());
        let squares = squares.map(|t| t.square().sum().into_scalar::<f64>());
        let norm = squares.sum::<f64>().sqrt();
        let moved = |by: f64| {
            let old = gather(&network);
            let network = replace(network.clone(), &mut |i, _, _| {
                let step = gradient[i].tensor.clone()?.mul_scalar(by / norm);
                Some(old[i].tensor.clone()? + step)
            });
            let batch = Batch::new(&config, &Device::flex());
            probe(&batch.answer(&network, Some(4))).into_scalar::<f64>()
        };
        let step = 1e-3;
        let slope = (moved(step) - moved(-step)) / (2.0 * step);
        assert!((slope / norm - 1.0).abs() < 1e-2, "{which}: {slope} {norm}");
    }
}

#[test]
fn a_new_step_branch_starts_as_asked() {
    for (which, config) in configs() {
        let plain = config.with_step_branch(false);
        let network = stirred(&plain);
        let batch = Batch::new(&config, &Device::flex());
        let before = values(&batch.answer(&network, Some(4)));
        for init in [StepInit::Zero, StepInit::Official] {
            let (grown_config, grown) = add_step_branch(&plain, network.clone(), 7, init).unwrap();
            assert_eq!(grown_config, config);
            assert_eq!(
                shapes(&grown).len(),
                shapes(&config.blank(&Device::flex()).unwrap()).len()
            );
            assert_eq!(values(&batch.answer(&grown, None)), before, "{which}");
            let told = values(&batch.answer(&grown, Some(4)));
            assert_eq!(told == before, init == StepInit::Zero, "{which} {init:?}");
            // The branch is the one that a whole new network of this seed has.
            let fresh = parameters(&config.init_with(7, init, &Device::flex()).unwrap());
            for (ours, fresh) in parameters(&grown).into_iter().zip(fresh) {
                assert_eq!(ours.name, fresh.name);
                if is_step_parameter(&ours.name) {
                    assert_eq!(ours.data, fresh.data, "{which} {}", ours.name);
                }
            }
            // Another seed, another branch; but one that is there keeps its weights.
            let (_, other) = add_step_branch(&plain, network.clone(), 8, init).unwrap();
            let other = values(&batch.answer(&other, Some(4)));
            assert_eq!(other == told, init == StepInit::Zero, "{which} {init:?}");
            let (_, same) = add_step_branch(&grown_config, grown, 8, init).unwrap();
            assert_eq!(values(&batch.answer(&same, Some(4))), told);
        }
    }
}

/// Cards of networks from before the variants are still the same text.
#[test]
fn defaults_are_left_out_of_cards() {
    let text = serde_json::to_string(&configs()[0].1).unwrap();
    assert!(
        text.starts_with(r#"{"kind":"song-unet","resolution":8"#),
        "{text}"
    );
    assert!(text.ends_with(r#""step-branch":true}"#), "{text}");
    for (_, config) in configs() {
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<NetworkConfig>(&text).unwrap(),
            config
        );
    }
}
