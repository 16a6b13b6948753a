//! The order law, for every solver: what `order` says is what one step with exact past evaluations shows.

use super::*;
use crate::denoiser::{Condition, Denoiser, Gaussian, Mixture, Preconditioning};
use burn::tensor::{DType, Device, Tensor};

fn images(values: &[f64]) -> Images {
    Tensor::<1>::from_data(values, (&Device::flex(), DType::F64)).reshape([-1, 1, 1, 2])
}

fn largest(images: Images) -> f64 {
    images.max_abs().into_scalar()
}

fn every_config() -> Vec<SolverConfig> {
    let mut solvers = vec![
        SolverConfig::Euler {},
        SolverConfig::Heun {},
        SolverConfig::Dpm2 {},
    ];
    solvers.extend((1..=4).map(|order| SolverConfig::Ipndm { order }));
    for order in 1..=4 {
        for official in [false, true] {
            solvers.push(SolverConfig::IpndmV { order, official });
        }
        // What the official sum of DEIS is off by is too little to show here: src/solver/deis.rs measures it.
        for time in [DeisTime::Tab, DeisTime::Rhoab] {
            solvers.push(SolverConfig::Deis {
                order,
                time,
                official: false,
            });
        }
    }
    for prediction in [Prediction::Data, Prediction::Noise] {
        for (order, corrected) in [(1, false), (2, false), (3, false), (3, true)] {
            solvers.push(SolverConfig::DpmSolverPp {
                order,
                prediction,
                lower_order_final: true,
                thresholding: false,
                corrected,
            });
        }
        for (order, variant) in (1..=3).flat_map(|order| {
            [UniPcVariant::Bh1, UniPcVariant::Bh2].map(|variant| (order, variant))
        }) {
            solvers.push(SolverConfig::UniPc {
                order,
                variant,
                prediction,
                lower_order_final: true,
                thresholding: false,
            });
        }
    }
    solvers
}

/// The exact solution, by classical Runge-Kutta in log sigma (dx/dlog sigma = x - D) with steps so small that only
/// rounding is left.
fn flow(denoiser: &dyn Denoiser, start: &Images, from: f64, to: f64) -> Images {
    let condition = Condition::default();
    let steps = 1 + ((from / to).ln().abs() / 2e-3) as usize;
    let h = (to / from).ln() / steps as f64;
    let slope = |x: &Images, log_sigma: f64| {
        x.clone() - denoiser.denoise(x.clone(), log_sigma.exp(), &condition)
    };
    (0..steps).fold(start.clone(), |x, i| {
        let at = from.ln() + h * i as f64;
        let ahead = |k: &Images, share: f64| x.clone() + k.clone().mul_scalar(share * h);
        let k1 = slope(&x, at);
        let k2 = slope(&ahead(&k1, 0.5), at + 0.5 * h);
        let k3 = slope(&ahead(&k2, 0.5), at + 0.5 * h);
        let k4 = slope(&ahead(&k3, 1.0), at + h);
        let sum = k1 + (k2 + k3).mul_scalar(2.0) + k4;
        x + sum.mul_scalar(h / 6.0)
    })
}

/// The error of one step of length `h` from sigma 1, with exact evaluations `h` times `offsets` before it.
fn error(solver: &dyn Solver, denoiser: &dyn Denoiser, offsets: &[f64], h: f64) -> f64 {
    let condition = Condition::default();
    let mut denoise = |x: Images, sigma: f64| denoiser.denoise(x, sigma, &condition);
    let start = images(&[0.9, -0.4, 0.1, 1.3]);
    let mut past: Vec<_> = offsets[..solver.history()]
        .iter()
        .map(|offset| {
            let sigma = 1.0 + offset * h;
            Evaluation::of(&mut denoise, flow(denoiser, &start, 1.0, sigma), sigma)
        })
        .collect();
    past.reverse();
    let now = Evaluation::of(&mut denoise, start.clone(), 1.0);
    let to = 1.0 - h;
    let step = Step {
        from: 1.0,
        to,
        index: 50,
        count: 100,
    };
    let got = solver.step(&mut denoise, &past, &now, step);
    let end = Evaluation::of(&mut denoise, got, to);
    let got = solver.correct(&past, &now, end, step).images;
    largest(got - flow(denoiser, &start, 1.0, to))
}

/// The Gaussian of mean m and deviation s as a network of rectified flows sees it: of (1 - t) x + t n it says what n - x is to be
/// expected, and the form makes images of that.
struct AsFlow {
    mean: Images,
    std: f64,
}

impl Denoiser for AsFlow {
    fn denoise(&self, noisy: Images, sigma: f64, _: &Condition) -> Images {
        Preconditioning::Flow.images(noisy, sigma, |seen, told| {
            let t = told / 1000.0;
            let total = ((1.0 - t) * self.std).powi(2) + t * t;
            let off = seen - self.mean.clone().mul_scalar(1.0 - t);
            // Both are what is left of the sum, shared as their variances are.
            let noise = off.clone().mul_scalar(t / total);
            let image = self.mean.clone() + off.mul_scalar((1.0 - t) * self.std.powi(2) / total);
            noise - image
        })
    }
}

#[test]
fn a_flow_of_a_gaussian_is_that_of_the_gaussian() {
    let (mean, std) = (images(&[0.5, -0.2]), 0.6);
    let plain = Gaussian::new(mean.clone(), std).unwrap();
    let flow = AsFlow { mean, std };
    let condition = Condition::default();
    for sigma in [0.01, 0.7, 30.0] {
        let noisy = images(&[0.9, -0.4, 0.1, 1.3]);
        let [a, b] = [&plain as &dyn Denoiser, &flow]
            .map(|denoiser| denoiser.denoise(noisy.clone(), sigma, &condition));
        assert!(largest(a - b) < 1e-12, "{sigma}");
    }
}

#[test]
fn the_exact_solution_is_exact() {
    let gaussian = Gaussian::new(images(&[0.5, -0.2]), 0.6).unwrap();
    let start = images(&[0.9, -0.4, 0.1, 1.3]);
    for to in [1.3, 0.7] {
        let difference = flow(&gaussian, &start, 1.0, to) - gaussian.flow(start.clone(), 1.0, to);
        assert!(largest(difference) < 1e-13);
    }
}

#[test]
fn every_solver_has_the_order_it_declares() {
    let gaussian = Gaussian::new(images(&[0.5, -0.2]), 0.6).unwrap();
    let means = images(&[0.5, -0.2, -0.6, 0.4, 0.1, 0.9]);
    let mixture = Mixture::new(&[0.3, 0.5, 0.2], means, &[0.3, 0.5, 0.4]).unwrap();
    let as_flow = AsFlow {
        mean: images(&[0.5, -0.2]),
        std: 0.6,
    };
    for config in every_config() {
        let solver = config.build().unwrap();
        // iPNDM has its order on equal steps only, by construction.
        let offsets = match config {
            SolverConfig::Ipndm { .. } => [1.0, 2.0, 3.0],
            _ => [0.8, 2.1, 2.9],
        };
        for (name, denoiser) in [
            ("Gaussian", &gaussian as &dyn Denoiser),
            ("mixture", &mixture),
            ("flow", &as_flow),
        ] {
            let at = |h: f64| error(solver.as_ref(), denoiser, &offsets, h);
            let mut h = 0.008;
            let (mut coarse, mut fine) = (at(h), at(h / 2.0));
            // Where so little is left that a few roundings (2e-16) would show, a longer step.
            while fine < 1e-13 {
                h *= 2.0;
                (coarse, fine) = (at(h), coarse);
            }
            let measured = (coarse / fine).log2() - 1.0;
            println!("{config}, {name}: {measured:.2} ({coarse:.1e}, {fine:.1e})");
            assert!(
                (measured - solver.order() as f64).abs() < 0.25,
                "{config} says order {}, but one step of a {name} shows {measured:.2}",
                solver.order()
            );
        }
    }
}

#[test]
fn every_solver_is_differentiable() {
    let means = images(&[0.5, -0.2, -0.6, 0.4]);
    let plain = Mixture::new(&[0.3, 0.7], means.clone(), &[0.3, 0.5]).unwrap();
    let tracked = Mixture::new(&[0.3, 0.7], means.autodiff(), &[0.3, 0.5]).unwrap();
    let step = Step {
        from: 1.0,
        to: 0.6,
        index: 2,
        count: 9,
    };
    let run = |solver: &dyn Solver, denoiser: &Mixture, start: Images| {
        let condition = Condition::default();
        let mut denoise = |x: Images, sigma: f64| denoiser.denoise(x, sigma, &condition);
        let past: Vec<_> = [3.0, 2.0, 1.4][3 - solver.history()..]
            .iter()
            .map(|sigma| Evaluation::of(&mut denoise, start.clone().mul_scalar(*sigma), *sigma))
            .collect();
        let now = Evaluation::of(&mut denoise, start, 1.0);
        let end = solver.step(&mut denoise, &past, &now, step);
        let end = Evaluation::of(&mut denoise, end, step.to);
        solver.correct(&past, &now, end, step).images.sum()
    };
    for config in every_config() {
        let solver = config.build().unwrap();
        let at = images(&[0.3, -0.4]);
        let towards = images(&[1e-5, 2e-5]);
        let ends = [at.clone() + towards.clone(), at.clone() - towards.clone()]
            .map(|x| run(solver.as_ref(), &plain, x).into_scalar::<f64>());
        let start = at.autodiff().require_grad();
        let gradients = run(solver.as_ref(), &tracked, start.clone()).backward();
        let gradient = start.grad(&gradients).unwrap();
        let slope: f64 = (gradient * towards).sum().into_scalar();
        let difference = (ends[0] - ends[1]) / 2.0;
        assert!(
            (slope / difference - 1.0).abs() < 1e-7,
            "{config}: {slope} instead of {difference}"
        );
    }
}
