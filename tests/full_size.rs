//! Networks of the published sizes with random weights, from files in EDM's layout. Minutes and gigabytes, so each is run
//! by hand, alone, for its memory is the process's:
//!
//! ```text
//! cargo test --release --workspace --test full_size -- --ignored --nocapture --exact cifar10
//! ```

#[path = "support/foreign.rs"]
mod foreign;

use burn::tensor::Device;
use fewstep::denoiser::{Condition, one_hot};
use fewstep::distill::{Distiller, Recipe, TrajectorySource};
use fewstep::import::open;
use fewstep::model::Model;
use fewstep::network::{DhariwalUNetConfig, NetworkConfig, SongUNetConfig};
use fewstep::noise;
use fewstep::sampler::Sampler;
use fewstep::solver::Euler;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

/// The largest memory of this process so far, in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn song(resolution: usize, multipliers: &[usize], dropout: f64) -> NetworkConfig {
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
        step_branch: false,
        ..SongUNetConfig::default()
    })
}

fn write(network: &NetworkConfig, path: &Path) -> u64 {
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    foreign::edm_pickle(&mut file, network, &mut foreign::values).unwrap();
    file.flush().unwrap();
    std::fs::metadata(path).unwrap().len()
}

/// Writes, loads and samples one image; says what it took.
fn check(network: &NetworkConfig) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.pkl");
    let len = write(network, &path);
    let device = Device::flex();
    let start = Instant::now();
    let (model, _) = open(&path, &device).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    if let Some(peak) = peak_memory() {
        let ratio = peak as f64 / len as f64;
        println!(
            "file {len} bytes, loaded in {seconds:.1} s, largest memory {peak} bytes: {ratio:.2} of the file"
        );
        assert!(ratio <= 2.2);
    }
    let start = Instant::now();
    let network = &model.card.network;
    let grid = model.card.sampling.spacing.grid(1, 0.006, 80.0).unwrap();
    let sampler = Sampler {
        denoiser: &model.denoiser(),
        solver: &Euler,
        grid: &grid,
        analytic_first_step: false,
        denoise_to_zero: false,
    };
    let classes = network.classes();
    let labels = (classes > 0).then(|| {
        let drawn = noise::labels(&[0], classes).unwrap();
        one_hot(&drawn, classes, &device).unwrap()
    });
    let condition = Condition {
        labels,
        ..Condition::default()
    };
    let latents = noise::latents(&[0], network.image_shape(), &device).mul_scalar(80.0);
    let image = sampler.sample(latents, &condition).into_data();
    assert!(image.iter::<f32>().all(f32::is_finite));
    println!(
        "one image, one evaluation: {:.1} s",
        start.elapsed().as_secs_f64()
    );
    model
}

#[test]
#[ignore = "half a minute and 2 GB; see the top of the file"]
fn cifar10() {
    let model = check(&song(32, &[2, 2, 2], 0.13));
    let start = Instant::now();
    let device = Device::flex();
    let recipe = Recipe {
        batch: 1,
        trajectories: 1,
        steps: 2,
        substeps: 2,
        ..Recipe::default()
    };
    let source =
        TrajectorySource::new(&recipe.for_teacher(&model.card).unwrap(), &model, &device).unwrap();
    let mut distiller = Distiller::new(
        recipe.for_teacher(&model.card).unwrap(),
        &model,
        String::new(),
        &device,
    )
    .unwrap();
    let (target, condition) = source.round(0).unwrap();
    let round = distiller.round(&target, &condition).unwrap();
    assert!(round.distances.iter().all(|d| d.is_finite()));
    println!(
        "one round of one trajectory: {:.1} s",
        start.elapsed().as_secs_f64()
    );
}

#[test]
#[ignore = "half a minute and 1 GB; see the top of the file"]
fn ffhq() {
    check(&song(64, &[1, 2, 2, 2], 0.05));
}

#[test]
#[ignore = "a minute and 3 GB; see the top of the file"]
fn imagenet64() {
    check(&NetworkConfig::DhariwalUnet(DhariwalUNetConfig::default()));
}
