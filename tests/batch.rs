//! What comes of a sample does not depend on those beside it: every network, batches of 1 to 9, to the bit.

use burn::tensor::{Device, Tensor, TensorData};
use fewstep::autoencoder::{AutoencoderConfig, Bottleneck};
use fewstep::denoiser::{Condition, Preconditioned, Preconditioning, one_hot};
use fewstep::grid::LogAlphaTable;
use fewstep::metric::{FeatureConfig, FeatureNetwork};
use fewstep::network::{
    DhariwalUNetConfig, LatentAttention, LatentUNetConfig, NetworkConfig, SongUNetConfig, load,
    parameters,
};
use fewstep::noise::{Domain, Stream};
use fewstep::text::TextEncoderConfig;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

/// Most samples of a batch.
const MOST: usize = 9;

fn normals<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    let values = Stream::new(seed, Domain::Test, 1).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    tensor.into_data().iter::<f32>().map(f32::to_bits).collect()
}

/// Compares the answers for all samples at once with those for batches of each size, on one thread and on two.
fn check(name: &str, answer: impl Fn(Range<usize>) -> Vec<u32> + Sync) {
    check_sizes(name, 1..=MOST, answer);
}

fn check_sizes(
    name: &str,
    sizes: impl Iterator<Item = usize> + Clone,
    answer: impl Fn(Range<usize>) -> Vec<u32> + Sync,
) {
    let mut expected = None;
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.unwrap();
        for batch in sizes.clone() {
            let starts = (0..MOST).step_by(batch);
            let parts = starts.flat_map(|first| {
                let samples = first..(first + batch).min(MOST);
                pool.install(|| answer(samples))
            });
            let got: Vec<u32> = parts.collect();
            let expected = expected.get_or_insert_with(|| got.clone());
            let wrong = got.iter().zip(&*expected).filter(|(a, b)| a != b).count();
            assert!(
                wrong == 0 && got.len() == expected.len(),
                "{name}: {wrong} of {} numbers are others in batches of {batch} on {threads} threads",
                got.len()
            );
        }
    }
}

/// A network with every weight random.
fn denoiser(config: &NetworkConfig, preconditioning: Preconditioning) -> Preconditioned {
    let fresh = config.init(1, &Device::flex()).unwrap();
    let weights = parameters(&fresh).into_iter().enumerate().map(|(i, p)| {
        let len = p.data.num_elements();
        let scale = (len as f32 / p.shape[0] as f32).sqrt();
        let values = Stream::new(2, Domain::Test, i as u64).normals(len);
        let values: Vec<f32> = values.into_iter().map(|v| v / scale).collect();
        (p.name, TensorData::new(values, p.shape))
    });
    let network = load(fresh, &weights.collect(), &|_| false, Path::new("x")).unwrap();
    Preconditioned::new(network, preconditioning)
}

/// The denoiser of a network, with one noise level for all samples and with one for each.
fn check_denoiser(name: &str, config: &NetworkConfig, classes: usize, text: Option<usize>) {
    let preconditioning = match text {
        None if config.context_width().is_none() => Preconditioning::Edm(0.5),
        _ => LogAlphaTable::scaled_linear(0.00085, 0.012, 1000)
            .unwrap()
            .into(),
    };
    let denoiser = denoiser(config, preconditioning);
    let [channels, height, width] = config.image_shape();
    let noisy = normals(3, [MOST, channels, height, width]);
    let context = text.map(|width| normals(4, [MOST, 7, width]));
    let levels: Vec<f64> = (0..MOST).map(|i| 0.1 + i as f64).collect();
    for each in [false, true] {
        // Where an image is told nothing of its own but a noise level, as in training, one alone is told that of all.
        let alone = each && classes == 0;
        let sizes = (1..=MOST).filter(|size| !alone || *size > 1 && MOST % size != 1);
        check_sizes(name, sizes, |samples| {
            let count = samples.len();
            let part = noisy.clone().narrow(0, samples.start, count);
            let labels: Vec<usize> = samples.clone().map(|i| i % classes.max(1)).collect();
            let told = Condition {
                labels: (classes > 0).then(|| one_hot(&labels, classes, &Device::flex()).unwrap()),
                context: context.clone().map(|c| c.narrow(0, samples.start, count)),
                steps: config.has_step_branch().then_some(4),
                ..Condition::default()
            };
            let sigmas = if each {
                &levels[samples]
            } else {
                &levels[2..3]
            };
            bits(denoiser.denoise_each(part, sigmas, &told, None))
        });
    }
}

#[test]
fn song() {
    for step_branch in [false, true] {
        let config = SongUNetConfig {
            resolution: 16,
            channels: 1,
            classes: 5,
            model_channels: 32,
            channel_multipliers: vec![1, 2],
            blocks: 1,
            attention_resolutions: vec![8],
            step_branch,
            ..SongUNetConfig::default()
        };
        check_denoiser("song", &NetworkConfig::SongUnet(config), 5, None);
    }
}

#[test]
fn adm() {
    let config = DhariwalUNetConfig {
        resolution: 8,
        channels: 3,
        classes: 4,
        model_channels: 64,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        ..DhariwalUNetConfig::default()
    };
    check_denoiser("adm", &NetworkConfig::DhariwalUnet(config), 4, None);
}

#[test]
fn latent() {
    for text in [None, Some(24)] {
        let config = LatentUNetConfig {
            resolution: 8,
            channels: 4,
            model_channels: 64,
            channel_multipliers: vec![1, 2],
            blocks: 1,
            attention_factors: vec![1, 2],
            attention: match text {
                None => LatentAttention::Pixels { head_channels: 32 },
                Some(width) => LatentAttention::Text {
                    heads: 4.into(),
                    width,
                    depth: 1.into(),
                    linear: false,
                },
            },
            added: None,
            dropout: 0.0,
            step_branch: text.is_some(),
        };
        check_denoiser("latent", &NetworkConfig::LatentUnet(config), 0, text);
    }
}

#[test]
fn autoencoders() {
    for bottleneck in [Bottleneck::Normal {}, Bottleneck::Codebook { codes: 40 }] {
        let config = AutoencoderConfig {
            channels: 3,
            model_channels: 32,
            channel_multipliers: vec![1, 2],
            blocks: 1,
            attention_levels: vec![1],
            inner_channels: 4,
            latent_channels: 4,
            bottleneck,
            scale: 1.0,
        };
        let autoencoder = config.init(3, &Device::flex()).unwrap();
        let pictures = normals(5, [MOST, 3, 16, 16]);
        let latents = normals(6, [MOST, 4, 8, 8]);
        let part = |all: &Tensor<4>, samples: &Range<usize>| {
            all.clone().narrow(0, samples.start, samples.len())
        };
        check("encoder", |samples| {
            let encoding = autoencoder.encode(part(&pictures, &samples)).unwrap();
            bits(encoding.latents())
        });
        check("decoder", |samples| {
            bits(autoencoder.decode(part(&latents, &samples)).unwrap())
        });
    }
}

#[test]
fn text_encoder() {
    let config = TextEncoderConfig {
        vocabulary: 50,
        width: 96,
        inner_width: 640,
        layers: 2,
        heads: 3,
        positions: 11,
    };
    let encoder = config.init(4, &Device::flex()).unwrap();
    let rows: Vec<Vec<u32>> = (0..MOST as u32)
        .map(|row| (0..11).map(|i| (row * 13 + i * 7) % 50).collect())
        .collect();
    check("text encoder", |samples| {
        let rows: Vec<&[u32]> = rows[samples].iter().map(Vec::as_slice).collect();
        bits(encoder.embed(&rows).unwrap())
    });
}

#[test]
fn features() {
    let config = FeatureConfig {
        size: 32,
        channels: 1,
        widths: [16, 32, 48],
        features: 96,
        classes: 10,
    };
    let network = FeatureNetwork::init(&config, 5, &Device::flex()).unwrap();
    let pictures = normals(7, [MOST, 1, 32, 32]);
    let part = |samples: &Range<usize>| pictures.clone().narrow(0, samples.start, samples.len());
    check("features", |samples| bits(network.features(part(&samples))));
    check("scores", |samples| bits(network.scores(part(&samples))));
}

/// The same once more on the instructions that every machine has.
#[test]
fn portable() {
    let program = std::env::current_exe().expect("this program");
    let run = Command::new(program)
        .args(["--skip", "portable", "--quiet"])
        .env("FEWSTEP_SIMD", "portable")
        .output()
        .expect("a run");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("test result: ok"), "{said}");
}
