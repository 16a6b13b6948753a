//! Step 7: write a solver of your own, and measure its order.
//!
//! `cargo run --release --example 07_own_solver`

use burn::tensor::{DType, Device, Tensor};
use fewstep::denoiser::{Condition, Gaussian};
use fewstep::solver::{Evaluation, Solver, Step};
use fewstep::{Error, Images, grid::Spacing, noise, sampler::Sampler};
use std::path::Path;

/// Ralston's method: one quarter of the slope at the start, three of the slope two thirds on.
#[derive(Debug)]
struct Ralston;

impl Solver for Ralston {
    fn order(&self) -> usize {
        2
    }
    fn evaluations_per_step(&self) -> usize {
        2
    }
    fn step(
        &self,
        denoise: &mut dyn FnMut(Images, f64) -> Images,
        _past: &[Evaluation],
        now: &Evaluation,
        step: Step,
    ) -> Images {
        let (length, on) = (step.to - step.from, (step.from + 2.0 * step.to) / 3.0);
        let then = Evaluation::of(denoise, now.advance(on), on);
        now.images.clone()
            + now.scaled_direction(length / 4.0)
            + then.scaled_direction(0.75 * length)
    }
}

pub fn run(_folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let double = (&Device::flex(), DType::F64);
    let data = Gaussian::new(Tensor::zeros([1, 1, 2, 2], double), 0.5)?;
    let start = noise::latents(&[0, 1], [1, 2, 2], &Device::flex()).cast(DType::F64);
    let exact = data.flow(start.clone(), 1.0, 0.1);
    let error = |steps: usize| -> Result<f64, Error> {
        let sampler = Sampler {
            denoiser: &data,
            solver: &Ralston,
            grid: &Spacing::LogSnr {}.grid(steps, 0.1, 1.0)?,
            analytic_first_step: false,
            denoise_to_zero: false,
        };
        let end = sampler.sample(start.clone(), &Condition::default());
        Ok((end - exact.clone()).max_abs().into_scalar())
    };
    let order = (error(64)? / error(128)?).log2();
    println!("measured order {order:.2}, declared {}", Ralston.order());
    assert!((order - 2.0).abs() < 0.1);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(Path::new("runs/course"))
}
