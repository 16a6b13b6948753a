//! What a solver does, as sums: which images the denoiser is asked about, and what follows from its answers.

use crate::Error;
use crate::denoiser::{Condition, Denoiser};
use crate::model::Sampling;
use crate::sampler::Sampler;
use crate::{Device, Images};
use burn::tensor::{DType, TensorData};
use serde::Serialize;
use std::cell::RefCell;

/// The way from noise to images as sums of the noise and of the denoiser's answers: whoever can call the denoiser and add up can
/// sample as we do, whatever the solver.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Calls {
    /// The calls of the denoiser, in their order.
    pub calls: Vec<Call>,
    /// The images: the weight of the noise (of variance 1), then of the answer to each call.
    pub images: Vec<f64>,
    /// What the network is told of the number of steps: the number of timestamps, if anything. [SFD Sec. 3.3]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<usize>,
    /// How closely a class or a text is followed; 1 is no guidance. [CFG Eq. 6]
    pub guidance: f64,
}

/// A call of the denoiser.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Call {
    /// The noise level.
    pub sigma: f64,
    /// What it is asked about: the weight of the noise, then of the answer to each call before.
    pub weights: Vec<f64>,
}

/// A denoiser whose answer to a call is one more number of its own: what is made of it says how.
struct Basis {
    unit: f64,
    length: usize,
    asked: RefCell<Vec<(f64, Images)>>,
}

impl Basis {
    /// The noise, or the answer to call `index - 1`.
    fn one(&self, index: usize) -> Images {
        let mut values = vec![0.0; self.length];
        values[index] = self.unit;
        let data = TensorData::new(values, [1, 1, 1, self.length]);
        Images::from_data(data, (&Device::flex(), DType::F64))
    }
}

impl Denoiser for Basis {
    fn denoise(&self, noisy: Images, sigma: f64, _: &Condition) -> Images {
        let mut asked = self.asked.borrow_mut();
        asked.push((sigma, noisy));
        self.one(asked.len())
    }
}

impl Calls {
    /// What this way of sampling does: the sampler itself walks, over numbers that say what they are made of.
    ///
    /// # Errors
    /// What [`Sampling::check`] gives, and [`Error::Incompatible`] for a solver that does more than add up answers: one with
    /// dynamic thresholding.
    pub fn of(sampling: &Sampling) -> Result<Self, Error> {
        let calls = Self::walk(sampling, 1.0)?;
        // Sums are the same of larger numbers; thresholds are not.
        let large = Self::walk(sampling, 1e3)?;
        let pairs = calls.weights().zip(large.weights());
        let linear = |(a, b): (f64, f64)| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
        if pairs.into_iter().all(linear) {
            return Ok(calls);
        }
        Err(Error::Incompatible {
            first: format!("solver = {}", sampling.solver),
            second: "ONNX, for which a solver may only add up answers".into(),
            remedy: "take one without dynamic thresholding".into(),
        })
    }

    fn walk(sampling: &Sampling, unit: f64) -> Result<Self, Error> {
        sampling.check()?;
        let (grid, solver) = (sampling.grid()?, sampling.solver.build()?);
        let basis = Basis {
            unit,
            length: sampling.evaluations()? + 1,
            asked: RefCell::default(),
        };
        let sampler = Sampler {
            denoiser: &basis,
            solver: solver.as_ref(),
            grid: &grid,
            analytic_first_step: sampling.analytic_first_step,
            denoise_to_zero: false,
        };
        let start = basis.one(0).mul_scalar(grid.sigma_max());
        let images = sampler.sample(start, &Condition::default());
        let numbers = |images: Images| -> Vec<f64> {
            let data = images.into_data();
            data.iter::<f64>().map(|value| value / unit).collect()
        };
        let asked = basis.asked.into_inner().into_iter().enumerate();
        let calls = asked.map(|(before, (sigma, noisy))| {
            let mut weights = numbers(noisy);
            weights.truncate(before + 1);
            Call { sigma, weights }
        });
        Ok(Self {
            calls: calls.collect(),
            images: numbers(images),
            timestamps: sampling.told_steps(),
            guidance: sampling.guidance,
        })
    }

    /// All weights.
    fn weights(&self) -> impl Iterator<Item = f64> {
        let calls = self.calls.iter().flat_map(|call| &call.weights);
        calls.chain(&self.images).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoiser::Gaussian;
    use crate::grid::Spacing;
    use crate::noise::latents;
    use burn::tensor::Tensor;

    fn sampling(solver: &str, steps: usize, analytic_first_step: bool) -> Sampling {
        Sampling {
            solver: toml::from_str(solver).unwrap(),
            steps,
            spacing: Spacing::default(),
            sigma_max: 80.0,
            sigma_min: 0.006,
            analytic_first_step,
            step_condition: false,
            step_range: None,
            guidance: 1.0,
        }
    }

    /// Adding up by the weights gives what the sampler gives, for solvers of all kinds.
    #[test]
    fn sums_are_what_the_sampler_does() {
        let device = Device::flex();
        let mean = Tensor::<4>::full([1, 1, 2, 3], 0.3, (&device, DType::F64));
        let denoiser = Gaussian::new(mean, 0.5).unwrap();
        let noise = latents(&[1, 2], [1, 2, 3], &device).cast(DType::F64);
        for solver in [
            "kind = 'euler'",
            "kind = 'heun'",
            "kind = 'dpm-solver-2'",
            "kind = 'ipndm'\norder = 2",
            "kind = 'ipndm-v'\norder = 3",
            "kind = 'deis'",
            "kind = 'unipc'",
            "kind = 'dpm-solver-pp'",
        ] {
            for (steps, free) in [(1, false), (2, true), (5, true), (5, false)] {
                let sampling = sampling(solver, steps, free);
                let calls = Calls::of(&sampling).unwrap();
                assert_eq!(calls.calls.len(), sampling.evaluations().unwrap());
                let told = Condition::default();
                let mut known = vec![noise.clone()];
                let sum = |known: &[Images], weights: &[f64]| {
                    assert_eq!(known.len(), weights.len(), "{solver}");
                    let terms = known.iter().zip(weights);
                    let terms = terms.map(|(images, weight)| images.clone().mul_scalar(*weight));
                    terms.reduce(|a, b| a + b).unwrap()
                };
                for call in &calls.calls {
                    let noisy = sum(&known, &call.weights);
                    known.push(denoiser.denoise(noisy, call.sigma, &told));
                }
                let found = sum(&known, &calls.images);
                let (grid, solver) = (sampling.grid().unwrap(), sampling.solver.build().unwrap());
                let sampler = Sampler {
                    denoiser: &denoiser,
                    solver: solver.as_ref(),
                    grid: &grid,
                    analytic_first_step: free,
                    denoise_to_zero: false,
                };
                let wanted = sampler.sample(noise.clone().mul_scalar(80.0), &told);
                let off = (found - wanted).abs().max().into_scalar::<f64>();
                // Roundings of f64 in numbers of up to 80.
                assert!(off < 1e-11, "{sampling:?}: {off}");
            }
        }
    }

    #[test]
    fn thresholds_are_no_sums() {
        let thresholding = sampling("kind = 'dpm-solver-pp'\nthresholding = true", 4, false);
        let error = Calls::of(&thresholding).unwrap_err();
        assert!(error.to_string().contains("thresholding"), "{error}");
    }
}
