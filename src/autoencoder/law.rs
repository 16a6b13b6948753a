//! What holds for any weights.

use super::*;
use crate::noise::{Domain, Stream};
use crate::{Error, Images};
use burn::tensor::{Device, Tensor, TensorData};

/// Two levels, small enough for tests.
fn small(bottleneck: Bottleneck) -> AutoencoderConfig {
    AutoencoderConfig {
        channels: 3,
        model_channels: 32,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_levels: Vec::new(),
        inner_channels: 4,
        latent_channels: 4,
        bottleneck,
        scale: 0.5,
    }
}

fn random(shape: [usize; 4], index: u64) -> Images {
    let values = Stream::new(3, Domain::Test, index).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values(images: Images) -> Vec<f32> {
    images.into_data().iter().collect()
}

/// Largest and root mean square difference as parts of the root mean square.
fn difference(got: &[f32], want: &[f32]) -> (f64, f64) {
    assert_eq!(got.len(), want.len());
    let square = |v: f64| v * v;
    let root = (want.iter().map(|w| square(f64::from(*w))).sum::<f64>() / want.len() as f64).sqrt();
    let pairs = got
        .iter()
        .zip(want)
        .map(|(g, w)| f64::from((g - w).abs()) / root);
    let (mut most, mut sum) = (0f64, 0.0);
    for error in pairs {
        most = most.max(error);
        sum += square(error);
    }
    (most, (sum / want.len() as f64).sqrt())
}

#[test]
fn the_published_ones_have_the_published_sizes() {
    for (config, tensors, numbers, factor) in [
        (AutoencoderConfig::kl_f8(), 248, 83_653_863, 8),
        (AutoencoderConfig::vq_f4(), 205, 55_322_782, 4),
    ] {
        let keys = config.keys().unwrap();
        let sizes = keys.iter().map(|(_, s)| s.iter().product::<usize>());
        assert_eq!((keys.len(), sizes.sum::<usize>()), (tensors, numbers));
        assert_eq!(config.factor(), factor);
    }
}

#[test]
fn parameters_are_counted_without_building() {
    let mut configs = vec![AutoencoderConfig::kl_f8(), AutoencoderConfig::vq_f4()];
    configs.push(AutoencoderConfig {
        attention_levels: vec![0, 2],
        channel_multipliers: vec![3, 1, 1],
        blocks: 1,
        inner_channels: 5,
        ..small(Bottleneck::Codebook { codes: 7 })
    });
    configs.push(AutoencoderConfig {
        attention_levels: vec![0],
        channel_multipliers: vec![2],
        ..small(Bottleneck::Normal {})
    });
    for config in configs {
        let keys = config.keys().unwrap();
        let sizes = keys.iter().map(|(_, s)| s.iter().product::<usize>() as u64);
        assert_eq!(config.parameter_count(), sizes.sum::<u64>(), "{config:?}");
    }
    let mut huge = AutoencoderConfig::kl_f8();
    huge.model_channels = 4096;
    let error = huge.keys().unwrap_err().to_string();
    assert!(error.contains("number of parameters"), "{error}");
}

#[test]
fn tiles_become_the_whole_when_they_see_enough() {
    let config = small(Bottleneck::Normal {});
    let autoencoder = config.init(1, &Device::flex()).unwrap();
    let latents = random([2, 4, 48, 56], 0);
    let whole = values(autoencoder.decode(latents.clone()).unwrap());
    let tiled = |size, overlap, refinements| {
        let tiling = Tiling {
            size,
            overlap,
            refinements,
        };
        let got = autoencoder.decode_tiled(latents.clone(), &tiling).unwrap();
        difference(&values(got), &whole)
    };
    // The levels look 4 + 1/2 + 2 + 1/2 latent pixels around, and have nine norms.
    let (most, _) = tiled(40, 20, 9);
    assert!(most < 1e-4, "{most}");
    // Root mean square with fewer passes: measured 0.0043, 0.0064 and 0.021.
    let (two, one, none) = (tiled(40, 20, 2).1, tiled(40, 20, 1).1, tiled(40, 20, 0).1);
    assert!(two < 0.01 && one < 0.02, "{two} {one}");
    assert!(two < one && one < 0.5 * none, "{two} {one} {none}");
    // One tile is no tiling.
    assert_eq!(tiled(64, 0, 0).0, 0.0);
}

#[test]
fn a_sample_does_not_depend_on_its_batch() {
    for bottleneck in [Bottleneck::Normal {}, Bottleneck::Codebook { codes: 40 }] {
        let autoencoder = small(bottleneck).init(2, &Device::flex()).unwrap();
        let latents = random([3, 4, 6, 5], 1);
        let images = random([3, 3, 9, 12], 2);
        let all = values(autoencoder.decode(latents.clone()).unwrap());
        let encoded = values(autoencoder.encode(images.clone()).unwrap().latents());
        for i in 0..3 {
            let one = latents.clone().slice([i..i + 1, 0..4, 0..6, 0..5]);
            let one = values(autoencoder.decode(one).unwrap());
            assert_eq!(one, all[i * one.len()..][..one.len()]);
            let one = images.clone().slice([i..i + 1, 0..3, 0..9, 0..12]);
            let one = values(autoencoder.encode(one).unwrap().latents());
            assert_eq!(one, encoded[i * one.len()..][..one.len()]);
        }
    }
}

#[test]
fn a_drawn_latent_has_mean_and_variance_of_its_encoding() {
    let autoencoder = small(Bottleneck::Normal {})
        .init(4, &Device::flex())
        .unwrap();
    let encoding = autoencoder.encode(random([1, 3, 8, 8], 3)).unwrap();
    let noise = random([1, 4, 4, 4], 4);
    let drawn = values(encoding.sample(noise.clone()));
    let (mean, log) = (
        values(encoding.mean.clone()),
        values(encoding.log_variance.clone().unwrap()),
    );
    for (i, noise) in values(noise).into_iter().enumerate() {
        let want = 0.5 * (mean[i] + (0.5 * log[i]).exp() * noise);
        assert!((drawn[i] - want).abs() < 1e-5, "{} {want}", drawn[i]);
    }
    let zero = values(encoding.sample(Tensor::zeros([1, 4, 4, 4], &Device::flex())));
    assert_eq!(zero, values(encoding.latents()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let autoencoder = small(Bottleneck::Normal {})
        .init(5, &Device::flex())
        .unwrap();
    let message = |result: Result<Images, Error>| result.unwrap_err().to_string();
    let wrong = message(autoencoder.decode(random([1, 3, 4, 4], 0)));
    assert!(wrong.contains("channels of a latent"), "{wrong}");
    let small_one = message(autoencoder.encode(random([1, 3, 1, 4], 0)).map(|e| e.mean));
    assert!(small_one.contains("at least 2 x 2"), "{small_one}");
    let tiling = Tiling {
        overlap: 40,
        ..Tiling::default()
    };
    let wide = message(autoencoder.decode_tiled(random([1, 4, 4, 4], 0), &tiling));
    assert!(wide.contains("tile overlap"), "{wide}");
    let mut config = AutoencoderConfig::kl_f8();
    config.model_channels = 48;
    assert!(config.check().is_err());
    config = AutoencoderConfig::vq_f4();
    config.attention_levels = vec![3];
    let error = config.blank(&Device::flex()).unwrap_err().to_string();
    assert!(error.contains("attention-levels"), "{error}");
}

#[test]
fn configurations_survive_json() {
    for config in [AutoencoderConfig::kl_f8(), AutoencoderConfig::vq_f4()] {
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<AutoencoderConfig>(&text).unwrap(),
            config
        );
    }
}
