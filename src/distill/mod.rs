//! Simple and Fast Distillation: the student learns, along its *own* few-step path, to land on the teacher's
//! many-step trajectory. [SFD Alg. 2]

mod cache;
mod check;
mod checkpointed;
mod cost;
mod direction;
mod distance;
mod fill;
mod learning;
mod part;
mod recipe;
mod resolved;
mod rollout;
mod search;
mod share;
mod target;

pub use crate::feature::vgg::{InputRange, Perceptual, PerceptualConfig};
pub use cache::{Claim, Claimed, TrajectoryCache, TrajectoryType, Usage};
pub use cost::Cost;
pub use direction::direction_cosines;
pub use distance::Distance;
#[doc(hidden)]
pub use learning::RateSchedule as Schedule;
pub use learning::{Change, RateSchedule};
pub use recipe::{Recipe, Target};
pub use resolved::Resolved;
pub use target::{Cached, TrajectorySource};

use crate::denoiser::{Condition, Preconditioned};
use crate::file::short;
use crate::group::{Alone, Group, Total, any};
use crate::learner::{Learner, Trained};
use crate::model::{Adaptation, Card, Kind, Model, Progress, State, recipe_json};
use crate::network::{Gathered, add_step_branch};
use crate::sampler::Trajectory;
use crate::solver::Solver;
use crate::{Error, Images};
use burn::module::Module;
use burn::tensor::{DType, Device};
use distance::Criterion;
use part::is_finite;
use std::sync::Arc;

/// A distillation run: the caller loops over [`Distiller::advance`].
#[derive(Debug)]
pub struct Distiller {
    recipe: Resolved,
    /// The teacher's card, with the student's network: the student's card is made from it.
    card: Card,
    parent: String,
    /// With autodiff; missing only while it is updated.
    student: Option<Preconditioned>,
    learner: Learner,
    criterion: Criterion,
    solver: Box<dyn Solver>,
    round: u64,
    group: Arc<dyn Group>,
}

/// What one round did.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// Trajectories used up to and including this round.
    pub trajectories: u64,
    /// Distance at the end of each student step, per image (summed over pixels), before the step's update and without
    /// the step's weight.
    pub distances: Vec<f64>,
    /// The learning rate of this round.
    pub learning_rate: f64,
}

/// What a step of a round came to, for those who compare it with another implementation.
pub(crate) struct StepReport<'a> {
    /// Puts together where the student is now, `[batch, channels, height, width]`.
    pub(crate) images: &'a dyn Fn() -> Images,
    /// The gradients of the batch; `None` after a step that is not trained.
    pub(crate) gradients: Option<&'a [Gathered]>,
}

impl Distiller {
    /// Starts a run: the student is a copy of the teacher, with a step branch if it is to be told the number of steps.
    /// [SFD Alg. 2, line 1]
    ///
    /// A student of [adapters](Recipe::lora) shares the memory of the weights of `teacher` if that is the teacher as it is
    /// [held](Recipe::held).
    ///
    /// # Errors
    /// [`Error::Incompatible`] for another teacher than the recipe was resolved for or a device without its types, and those of
    /// [`Recipe::teacher_grid`].
    pub fn new(
        recipe: Resolved,
        teacher: &Model,
        parent: String,
        device: &Device,
    ) -> Result<Self, Error> {
        recipe.check_teacher(teacher)?;
        recipe.check_device(device)?;
        // Levels that are still to be searched for would be missed only now.
        recipe.teacher_grid(recipe.steps)?;
        let mut card = teacher.card.clone();
        let mut network = teacher.network.clone();
        if recipe.lora.is_some() {
            // Before the step branch, which learns.
            network = network.with_precision(recipe.teacher_precision)?;
        }
        if recipe.tells_steps() {
            let (seed, init) = (recipe.seed, recipe.step_branch_init);
            (card.network, network) = add_step_branch(&card.network, network, seed, init)?;
        }
        if let Some(lora) = &recipe.lora {
            let adapters = lora.adapters(&card.network)?;
            network = network
                .with_adapters(&card.network, &adapters, recipe.seed)?
                .with_frozen_base();
            card.adapter = Some(Adaptation {
                base: parent.clone(),
                rank: lora.rank,
                alpha: lora.alpha(),
            });
        }
        let averaged = recipe.average_half_life.is_some();
        let learner = Learner::new(recipe.adam, Trained::all(&network), &network, averaged);
        let network = network.to_device(&device.clone().autodiff()).train();
        Ok(Self {
            student: Some(Preconditioned {
                network,
                preconditioning: teacher.card.answer.preconditioning.clone(),
                compute: recipe.compute(teacher),
            }),
            learner,
            criterion: Criterion {
                distance: recipe.distance,
                huber_scale: recipe.huber_scale,
                perceptual: None,
            },
            card,
            parent,
            solver: recipe.student_solver.build()?,
            round: 0,
            group: Arc::new(Alone),
            recipe,
        })
    }

    /// Makes it one of several processes that distil the same student, each with some micro-batches of every round; the others
    /// are given the same recipe and teacher, and trajectories of a source that is [of the group](TrajectorySource::with_group),
    /// too. All have the same student then, with the bytes that one process alone would give it.
    #[must_use]
    pub fn with_group(self, group: Arc<dyn Group>) -> Self {
        Self { group, ..self }
    }

    /// Gives the run the network of its perceptual distance; the recipe then names its weights.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if the recipe has no such distance or names other weights, or if the images are not
    /// grey or RGB.
    pub fn with_perceptual(mut self, perceptual: Perceptual) -> Result<Self, Error> {
        let config = self.recipe.perceptual.clone().unwrap_or_default();
        perceptual.check(&config, self.card.network.image_shape()[0])?;
        if self.recipe.distance != Distance::L1Lpips {
            return Err(Error::Incompatible {
                first: "perceptual weights".into(),
                second: "a recipe without a perceptual distance".into(),
                remedy: "set distance = \"l1-lpips\"".into(),
            });
        }
        self.recipe = self.recipe.with_perceptual(perceptual.config().clone())?;
        self.criterion.perceptual = Some(perceptual);
        Ok(self)
    }

    /// The next [`round`](Self::round), with trajectories of `source`. On a CPU with several threads the trajectories of the
    /// round after it are solved meanwhile: they do not depend on the student, and where an operation of one has nothing
    /// left for a thread, the other has. No result changes.
    ///
    /// # Errors
    /// Those of [`TrajectorySource::round`] and of [`round`](Self::round).
    pub fn advance(&mut self, source: &TrajectorySource) -> Result<Round, Error> {
        let (target, condition) = source.round(self.round)?;
        let next = self.round + 1;
        if next >= self.recipe.rounds() || !source.looks_ahead() {
            return self.round(&target, &condition);
        }
        // An error of the second comes again when its round asks.
        let (round, _) = rayon::join(|| self.round(&target, &condition), || source.prepare(next));
        round
    }

    /// One round of Algorithm 2: the student walks its own path from the trajectory's noise, and each step that calls
    /// the network is followed by one update towards the teacher's image at the step's end. The next step starts at
    /// what the step gave *before* its update, without gradient. [SFD Alg. 2, lines 4-11]
    ///
    /// With `target = "local"` each step starts at the teacher's point instead. [SFD Alg. 1]
    ///
    /// `target` is the teacher's trajectory on the student's grid, noise first, without autodiff. Its number of steps
    /// is what the student is told, if it is told any; what `condition` says of it is not looked at.
    ///
    /// # Errors
    /// [`Error::Diverged`] for a non-finite distance or gradient; go on from the last saved state then.
    /// [`Error::BrokenTeacher`] if it is the teacher's trajectory that is not finite.
    /// [`Error::Incompatible`] if the distance needs [perceptual weights](Self::with_perceptual) that were not given.
    /// [`Error::Group`] if another process of the group is gone.
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
        self.criterion.check()?;
        let timestamps = target.grid.levels().len();
        let condition = Condition {
            steps: self.recipe.tells_steps().then_some(timestamps),
            ..condition.clone()
        };
        let learning_rate = self.recipe.learning_rate_at(self.round);
        self.learner.configure(self.recipe.adam_at(self.round));
        let group = Arc::clone(&self.group);
        let mut parts = self.split(&target.states[0], &condition);
        let mut distances = Vec::with_capacity(target.grid.steps());
        for index in 0..target.grid.steps() {
            let mut total = Total::new(group.as_ref(), &self.student().network);
            for part in &mut parts {
                let part = part.as_mut();
                let part = part.map(|part| |sum: &mut _| Ok(self.step(part, target, index, sum)));
                if !total.turn(part)? {
                    return Err(self.diverged(target, index)?);
                }
            }
            distances.push(total.loss());
            let sum = total.gradients()?;
            report(StepReport {
                images: &|| part::images(&parts),
                gradients: sum.as_deref(),
            });
            if let Some(gradients) = sum {
                let Some(checked) = self.learner.check(gradients) else {
                    return Err(Error::Diverged {
                        round: self.round,
                        step: index,
                    });
                };
                // Taken out, not copied: the new parameters can have the memory of the old.
                let learner = &mut self.learner;
                self.student = self.student.take().map(|student| Preconditioned {
                    network: learner.update(student.network, checked, learning_rate),
                    ..student
                });
            }
        }
        if let Some(student) = &self.student {
            let decay = self.recipe.average_decay_at(self.round);
            self.learner.follow(&student.network, decay);
        }
        self.round += 1;
        Ok(Round {
            trajectories: self.recipe.trajectories_after(self.round),
            distances,
            learning_rate,
        })
    }

    /// Why a distance of step `step` is not finite. All processes of the group ask.
    fn diverged(&self, target: &Trajectory, step: usize) -> Result<Error, Error> {
        let round = self.round;
        let broken = !is_finite(&target.states[step + 1]);
        Ok(match any(self.group.as_ref(), broken)? {
            true => Error::BrokenTeacher { round, step },
            false => Error::Diverged { round, step },
        })
    }

    fn student(&self) -> &Preconditioned {
        let student = self.student.as_ref();
        student.expect("a student is put back after its update")
    }

    /// Rounds done.
    pub fn rounds(&self) -> u64 {
        self.round
    }

    /// Whether the recipe's number of trajectories has been used.
    pub fn is_finished(&self) -> bool {
        self.round >= self.recipe.rounds()
    }

    /// The recipe, with what depends on the teacher filled in.
    pub fn recipe(&self) -> &Resolved {
        &self.recipe
    }

    /// The student as it is now, with averaged weights if the recipe asks for them, without autodiff.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the recipe cannot be written as JSON.
    pub fn model(&self) -> Result<Model, Error> {
        let network = self.student().network.valid();
        Ok(Model {
            card: self.student_card(recipe_json(&self.recipe)?),
            network: self.learner.averaged(network),
            // As it will be read back: only training computes in less.
            compute: DType::F32,
        })
    }

    fn student_card(&self, recipe: serde_json::Value) -> Card {
        Card {
            kind: Kind::Student,
            sampling: self.recipe.sampling(),
            recipe,
            trained_on: self.recipe.trajectories_after(self.round),
            parent: Some(self.parent.clone()),
            version: env!("CARGO_PKG_VERSION").into(),
            ..self.card.clone()
        }
    }

    /// Everything that the next round depends on.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the recipe cannot be written as JSON.
    pub fn state(&self) -> Result<State, Error> {
        let progress = Progress {
            round: self.round,
            recipe: recipe_json(&self.recipe)?,
            parent: Some(self.parent.clone()),
            data: None,
            card: Some(self.student_card(serde_json::Value::Null)),
        };
        Ok(self.learner.state(progress, &self.student().network))
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
                first: format!("the run's teacher (SHA-256 {})", short(before)),
                second: format!("the given one ({})", short(&parent)),
                remedy: "give the file that the run was started with".into(),
            });
        }
        let recipe: Recipe = state.recipe()?;
        let recipe = recipe.for_teacher(&teacher.card)?;
        let mut distiller = Self::new(recipe, teacher, parent, device)?;
        if let Some(student) = &mut distiller.student {
            let network = student.network.clone();
            student.network = distiller.learner.restore(state, network)?;
        }
        distiller.round = state.progress.round;
        Ok(distiller)
    }
}
