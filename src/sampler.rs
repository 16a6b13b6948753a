//! The only sampling loop.

use crate::denoiser::{Condition, Denoiser};
use crate::grid::SigmaGrid;
use crate::solver::{Evaluation, Solver, Step};
use crate::{Error, Images};

/// Walks from noise to images. Teacher and student are both this, with different settings. [SFD Alg. 2]
#[derive(Clone, Copy)]
pub struct Sampler<'a> {
    /// The model.
    pub denoiser: &'a dyn Denoiser,
    /// The method for one step.
    pub solver: &'a dyn Solver,
    /// The noise levels.
    pub grid: &'a SigmaGrid,
    /// Whether the first slope is [`Evaluation::analytic`] instead of a model call. [SFD Sec. 3.2]
    pub analytic_first_step: bool,
    /// Whether the model is called once more at the last level, and its answer is the image.
    pub denoise_to_zero: bool,
}

impl Sampler<'_> {
    /// Model calls for one batch, called NFE in the literature.
    pub fn evaluations(&self) -> usize {
        let steps = self.grid.steps();
        let walk = self.solver.evaluations(steps, self.analytic_first_step);
        walk + usize::from(self.denoise_to_zero)
    }

    /// Checks that the settings go together.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if the model is never called: one step, and that one analytical.
    pub fn check(&self) -> Result<(), Error> {
        if self.evaluations() > 0 {
            return Ok(());
        }
        Err(Error::Incompatible {
            first: "analytic-first-step = true".into(),
            second: format!("steps = {}", self.grid.steps()),
            remedy: "take at least 2 steps, or leave the analytical first step out".into(),
        })
    }

    /// From `start` to images, keeping no more states than the solver looks back on.
    ///
    /// # Shapes
    /// `start` and the result: `[batch, channels, height, width]`. `start` is noise already multiplied by the grid's
    /// largest level.
    pub fn sample(&self, start: Images, condition: &Condition) -> Images {
        self.sample_with(start, condition, &mut |_, _| {})
    }

    /// As [`sample`](Self::sample), and calls `report` after each step with the images at `step.to`.
    pub fn sample_with(
        &self,
        start: Images,
        condition: &Condition,
        report: &mut dyn FnMut(Step, &Images),
    ) -> Images {
        self.walk(start, condition, &mut |step, _, images| {
            report(step, images)
        })
    }

    /// As [`sample_with`](Self::sample_with), and `report` also gets the evaluation that the step started from.
    ///
    /// The model is asked at a step's end before the step is reported, so that a method's corrector can have its say.
    pub fn walk(
        &self,
        start: Images,
        condition: &Condition,
        report: &mut dyn FnMut(Step, &Evaluation, &Images),
    ) -> Images {
        let mut denoise =
            |images: Images, sigma: f64| self.denoiser.denoise(images, sigma, condition);
        let (levels, count) = (self.grid.levels(), self.grid.steps());
        let mut past: Vec<Evaluation> = Vec::with_capacity(self.solver.history() + 1);
        let mut now = if self.analytic_first_step {
            Evaluation::analytic(start, levels[0])
        } else {
            Evaluation::of(&mut denoise, start, levels[0])
        };
        for index in 0..count - 1 {
            let step = Step::of(levels, index);
            let images = self.solver.step(&mut denoise, &past, &now, step);
            let end = Evaluation::of(&mut denoise, images, step.to);
            let end = self.solver.correct(&past, &now, end, step);
            report(step, &now, &end.images);
            past.push(std::mem::replace(&mut now, end));
            if past.len() > self.solver.history() {
                past.remove(0);
            }
        }
        let step = Step::of(levels, count - 1);
        let mut images = self.solver.step(&mut denoise, &past, &now, step);
        report(step, &now, &images);
        if self.denoise_to_zero {
            images = denoise(images, self.grid.sigma_min());
        }
        images
    }

    /// As [`sample`](Self::sample), keeping every state.
    pub fn trajectory(&self, start: Images, condition: &Condition) -> Trajectory {
        let mut states = vec![start.clone()];
        let images = self.sample_with(start, condition, &mut |_, images| {
            states.push(images.clone());
        });
        if self.denoise_to_zero {
            states.push(images);
        }
        Trajectory {
            grid: self.grid.clone(),
            states,
        }
    }
}

/// The states of a batch on its way from noise to images: all that passes from teacher to student.
#[derive(Clone, Debug)]
pub struct Trajectory {
    /// The noise levels.
    pub grid: SigmaGrid,
    /// `[batch, channels, height, width]` at each level, noise first; one more after the last level if the sampler
    /// denoised to zero.
    pub states: Vec<Images>,
}

impl Trajectory {
    /// Keeps every `substeps`-th state of the grid, the first and the last among them, and a state denoised to zero.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if `substeps` does not divide the number of steps.
    pub fn thin(&self, substeps: usize) -> Result<Self, Error> {
        let grid = self.grid.every(substeps)?;
        let levels = self.grid.levels().len();
        let kept = self.states.iter().take(levels).step_by(substeps);
        let states = kept.chain(self.states.iter().skip(levels)).cloned();
        Ok(Self {
            grid,
            states: states.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoiser::{Counted, Gaussian};
    use crate::grid::Spacing;
    use crate::solver::{Euler, SolverConfig};
    use burn::tensor::{DType, Device, Tensor};

    fn start() -> Images {
        let device = Device::flex();
        let values: Vec<f64> = (0..12).map(|i| 80.0 * (f64::from(i) * 1.7).sin()).collect();
        Tensor::<1>::from_data(values.as_slice(), (&device, DType::F64)).reshape([2, 1, 2, 3])
    }

    fn gaussian() -> Gaussian {
        let mean = Tensor::<4>::full([1, 1, 2, 3], 0.3, (&Device::flex(), DType::F64));
        Gaussian::new(mean, 0.5).unwrap()
    }

    fn values(images: &Images) -> Vec<f64> {
        images.to_data().try_to_vec().unwrap()
    }

    #[test]
    fn counted_calls_are_the_announced_ones() {
        let denoiser = Counted::new(gaussian());
        for kind in [
            "euler",
            "heun",
            "dpm-solver-2",
            "ipndm",
            "ipndm-v",
            "deis",
            "unipc",
            "dpm-solver-pp",
        ] {
            let config: SolverConfig = toml::from_str(&format!("kind = '{kind}'")).unwrap();
            let solver = config.build().unwrap();
            for steps in [1, 2, 6] {
                let grid = Spacing::default().grid(steps, 0.006, 80.0).unwrap();
                for (analytic_first_step, denoise_to_zero) in
                    [(false, false), (true, false), (false, true), (true, true)]
                {
                    let sampler = Sampler {
                        denoiser: &denoiser,
                        solver: solver.as_ref(),
                        grid: &grid,
                        analytic_first_step,
                        denoise_to_zero,
                    };
                    denoiser.reset();
                    let trajectory = sampler.trajectory(start(), &Condition::default());
                    assert_eq!(
                        denoiser.calls(),
                        sampler.evaluations(),
                        "{config} {steps} {analytic_first_step} {denoise_to_zero}"
                    );
                    assert_eq!(sampler.check().is_err(), denoiser.calls() == 0);
                    let states = trajectory.states;
                    assert_eq!(states.len(), steps + 1 + usize::from(denoise_to_zero));
                    assert_eq!(values(&states[0]), values(&start()));
                    let last = sampler.sample(start(), &Condition::default());
                    assert_eq!(values(&states[states.len() - 1]), values(&last));
                }
            }
        }
    }

    #[test]
    fn a_thinned_trajectory_keeps_both_ends() {
        let denoiser = gaussian();
        let grid = Spacing::default().grid(6, 0.006, 80.0).unwrap();
        let sampler = Sampler {
            denoiser: &denoiser,
            solver: &Euler,
            grid: &grid,
            analytic_first_step: false,
            denoise_to_zero: true,
        };
        let fine = sampler.trajectory(start(), &Condition::default());
        let thin = fine.thin(3).unwrap();
        assert_eq!(thin.grid, Spacing::default().grid(2, 0.006, 80.0).unwrap());
        let kept: Vec<_> = [0, 3, 6, 7].map(|i| values(&fine.states[i])).into();
        assert_eq!(thin.states.iter().map(values).collect::<Vec<_>>(), kept);
        assert!(fine.thin(4).is_err());
    }
}
