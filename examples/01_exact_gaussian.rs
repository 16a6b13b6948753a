//! Step 1: solve the ODE that leads from noise to images with every solver, for data whose answer is known.
//!
//! `cargo run --release --example 01_exact_gaussian`

use burn::tensor::{DType, Device, Tensor};
use fewstep::denoiser::{Condition, Gaussian};
use fewstep::solver::{DeisTime, Prediction, SolverConfig, UniPcVariant};
use fewstep::{grid::Spacing, noise, sampler::Sampler};
use std::path::Path;

const EVALUATIONS: [usize; 3] = [12, 24, 48];

pub fn run(_folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // "Images" of 2 x 2 pixels, all drawn from one Gaussian: the best denoiser is a formula, no network is needed.
    let device = Device::flex();
    let mean = Tensor::full([1, 1, 2, 2], 0.3, (&device, DType::F64));
    let data = Gaussian::new(mean, 0.5)?;
    // Sampling starts at noise of standard deviation 80, and the exact end is known as well.
    let noise = noise::latents(&[0, 1, 2, 3], [1, 2, 2], &device);
    let start = noise.cast(DType::F64).mul_scalar(80.0);
    let exact = data.flow(start.clone(), 80.0, 0.006);

    println!("largest error after {EVALUATIONS:?} calls of the denoiser");
    for config in [
        SolverConfig::Euler {},
        SolverConfig::Heun {},
        SolverConfig::Dpm2 {},
        SolverConfig::Ipndm { order: 4 },
        SolverConfig::IpndmV {
            order: 4,
            official: false,
        },
        SolverConfig::Deis {
            order: 4,
            time: DeisTime::Tab,
            official: false,
        },
        SolverConfig::UniPc {
            order: 3,
            variant: UniPcVariant::Bh2,
            prediction: Prediction::Data,
            lower_order_final: true,
            thresholding: false,
        },
        SolverConfig::default(),
    ] {
        let solver = config.build()?;
        let mut errors = Vec::new();
        for evaluations in EVALUATIONS {
            let steps = evaluations / solver.evaluations_per_step();
            let sampler = Sampler {
                denoiser: &data,
                solver: solver.as_ref(),
                grid: &Spacing::default().grid(steps, 0.006, 80.0)?,
                analytic_first_step: false,
                denoise_to_zero: false,
            };
            assert_eq!(sampler.evaluations(), evaluations);
            let end = sampler.sample(start.clone(), &Condition::default());
            errors.push((end - exact.clone()).max_abs().into_scalar::<f64>());
        }
        println!("{:20} {errors:9.6?}", config.to_string());
        assert!(errors[0] > errors[1] && errors[1] > errors[2]);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(Path::new("runs/course"))
}
