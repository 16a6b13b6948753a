//! Step 6: was it worth it? Compare with the teacher's 12 calls, image by image for the same seeds.
//!
//! `cargo run --release --example 06_measure`

use fewstep::checkpoint::{Model, Sampling};
use fewstep::denoiser::{Condition, one_hot};
use fewstep::{Device, Error, Images, metric::paired_distance, noise, sampler::Sampler};
use std::path::Path;

fn sample(model: &Model, how: &Sampling, device: &Device) -> Result<Images, Error> {
    let seeds: Vec<u64> = (0..64).collect();
    let classes = model.card.network.classes();
    let condition = Condition {
        labels: Some(one_hot(&noise::labels(&seeds, classes), classes, device)),
        ..Condition::default()
    };
    let noise = noise::latents(&seeds, model.card.network.image_shape(), device);
    let (solver, grid) = (how.solver.build()?, how.grid()?);
    let sampler = Sampler {
        denoiser: &model.denoiser,
        solver: solver.as_ref(),
        grid: &grid,
        analytic_first_step: how.analytic_first_step,
        denoise_to_zero: false,
    };
    Ok(sampler.sample(noise.mul_scalar(how.sigma_max), &condition))
}

pub fn run(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    let (teacher, _) = Model::read(&folder.join("teacher.safetensors"), &device)?;
    let (student, _) = Model::read(&folder.join("student.safetensors"), &device)?;
    let truth = sample(&teacher, &teacher.card.sampling, &device)?;
    // The same two calls with the teacher's weights show what distillation adds.
    let undistilled = sample(&teacher, &student.card.sampling, &device)?;
    let distilled = sample(&student, &student.card.sampling, &device)?;
    let undistilled = paired_distance(&truth, &undistilled)?;
    let distilled = paired_distance(&truth, &distilled)?;
    println!("root mean square difference to the teacher's 12 calls, in pixel units (-1..1)");
    println!("teacher with 2 calls {:.3}", undistilled.rms);
    println!("student with 2 calls {:.3}", distilled.rms);
    assert!(distilled.rms < undistilled.rms);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(Path::new("runs/course"))
}
