//! The teacher's trajectories of a round.

use super::Recipe;
use crate::checkpoint::Model;
use crate::denoiser::{Condition, Denoiser, one_hot};
use crate::grid::SigmaGrid;
use crate::sampler::{Sampler, Trajectory};
use crate::solver::Solver;
use crate::{Error, noise};
use burn::tensor::{Device, Tensor};

/// Draws noise and classes of a round and solves the teacher's ODE from there. [SFD Alg. 2, lines 2-3]
pub struct TrajectorySource<'a> {
    denoiser: &'a dyn Denoiser,
    solver: Box<dyn Solver>,
    grid: SigmaGrid,
    recipe: Recipe,
    image_shape: [usize; 3],
    classes: usize,
    device: Device,
}

impl<'a> TrajectorySource<'a> {
    /// A source for one run.
    ///
    /// # Errors
    /// Those of [`Recipe::check`] and of [`Recipe::teacher_grid`].
    pub fn new(recipe: &Recipe, teacher: &'a Model, device: &Device) -> Result<Self, Error> {
        recipe.check()?;
        Ok(Self {
            denoiser: &teacher.denoiser,
            solver: recipe.teacher_solver.build()?,
            grid: recipe.teacher_grid()?,
            recipe: recipe.clone(),
            image_shape: teacher.card.network.image_shape(),
            classes: teacher.card.network.classes(),
            device: device.clone().inner(),
        })
    }

    /// Calls of the teacher for one trajectory.
    pub fn evaluations(&self) -> usize {
        self.sampler().evaluations()
    }

    /// The trajectory of a round on the student's grid, and what both are conditioned on. A function of (seed, round)
    /// alone.
    ///
    /// # Errors
    /// None for a recipe that passed its check.
    pub fn round(&self, round: u64) -> Result<(Trajectory, Condition), Error> {
        let (seed, batch) = (self.recipe.seed, self.recipe.batch as u64);
        let noise = noise::latents_keyed(seed, round, 0..batch, self.image_shape, &self.device);
        let condition = Condition {
            labels: self.labels(round),
            ..Condition::default()
        };
        let start = noise.mul_scalar(self.grid.sigma_max());
        let fine = self.sampler().trajectory(start, &condition);
        Ok((fine.thin(self.recipe.substeps)?, condition))
    }

    fn sampler(&self) -> Sampler<'_> {
        Sampler {
            denoiser: self.denoiser,
            solver: self.solver.as_ref(),
            grid: &self.grid,
            analytic_first_step: false,
            denoise_to_zero: false,
        }
    }

    /// Random classes, one-hot `[batch, classes]`; `None` for an unconditional teacher.
    fn labels(&self, round: u64) -> Option<Tensor<2>> {
        let (classes, batch) = (self.classes, self.recipe.batch as u64);
        if classes == 0 {
            return None;
        }
        let drawn = noise::labels_keyed(self.recipe.seed, round, 0..batch, classes);
        Some(one_hot(&drawn, classes, &self.device))
    }
}
