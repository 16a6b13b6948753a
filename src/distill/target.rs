//! The teacher's trajectories of a round.

use super::Recipe;
use crate::checkpoint::{Card, Model};
use crate::denoiser::{Condition, Denoiser, draw_round};
use crate::sampler::{Sampler, Trajectory};
use crate::{Error, Images};
use burn::tensor::{Device, Tensor};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Draws noise and classes of a round and solves the teacher's ODE from there. [SFD Alg. 2, lines 2-3]
pub struct TrajectorySource<'a> {
    denoiser: &'a dyn Denoiser,
    card: &'a Card,
    recipe: Recipe,
    device: Device,
    /// The newest draw and its number, where rounds share trajectories: a cache, which no result depends on.
    newest: Mutex<Option<(u64, Trajectory, Condition)>>,
}

impl<'a> TrajectorySource<'a> {
    /// A source for one run.
    ///
    /// # Errors
    /// Those of [`Recipe::for_teacher`] and of [`Recipe::teacher_grid`].
    pub fn new(recipe: &Recipe, teacher: &'a Model, device: &Device) -> Result<Self, Error> {
        let recipe = recipe.for_teacher(&teacher.card)?;
        recipe.teacher_grid(recipe.steps)?;
        Ok(Self {
            denoiser: &teacher.denoiser,
            card: &teacher.card,
            recipe,
            device: device.clone().inner(),
            newest: Mutex::new(None),
        })
    }

    /// Calls of the teacher for one trajectory, while the student takes its usual number of steps.
    ///
    /// # Errors
    /// None for a recipe that passed its check.
    pub fn evaluations(&self) -> Result<usize, Error> {
        let recipe = &self.recipe;
        recipe
            .teacher_sampling(self.card, recipe.steps)
            .evaluations()
    }

    /// The trajectory of a round on the student's grid, and the classes that both are told; what they are told of the
    /// number of steps is their own affair. A function of (seed, round) alone.
    ///
    /// # Errors
    /// None for a recipe that passed its check.
    pub fn round(&self, round: u64) -> Result<(Trajectory, Condition), Error> {
        let recipe = &self.recipe;
        let drawn = recipe.trajectory_round(round);
        let shared = recipe.reuse > 1;
        let newest = || self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if shared
            && let Some((at, target, condition)) = newest().as_ref()
            && *at == drawn
        {
            return Ok((target.clone(), condition.clone()));
        }
        let samples = 0..recipe.batch as u64;
        let network = &self.card.network;
        let (shape, classes) = (network.image_shape(), network.classes());
        let (noise, condition) =
            draw_round(recipe.seed, drawn, samples, shape, classes, &self.device);
        let start = noise.mul_scalar(recipe.sigma_max);
        let target = self.solve(start, &condition, recipe.steps_at(round))?;
        if shared {
            *newest() = Some((drawn, target.clone(), condition.clone()));
        }
        Ok((target, condition))
    }

    /// The teacher's trajectory from `start` (noise at the largest level), on the grid of a student with `steps` steps.
    pub(crate) fn solve(
        &self,
        start: Images,
        condition: &Condition,
        steps: usize,
    ) -> Result<Trajectory, Error> {
        let sampling = self.recipe.teacher_sampling(self.card, steps);
        let (solver, grid) = (sampling.solver.build()?, sampling.grid()?);
        let condition = Condition {
            steps: sampling.told_steps(),
            ..condition.clone()
        };
        let sampler = Sampler {
            denoiser: self.denoiser,
            solver: solver.as_ref(),
            grid: &grid,
            analytic_first_step: sampling.analytic_first_step,
            denoise_to_zero: false,
        };
        let mut parts = Vec::new();
        for samples in self.recipe.parts(start.dims()[0]) {
            let told = condition.samples(&samples);
            let fine = sampler.trajectory(slice(&start, &samples), &told);
            parts.push(fine.thin(self.recipe.substeps)?);
        }
        Ok(join(parts, grid.every(self.recipe.substeps)?))
    }
}

impl Recipe {
    /// The samples of a batch that are in memory together.
    pub(super) fn parts(&self, batch: usize) -> Vec<Range<usize>> {
        let size = self.micro_batch.unwrap_or(batch).min(batch).max(1);
        let firsts = (0..batch).step_by(size);
        firsts
            .map(|first| first..(first + size).min(batch))
            .collect()
    }
}

/// The trajectory of a whole batch.
fn join(mut parts: Vec<Trajectory>, grid: crate::grid::SigmaGrid) -> Trajectory {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let states = (0..=grid.steps()).map(|i| {
        let part = parts.iter().map(|p| p.states[i].clone());
        Tensor::cat(part.collect(), 0)
    });
    Trajectory {
        states: states.collect(),
        grid,
    }
}

/// Some samples of a batch.
pub(super) fn slice(images: &Images, samples: &Range<usize>) -> Images {
    let [_, c, h, w] = images.dims();
    images.clone().slice([samples.clone(), 0..c, 0..h, 0..w])
}
