//! The settings of a distillation.

use super::{Change, Distance, PerceptualConfig, RateSchedule, TrajectoryType};
use crate::Error;
use crate::adapter::Lora;
use crate::grid::{SigmaGrid, Spacing};
use crate::model::{Card, Model, Sampling, is_unguided};
use crate::network::{Precision, StepInit};
use crate::noise::{Domain, Stream};
use crate::optimizer::{AdamConfig, average_decay};
use crate::setting::is_default;
use crate::solver::SolverConfig;
use burn::tensor::DType;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;

/// Where a student's step starts while it is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Target {
    /// Where the student's own last step ended, so that it also learns to repair its earlier errors. [SFD Alg. 2]
    #[default]
    OwnPath,
    /// At the teacher's point, so that each step learns its own error only. [SFD Alg. 1]
    Local,
}

/// Everything a distillation needs besides the teacher. The defaults are the paper's recipe for 2 evaluations.
/// [SFD Sec. 3.2 and App. B]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Recipe {
    /// Seed of every random draw.
    pub seed: u64,
    /// Teacher trajectories in the whole run, rounded up to whole batches. 1000 are a "kimg" elsewhere.
    pub trajectories: u64,
    /// Trajectories a round; one update for each trained step of the student.
    pub batch: usize,
    /// Trajectories in memory at once, the teacher's and the student's; the result is that of the whole batch, up to
    /// the rounding of sums. All if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// The student's backward pass runs each part of the network a second time instead of keeping what its operations saw:
    /// less memory, a third more time, the same student. [Chen et al. 2016]
    #[serde(skip_serializing_if = "is_default")]
    pub gradient_checkpointing: bool,
    /// In what the teacher's weights are held. With `f16` or `bf16` they take half the memory and are widened to f32 where
    /// they are used: the trajectories are those of the teacher with rounded weights. The student starts from the file's.
    #[serde(skip_serializing_if = "is_default")]
    pub teacher_precision: Precision,
    /// In what the networks compute. With `f16` or `bf16` the student's weights, its optimizer and all outside the networks
    /// stay f32. A number that leaves the type's range ends the run; `bf16` has the range of f32.
    #[serde(skip_serializing_if = "is_default")]
    pub compute_precision: Precision,
    /// The student is the teacher with low-rank adapters, and these are what learns, besides a step branch: its file holds no
    /// more. Its weights are the teacher's as they are held, `teacher-precision` and all. [Hu et al. 2022]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// Rounds in which each teacher trajectory is used, one after the other: R student passes for one teacher pass. A
    /// student pass costs about 3 forward passes for each trained step, a teacher pass one for each of its calls.
    pub reuse: u64,
    /// Steps of the student, N - 1 in the paper's notation.
    pub steps: usize,
    /// One student for several numbers of steps, the smallest and the largest: each round draws one of them. `steps`
    /// is then only what sampling takes if it is not told. [SFD Sec. 3.3]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable_steps: Option<[usize; 2]>,
    /// Whether the student is told the number of timestamps, steps + 1. If not given: with `variable-steps`, and in a
    /// second stage whose teacher is told. [SFD Sec. 3.3]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_condition: Option<bool>,
    /// How the step branch starts, if the student has one and its teacher has not.
    pub step_branch_init: StepInit,
    /// Steps of the teacher for each of the student's, K in the paper's notation.
    pub substeps: usize,
    /// Spacing of the noise levels of both. One that is to be searched for is found by
    /// [`searched`](Self::searched) before the run.
    pub spacing: Spacing,
    /// Largest noise level, t_max.
    pub sigma_max: f64,
    /// Smallest noise level, t_min.
    pub sigma_min: f64,
    /// The student's first step is taken without calling the network, and is not trained.
    pub analytic_first_step: bool,
    /// The solver of the teacher's trajectory.
    pub teacher_solver: SolverConfig,
    /// The solver of the student's steps, in training and in sampling: Euler's, as in the paper, or one that goes on from what the
    /// student said in the steps before, at the same number of calls.
    #[serde(skip_serializing_if = "is_euler")]
    pub student_solver: SolverConfig,
    /// How closely the teacher's trajectories follow their class or text. At 1, as in the paper, the student can be guided
    /// when it is sampled, at twice the cost; a student of a guided teacher has the guidance in it. [CFG Eq. 6]
    #[serde(skip_serializing_if = "is_unguided")]
    pub teacher_guidance: f64,
    /// How closely the student follows its class or text when it is sampled; for the card, training is without guidance.
    #[serde(skip_serializing_if = "is_unguided")]
    pub guidance: f64,
    /// The texts that the trajectories draw from, as the [digest](crate::denoiser::Contexts::digest) of them: `fewstep
    /// distill` fills it in, so that a run goes on with the same ones only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<String>,
    /// The teacher is a student itself and is sampled as its card says: with its analytical first step and its step
    /// condition. `steps` x `substeps` must be a number of steps that it was distilled for.
    pub second_stage: bool,
    /// To how many digits the states of the teacher's trajectories are rounded, the noise they start from excepted.
    #[serde(skip_serializing_if = "is_default")]
    pub trajectory_type: TrajectoryType,
    /// Where the student's steps start.
    pub target: Target,
    /// Steps of the student that each update's gradient goes through; 1 is the paper's. With more, the steps before are
    /// taken again with the weights as they are, so L cost about L times as much.
    pub gradient_steps: usize,
    /// What is minimised between student and teacher.
    pub distance: Distance,
    /// The constant of the pseudo-Huber distance, as a part of the square root of the numbers in an image.
    pub huber_scale: f64,
    /// How the perceptual distance is computed; only with `distance = "l1-lpips"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perceptual: Option<PerceptualConfig>,
    /// A factor for each step's distance; a step with 0 is not trained. All 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_weights: Option<Vec<f64>>,
    /// Largest learning rate of Adam.
    pub learning_rate: f64,
    /// How the learning rate changes over the run.
    pub learning_rate_schedule: RateSchedule,
    /// Part of the run after which the learning rate of the schedule `step` is a tenth, in (0, 1]; 1 keeps it.
    pub learning_rate_drop: f64,
    /// Trajectories after which an old weight counts half in an average of the weights, which is then the result; without
    /// it the last weights are, as in the official code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_half_life: Option<f64>,
    /// Whether the student's dropout is active while it trains, as in the official code.
    pub student_dropout: bool,
    /// Adam's constants.
    pub adam: AdamConfig,
    /// What was [changed](Self::changed) on the way, in the order of rounds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

fn is_euler(solver: &SolverConfig) -> bool {
    *solver == SolverConfig::Euler {}
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            seed: 0,
            trajectories: 200_000,
            batch: 128,
            micro_batch: None,
            gradient_checkpointing: false,
            teacher_precision: Precision::F32,
            compute_precision: Precision::F32,
            lora: None,
            reuse: 1,
            steps: 3,
            variable_steps: None,
            step_condition: None,
            step_branch_init: StepInit::Official,
            substeps: 4,
            spacing: Spacing::default(),
            sigma_max: 80.0,
            sigma_min: 0.006,
            analytic_first_step: true,
            teacher_solver: SolverConfig::default(),
            student_solver: SolverConfig::Euler {},
            teacher_guidance: 1.0,
            guidance: 1.0,
            prompts: None,
            second_stage: false,
            trajectory_type: TrajectoryType::F32,
            target: Target::OwnPath,
            gradient_steps: 1,
            distance: Distance::L1,
            huber_scale: 0.00054,
            perceptual: None,
            step_weights: None,
            learning_rate: 5e-5,
            learning_rate_schedule: RateSchedule::Step,
            learning_rate_drop: 0.5,
            average_half_life: None,
            student_dropout: true,
            adam: AdamConfig::default(),
            changes: Vec::new(),
        }
    }
}

impl Recipe {
    /// How to sample from the student: by its solver along the grid it is trained on. [SFD Sec. 3.2]
    pub fn sampling(&self) -> Sampling {
        Sampling {
            solver: self.student_solver,
            steps: self.steps,
            spacing: self.spacing.settled(),
            sigma_max: self.sigma_max,
            sigma_min: self.sigma_min,
            analytic_first_step: self.analytic_first_step,
            step_condition: self.tells_steps(),
            step_range: self.variable_steps,
            guidance: self.guidance,
        }
    }

    /// How the teacher is sampled while the student takes `steps` steps.
    pub fn teacher_sampling(&self, teacher: &Card, steps: usize) -> Sampling {
        let fine = Sampling {
            solver: self.teacher_solver,
            steps: steps * self.substeps,
            step_range: None,
            guidance: self.teacher_guidance,
            ..self.sampling()
        };
        if self.second_stage {
            return Sampling {
                analytic_first_step: teacher.sampling.analytic_first_step,
                step_condition: teacher.sampling.step_condition,
                ..fine
            };
        }
        Sampling {
            analytic_first_step: false,
            step_condition: false,
            ..fine
        }
    }

    /// The teacher as it is sampled: its weights in `teacher-precision`, computing in `compute-precision`.
    ///
    /// # Errors
    /// Those of [`Network::with_precision`](crate::network::Network::with_precision).
    pub fn teacher(&self, teacher: &Model) -> Result<Model, Error> {
        self.held(teacher.clone())
    }

    /// As [`teacher`](Self::teacher), of a model that is not needed any more: its weights leave the memory one by one.
    ///
    /// # Errors
    /// As [`teacher`](Self::teacher).
    pub fn held(&self, teacher: Model) -> Result<Model, Error> {
        Ok(Model {
            compute: self.compute(&teacher),
            card: teacher.card,
            network: teacher.network.with_precision(self.teacher_precision)?,
        })
    }

    /// What the networks compute in; f32 leaves it to the model.
    pub(super) fn compute(&self, teacher: &Model) -> DType {
        match self.compute_precision {
            Precision::F32 => teacher.compute,
            half => half.dtype(),
        }
    }

    /// The teacher's noise levels while the student takes `steps` steps; every `substeps`-th is one of the student's.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for an empty range, [`Error::Incompatible`] if the levels are still to be
    /// [`searched`](Self::searched) for.
    pub fn teacher_grid(&self, steps: usize) -> Result<SigmaGrid, Error> {
        let steps = steps.saturating_mul(self.substeps);
        self.spacing.grid(steps, self.sigma_min, self.sigma_max)
    }

    /// Whether the student is told the number of timestamps. In a second stage this is known only for a recipe
    /// [`for_teacher`](Self::for_teacher).
    pub fn tells_steps(&self) -> bool {
        self.step_condition.unwrap_or(self.variable_steps.is_some())
    }

    /// How closely the student follows its class or text when it is sampled as its card says: the teacher's guidance, where that
    /// was put into it, or its own.
    pub fn followed(&self) -> f64 {
        match self.teacher_guidance == 1.0 {
            true => self.guidance,
            false => self.teacher_guidance,
        }
    }

    /// The student's number of steps in a round: drawn evenly from `variable_steps`, the same for all rounds that
    /// share their trajectories. [SFD Sec. 3.3]
    pub fn steps_at(&self, round: u64) -> usize {
        let Some([smallest, largest]) = self.variable_steps else {
            return self.steps;
        };
        let drawn = self.trajectory_round(round);
        let mut stream = Stream::keyed(self.seed, Domain::Steps, drawn, 0, 0);
        let more = largest.saturating_sub(smallest) as u64;
        let count = NonZeroU64::MIN.saturating_add(more);
        smallest + stream.pick(count) as usize
    }

    /// Which draw of trajectories a round uses, counted from 0.
    pub fn trajectory_round(&self, round: u64) -> u64 {
        round / self.reuse.max(1)
    }

    /// Teacher trajectories in the whole run, as the last of its changes has it.
    pub fn length(&self) -> u64 {
        let said = self.changes.iter().rev().find_map(|c| c.trajectories);
        said.unwrap_or(self.trajectories)
    }

    /// Rounds in the whole run.
    pub fn rounds(&self) -> u64 {
        self.rounds_of(self.length())
    }

    /// Rounds for so many trajectories.
    pub(super) fn rounds_of(&self, trajectories: u64) -> u64 {
        let draws = trajectories.div_ceil(self.batch as u64);
        draws.saturating_mul(self.reuse)
    }

    /// Teacher trajectories used in the first `rounds` rounds.
    pub fn trajectories_after(&self, rounds: u64) -> u64 {
        let draws = rounds.div_ceil(self.reuse.max(1));
        draws.saturating_mul(self.batch as u64)
    }

    /// How much of the averaged weights the update of a round keeps, if they are averaged.
    pub(super) fn average_decay_at(&self, round: u64) -> Option<f64> {
        let counted = self.batch as f64 / self.reuse as f64;
        let half_life = self.average_half_life?;
        Some(average_decay(
            half_life,
            counted,
            counted * (round + 1) as f64,
        ))
    }

    /// The factor of a step's distance.
    pub(super) fn weight_of(&self, step: usize) -> f64 {
        let weights = self.step_weights.as_ref();
        weights.and_then(|w| w.get(step)).copied().unwrap_or(1.0)
    }
}
