//! Step 5: sample from a model file. It says itself how; nothing else is needed.
//!
//! `cargo run --release --example 05_sample_from_file`

use fewstep::checkpoint::Model;
use fewstep::denoiser::{Condition, one_hot};
use fewstep::{Device, image::Picture, noise, sampler::Sampler};
use std::path::Path;

pub fn run(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    let (model, _hash) = Model::read(&folder.join("student.safetensors"), &device)?;
    let (card, sampling) = (&model.card, &model.card.sampling);
    let (grid, solver) = (sampling.grid()?, sampling.solver.build()?);
    let sampler = Sampler {
        denoiser: &model.denoiser,
        solver: solver.as_ref(),
        grid: &grid,
        analytic_first_step: sampling.analytic_first_step,
        denoise_to_zero: false,
    };
    println!(
        "{:?} with {} calls, {}",
        card.kind,
        sampler.evaluations(),
        sampling.solver
    );
    assert_eq!(sampler.evaluations(), 2);

    // Image i depends on seed i alone, so a part of the batch gives the same images.
    let sample = |seeds: &[u64]| {
        let labels = noise::labels(seeds, card.network.classes());
        let condition = Condition {
            labels: Some(one_hot(&labels, card.network.classes(), &device)),
            ..Condition::default()
        };
        let noise = noise::latents(seeds, card.network.image_shape(), &device);
        sampler.sample(noise.mul_scalar(grid.sigma_max()), &condition)
    };
    let images = sample(&(0..16).collect::<Vec<_>>());
    let again = sample(&[5, 6]);
    let difference = (images.clone().narrow(0, 5, 2) - again).max_abs();
    assert!(difference.into_scalar::<f64>() < 1e-4);

    let file = folder.join("student.png");
    Picture::grid(&Picture::all(images)?, 8, 6)?.write_png(&file, &[("seeds", "0-15")])?;
    println!("wrote {}", file.display());
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(Path::new("runs/course"))
}
