//! Simple and Fast Distillation: the student learns, along its *own* few-step path, to land on the teacher's
//! many-step trajectory. [SFD Alg. 2]

mod distance;
mod recipe;
mod search;
mod target;

pub use distance::Distance;
pub use recipe::Recipe;
pub use target::TrajectorySource;

use crate::checkpoint::{Card, Kind, Model, Progress, State};
use crate::denoiser::{Condition, Preconditioned};
use crate::network::{Dropout, Gathered, gradients};
use crate::optimizer::{Adam, add, finite};
use crate::sampler::Trajectory;
use crate::solver::{Euler, Evaluation, Solver, Step};
use crate::{Error, Images};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use std::ops::Range;

/// A distillation run: the caller loops over [`Distiller::round`], giving it the teacher's trajectories.
#[derive(Debug)]
pub struct Distiller {
    recipe: Recipe,
    /// The teacher's card, which the student's is made from.
    card: Card,
    parent: String,
    /// With autodiff.
    student: Preconditioned,
    optimizer: Adam,
    round: u64,
}

/// What one round did.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// Trajectories used up to and including this round.
    pub trajectories: u64,
    /// Distance at the end of each student step, per image (summed over pixels), before the step's update.
    pub distances: Vec<f64>,
    /// The learning rate of this round.
    pub learning_rate: f64,
}

/// The teacher's path of the samples that fit into memory together, and where the student is on its own.
struct MicroBatch {
    samples: Range<usize>,
    condition: Condition,
    images: Images,
}

/// What a step of a round came to, for those who compare it with another implementation.
pub(crate) struct StepReport<'a> {
    /// Puts together where the student is now, `[batch, channels, height, width]`.
    pub(crate) images: &'a dyn Fn() -> Images,
    /// The gradients of the batch; `None` after an analytical step.
    pub(crate) gradients: Option<&'a [Gathered]>,
}

impl Distiller {
    /// Starts a run: the student is a copy of the teacher. [SFD Alg. 2, line 1]
    ///
    /// # Errors
    /// Those of [`Recipe::check`] and of [`Recipe::teacher_grid`].
    pub fn new(
        recipe: Recipe,
        teacher: &Model,
        parent: String,
        device: &Device,
    ) -> Result<Self, Error> {
        recipe.check()?;
        recipe.teacher_grid()?;
        let device = device.clone().autodiff();
        let network = teacher.denoiser.network.clone().to_device(&device).train();
        Ok(Self {
            student: Preconditioned {
                network,
                ..teacher.denoiser.clone()
            },
            optimizer: Adam::new(recipe.adam),
            card: teacher.card.clone(),
            parent,
            round: 0,
            recipe,
        })
    }

    /// One round of Algorithm 2: the student walks its own path from the trajectory's noise, and each step that calls
    /// the network is followed by one update towards the teacher's image at the step's end. The next step starts at
    /// what the step gave *before* its update, without gradient. [SFD Alg. 2, lines 4-11]
    ///
    /// `target` is the teacher's trajectory on the student's grid, noise first, without autodiff.
    ///
    /// # Errors
    /// [`Error::Diverged`] for a non-finite distance or gradient; go on from the last saved state then.
    pub fn round(&mut self, target: &Trajectory, condition: &Condition) -> Result<Round, Error> {
        self.round_with(target, condition, &mut |_| {})
    }

    /// As [`round`](Self::round), and calls `report` after each step, before its update.
    pub(crate) fn round_with(
        &mut self,
        target: &Trajectory,
        condition: &Condition,
        report: &mut dyn FnMut(StepReport<'_>),
    ) -> Result<Round, Error> {
        let levels = target.grid.levels();
        let batch = target.states[0].dims()[0];
        let learning_rate = self.recipe.learning_rate_at(self.round);
        let mut parts = self.split(&target.states[0], condition);
        let mut distances = Vec::with_capacity(levels.len() - 1);
        for index in 0..levels.len() - 1 {
            let step = Step {
                from: levels[index],
                to: levels[index + 1],
                index,
                count: levels.len() - 1,
            };
            let diverged = Error::Diverged {
                round: self.round,
                step: index,
            };
            let mut sum = None;
            let mut distance = 0.0;
            for part in &mut parts {
                let goal = slice(&target.states[index + 1], &part.samples);
                let (value, gathered) = self.step(part, goal, step, batch);
                if !value.is_finite() {
                    return Err(diverged);
                }
                distance += value;
                sum = gathered.map(|gathered| add(sum, gathered));
            }
            distances.push(distance);
            report(StepReport {
                images: &|| cat(&parts),
                gradients: sum.as_deref(),
            });
            if let Some(gradients) = sum {
                if !finite(&gradients) {
                    return Err(diverged);
                }
                let network = self.student.network.clone();
                self.student.network = self.optimizer.step(network, gradients, learning_rate);
            }
        }
        self.round += 1;
        Ok(Round {
            trajectories: self.round * self.recipe.batch as u64,
            distances,
            learning_rate,
        })
    }

    /// Moves one micro-batch along one step. Returns its share of the batch's mean distance and, unless the step is
    /// analytical, the gradients.
    fn step(
        &self,
        part: &mut MicroBatch,
        goal: Images,
        step: Step,
        batch: usize,
    ) -> (f64, Option<Vec<Gathered>>) {
        let analytic = step.index == 0 && self.recipe.analytic_first_step;
        let start = part.images.clone();
        let dropout = self.recipe.student_dropout.then(|| {
            // Each step of a round draws its own masks.
            let first_use = (step.index as u64) << 32;
            Dropout::new(
                self.recipe.seed,
                self.round,
                part.samples.start as u64,
                first_use,
            )
        });
        let mut denoise = |images: Images, sigma: f64| {
            let images = images.autodiff();
            self.student
                .denoise_each(images, &[sigma], &part.condition, dropout.as_ref())
        };
        let now = if analytic {
            Evaluation::analytic(start, step.from)
        } else {
            Evaluation::of(&mut denoise, start.autodiff(), step.from)
        };
        let images = Euler.step(&mut denoise, &[], &now, step);
        let goal = if analytic { goal } else { goal.autodiff() };
        let distance = self.recipe.distance.sum(images.clone(), goal);
        let distance = distance.div_scalar(batch as f64);
        let value = distance.clone().into_scalar::<f64>();
        let gathered = (!analytic && value.is_finite())
            .then(|| gradients(&self.student.network, &distance.backward()));
        part.images = images.without_autodiff();
        (value, gathered)
    }

    /// Splits the batch into what fits into memory.
    fn split(&self, start: &Images, condition: &Condition) -> Vec<MicroBatch> {
        let batch = start.dims()[0];
        let size = self.recipe.micro_batch.unwrap_or(batch).min(batch);
        let ranges = (0..batch)
            .step_by(size)
            .map(|first| first..(first + size).min(batch));
        let part = |samples: Range<usize>| MicroBatch {
            condition: condition.samples(&samples),
            images: slice(start, &samples),
            samples,
        };
        ranges.map(part).collect()
    }

    /// Rounds done.
    pub fn rounds(&self) -> u64 {
        self.round
    }

    /// Whether the recipe's number of trajectories has been used.
    pub fn is_finished(&self) -> bool {
        self.round >= self.recipe.rounds()
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The student as it is now, without autodiff.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the recipe cannot be written as JSON.
    pub fn model(&self) -> Result<Model, Error> {
        Ok(Model {
            card: Card {
                kind: Kind::Student,
                sampling: self.recipe.sampling(),
                recipe: to_json(&self.recipe)?,
                trained_on: self.round * self.recipe.batch as u64,
                parent: Some(self.parent.clone()),
                version: env!("CARGO_PKG_VERSION").into(),
                ..self.card.clone()
            },
            denoiser: Preconditioned {
                network: self.student.network.valid(),
                ..self.student.clone()
            },
        })
    }

    /// Everything that the next round depends on.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the recipe cannot be written as JSON.
    pub fn state(&self) -> Result<State, Error> {
        let progress = Progress {
            round: self.round,
            recipe: to_json(&self.recipe)?,
            parent: Some(self.parent.clone()),
        };
        Ok(State::gather(
            progress,
            &self.student.network,
            &self.optimizer,
            None,
        ))
    }

    /// Goes on where `state` was taken, with the same teacher.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if `teacher` is another file than the run began with; [`Error::Malformed`] or
    /// [`Error::Weights`] if the state is not one of a distillation.
    pub fn resume(
        state: &State,
        teacher: &Model,
        parent: String,
        device: &Device,
    ) -> Result<Self, Error> {
        if let Some(before) = state.progress.parent.as_ref().filter(|p| **p != parent) {
            return Err(Error::Incompatible {
                first: format!(
                    "the run's teacher (SHA-256 {})",
                    &before[..before.len().min(12)]
                ),
                second: format!("the given one ({})", &parent[..parent.len().min(12)]),
                remedy: "give the file that the run was started with".into(),
            });
        }
        let mut distiller = Self::new(state.recipe()?, teacher, parent, device)?;
        let network = distiller.student.network.clone();
        distiller.student.network = state.restore(network, &mut distiller.optimizer, None)?;
        distiller.round = state.progress.round;
        Ok(distiller)
    }
}

fn to_json(recipe: &Recipe) -> Result<serde_json::Value, Error> {
    serde_json::to_value(recipe).map_err(|e| Error::invalid("recipe", e, "representable as JSON"))
}

fn cat(parts: &[MicroBatch]) -> Images {
    let images = parts.iter().map(|p| p.images.clone());
    Tensor::cat(images.collect(), 0)
}

fn slice(images: &Images, samples: &Range<usize>) -> Images {
    let [_, c, h, w] = images.dims();
    images.clone().slice([samples.clone(), 0..c, 0..h, 0..w])
}
