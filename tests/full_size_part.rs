//! Autoencoders and the text encoder in their published sizes, with random weights. Minutes and gigabytes, so each is run
//! by hand, alone, for its memory is the process's:
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo test --release --workspace --test full_size_part -- --ignored --nocapture --exact kl_f8
//! ```

use burn::tensor::{Device, Tensor, TensorData};
use fewstep::Images;
use fewstep::autoencoder::{Autoencoder, AutoencoderConfig, Tiling};
use fewstep::noise::{Domain, Stream};
use fewstep::text::TextEncoderConfig;
use std::time::Instant;

/// The largest memory of this process so far, in MB, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024)
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{what}: {seconds:.1} s, largest memory so far {:?} MB",
        peak_memory()
    );
    result
}

fn random(shape: [usize; 4]) -> Images {
    let values = Stream::new(0, Domain::Test, 0).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn ready(images: Images) -> Vec<f32> {
    let values: Vec<f32> = images.into_data().iter().collect();
    assert!(values.iter().all(|v| v.is_finite()));
    values
}

/// Root mean square difference as a part of the root mean square.
fn difference(got: &[f32], want: &[f32]) -> f64 {
    let square = |v: f32| f64::from(v).powi(2);
    let errors: f64 = got.iter().zip(want).map(|(g, w)| square(g - w)).sum();
    (errors / want.iter().map(|w| square(*w)).sum::<f64>()).sqrt()
}

fn decode(autoencoder: &Autoencoder, side: usize) -> Vec<f32> {
    let channels = autoencoder.config().latent_channels;
    let latents = random([1, channels, side, side]);
    timed("decoded", || ready(autoencoder.decode(latents).unwrap()))
}

fn encode(autoencoder: &Autoencoder, side: usize) {
    let images = random([1, 3, side, side]);
    timed("encoded", || {
        ready(autoencoder.encode(images).unwrap().latents())
    });
}

#[test]
#[ignore = "minutes and gigabytes"]
fn kl_f8() {
    let config = AutoencoderConfig::kl_f8();
    let autoencoder = timed("drawn", || config.init(0, &Device::flex()).unwrap());
    decode(&autoencoder, 64);
    encode(&autoencoder, 512);
}

#[test]
#[ignore = "minutes and gigabytes"]
fn kl_f8_in_tiles() {
    let config = AutoencoderConfig::kl_f8();
    let autoencoder = timed("drawn", || config.init(0, &Device::flex()).unwrap());
    let tiling = Tiling {
        size: 40,
        overlap: 16,
        refinements: 1,
    };
    let latents = random([1, 4, 64, 64]);
    let tiled = timed("decoded in tiles of 40", || {
        ready(autoencoder.decode_tiled(latents, &tiling).unwrap())
    });
    let error = difference(&tiled, &decode(&autoencoder, 64));
    println!("tiles differ by {error:.4} of the root mean square");
}

#[test]
#[ignore = "minutes and gigabytes"]
fn vq_f4() {
    let config = AutoencoderConfig::vq_f4();
    let autoencoder = timed("drawn", || config.init(0, &Device::flex()).unwrap());
    decode(&autoencoder, 64);
    encode(&autoencoder, 256);
}

#[test]
#[ignore = "minutes and gigabytes"]
fn clip_vit_l14() {
    let config = TextEncoderConfig::clip_vit_l14();
    let encoder = timed("drawn", || config.init(0, &Device::flex()).unwrap());
    let ids: Vec<u32> = (0..77).map(|i| i * 641).collect();
    let state = timed("embedded", || encoder.embed(&[&ids]).unwrap().into_data());
    assert!(state.iter::<f32>().all(|v| v.is_finite()));
}
