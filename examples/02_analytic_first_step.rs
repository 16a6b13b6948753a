//! Step 2: at a large noise level the direction is known without asking the model, which saves one call in three.
//!
//! `cargo run --release --example 02_analytic_first_step`

use burn::tensor::{Device, Tensor};
use fewstep::denoiser::{Condition, Counted, Denoiser, Gaussian};
use fewstep::solver::{Euler, Evaluation};
use fewstep::{grid::Spacing, noise, sampler::Sampler};
use std::path::Path;

pub fn run(_folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    let condition = Condition::default();
    let data = Gaussian::new(Tensor::full([1, 1, 2, 2], 0.3, &device), 0.5)?;
    let data = Counted::new(data);
    let unit = noise::latents(&[0, 1, 2, 3, 4, 5, 6, 7], [1, 2, 2], &device);

    println!("how far the guess x / sqrt(1 + sigma^2) is from the true direction");
    let mut mistakes = Vec::new();
    for sigma in [80.0, 10.0, 1.0] {
        let noisy = unit.clone().mul_scalar(sigma);
        let mut denoise = |x, sigma| data.denoise(x, sigma, &condition);
        let truth = Evaluation::of(&mut denoise, noisy.clone(), sigma).direction();
        let guess = Evaluation::analytic(noisy, sigma).direction();
        let size = truth.clone().square().mean().into_scalar::<f64>();
        let mistake = (guess - truth).square().mean().into_scalar::<f64>();
        mistakes.push((mistake / size).sqrt());
        println!(
            "sigma {sigma:4}: {:6.2} %",
            100.0 * mistakes[mistakes.len() - 1]
        );
    }
    assert!(mistakes[0] < 0.01 && mistakes[0] < mistakes[1] && mistakes[1] < mistakes[2]);

    // The student's grid for 2 evaluations: three steps, the first of which is the guess.
    let grid = Spacing::default().grid(3, 0.006, 80.0)?;
    for analytic_first_step in [false, true] {
        let sampler = Sampler {
            denoiser: &data,
            solver: &Euler,
            grid: &grid,
            analytic_first_step,
            denoise_to_zero: false,
        };
        data.reset();
        let images = sampler.sample(unit.clone().mul_scalar(80.0), &condition);
        let mean = images.mean().into_scalar::<f64>();
        println!(
            "{} calls on {:.3?}: mean {mean:.3}",
            data.calls(),
            grid.levels()
        );
        assert_eq!(data.calls(), if analytic_first_step { 2 } else { 3 });
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(Path::new("runs/course"))
}
