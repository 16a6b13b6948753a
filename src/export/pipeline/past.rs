//! The steps of a student that goes on from what it said before, as weights that need no solver.

use crate::Error;
use crate::Images;
use crate::solver::{Evaluation, SolverConfig, Step};
use burn::tensor::{DType, Device, Tensor, TensorData};

/// A step of a multistep method is a sum of the latents in this and the calls before and of what the network made of them, each
/// with a weight that follows from the levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// The method.
    pub solver: SolverConfig,
    /// For each call: for this call and those before it, the newest first, the weight of the latents and that of the latents without
    /// noise.
    pub weights: Vec<Vec<[f64; 2]>>,
    /// With a free first step: the latents before it and those without noise as it takes them, in parts of those of the first call.
    pub before: Option<[f64; 2]>,
}

impl Past {
    /// That of a method along these levels, of which the first may call no network.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for methods that call the network twice, correct themselves or cut images off.
    pub(super) fn of(solver: SolverConfig, levels: &[f64], free: bool) -> Result<Self, Error> {
        let linear = match solver {
            SolverConfig::Ipndm { .. }
            | SolverConfig::IpndmV { .. }
            | SolverConfig::Deis { .. } => true,
            SolverConfig::DpmSolverPp { thresholding, .. } => !thresholding,
            _ => false,
        };
        if !linear {
            return Err(Error::Incompatible {
                first: format!("a model that is sampled by {solver}"),
                second: "a scheduler for diffusers, whose steps call the network once".into(),
                remedy: "distil it with student-solver = { kind = \"euler\" }, or sample it with fewstep".into(),
            });
        }
        let steps = levels.len() - 1;
        let weights = (0..steps).map(|step| weights(solver, levels, step));
        let mut weights: Vec<Vec<[f64; 2]>> = weights.collect::<Result<_, _>>()?;
        let mut before = None;
        if free {
            let [noisy, clean] = weights.remove(0)[0];
            let first = levels[0];
            let seen = 1.0 - first / first.hypot(1.0);
            let start = noisy + clean * seen;
            before = Some([1.0 / start, seen / start]);
        }
        Ok(Self {
            solver,
            weights,
            before,
        })
    }
}

/// Those of one step, the newest first: what it makes of images of which one is 1 and all others 0, for each of them.
fn weights(solver: SolverConfig, levels: &[f64], step: usize) -> Result<Vec<[f64; 2]>, Error> {
    let solver = solver.build()?;
    let count = solver.history().min(step) + 1;
    let one = |place: usize| -> Images {
        let values = (0..2 * count).map(|i| if i == place { 1.0f64 } else { 0.0 });
        let data = TensorData::new(values.collect::<Vec<f64>>(), [2 * count, 1, 1, 1]);
        Tensor::from_data(data, (&Device::flex(), DType::F64))
    };
    let mut seen: Vec<Evaluation> = (0..count)
        .map(|ago| Evaluation {
            sigma: levels[step - ago],
            images: one(2 * ago),
            denoised: one(2 * ago + 1),
        })
        .collect();
    let now = seen.remove(0);
    seen.reverse();
    // Never called: the methods above ask once, before the step.
    let mut denoise = |images: Images, _: f64| images;
    let step = Step::of(levels, step);
    let made = solver.step(&mut denoise, &seen, &now, step);
    let made: Vec<f64> = made.into_data().iter::<f64>().collect();
    Ok(made.chunks(2).map(|pair| [pair[0], pair[1]]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoiser::{Condition, Denoiser, Mixture};
    use crate::grid::SigmaGrid;
    use crate::noise::latents;
    use crate::sampler::Sampler;
    use crate::solver::{DeisTime, Prediction};

    /// The steps of a scheduler, by the weights alone.
    fn by_weights(
        past: &Past,
        levels: &[f64],
        free: bool,
        denoise: &dyn Fn(Images, f64) -> Images,
        start: Images,
    ) -> Images {
        let mut seen: Vec<[Images; 2]> = Vec::new();
        let mut images = start;
        let mut levels = levels.to_vec();
        if let Some([noisy, clean]) = past.before {
            assert!(free);
            levels.remove(0);
            images = images.div_scalar(noisy);
            seen.push([
                images.clone().mul_scalar(noisy),
                images.clone().mul_scalar(clean),
            ]);
        }
        for (weights, level) in past.weights.iter().zip(&levels) {
            seen.insert(0, [images.clone(), denoise(images.clone(), *level)]);
            let parts = weights.iter().zip(&seen);
            let parts =
                parts.map(|([a, b], [x, d])| x.clone().mul_scalar(*a) + d.clone().mul_scalar(*b));
            images = parts.reduce(|sum, part| sum + part).unwrap();
        }
        images
    }

    #[test]
    fn weights_are_the_method() {
        let levels = [14.6, 4.1, 1.6, 0.7, 0.1];
        let solvers = [
            SolverConfig::Ipndm { order: 3 },
            SolverConfig::IpndmV {
                order: 2,
                official: false,
            },
            SolverConfig::Deis {
                order: 3,
                time: DeisTime::Tab,
                official: false,
            },
            SolverConfig::DpmSolverPp {
                order: 2,
                prediction: Prediction::Data,
                lower_order_final: true,
                thresholding: false,
                corrected: false,
            },
        ];
        let means = latents(&[8, 9], [1, 2, 3], &Device::flex());
        let mixture = Mixture::new(&[1.0, 2.0], means, &[0.3, 0.6]).unwrap();
        for solver in solvers {
            for free in [false, true] {
                let past = Past::of(solver, &levels, free).unwrap();
                let grid = SigmaGrid::new(levels.to_vec()).unwrap();
                let built = solver.build().unwrap();
                let sampler = Sampler {
                    denoiser: &mixture,
                    solver: built.as_ref(),
                    grid: &grid,
                    analytic_first_step: free,
                    denoise_to_zero: false,
                };
                let noise = latents(&[1, 2], [1, 2, 3], &Device::flex()).mul_scalar(levels[0]);
                let wanted = sampler.sample(noise.clone(), &Condition::default());
                let denoise = |images: Images, sigma: f64| {
                    mixture.denoise(images, sigma, &Condition::default())
                };
                let got = by_weights(&past, &levels, free, &denoise, noise);
                let off = (got - wanted).abs().max().into_scalar::<f32>();
                // Roundings of f32.
                assert!(off < 1e-4, "{solver}, {free}: {off}");
            }
        }
        for solver in [SolverConfig::Heun {}, SolverConfig::Dpm2 {}] {
            let error = Past::of(solver, &levels, false).unwrap_err().to_string();
            assert!(error.contains(&solver.to_string()), "{error}");
        }
    }
}
