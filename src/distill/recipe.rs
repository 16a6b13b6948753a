//! The settings of a distillation.

use super::Distance;
use crate::Error;
use crate::checkpoint::Sampling;
use crate::grid::{SigmaGrid, Spacing};
use crate::optimizer::AdamConfig;
use crate::solver::SolverConfig;
use serde::{Deserialize, Serialize};

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
    /// Trajectories in memory at once while training; the result is that of the whole batch. All if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Steps of the student, N - 1 in the paper's notation.
    pub steps: usize,
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
    /// What is minimised between student and teacher.
    pub distance: Distance,
    /// Learning rate of Adam.
    pub learning_rate: f64,
    /// Part of the run after which the learning rate is a tenth, in (0, 1]; 1 keeps it.
    pub learning_rate_drop: f64,
    /// Whether the student's dropout is active while it trains, as in the official code.
    pub student_dropout: bool,
    /// Adam's constants.
    pub adam: AdamConfig,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            seed: 0,
            trajectories: 200_000,
            batch: 128,
            micro_batch: None,
            steps: 3,
            substeps: 4,
            spacing: Spacing::default(),
            sigma_max: 80.0,
            sigma_min: 0.006,
            analytic_first_step: true,
            teacher_solver: SolverConfig::default(),
            distance: Distance::L1,
            learning_rate: 5e-5,
            learning_rate_drop: 0.5,
            student_dropout: true,
            adam: AdamConfig::default(),
        }
    }
}

impl Recipe {
    /// Checks every value and their combination.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming key, value and range, or [`Error::Incompatible`].
    pub fn check(&self) -> Result<(), Error> {
        let positive = |name: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(Error::invalid(name, value, "positive"))
            }
        };
        positive("trajectories", self.trajectories as f64)?;
        positive("batch", self.batch as f64)?;
        positive("micro-batch", self.micro_batch.unwrap_or(1) as f64)?;
        positive("steps", self.steps as f64)?;
        positive("substeps", self.substeps as f64)?;
        positive("learning-rate", self.learning_rate)?;
        positive("learning-rate-drop", self.learning_rate_drop)?;
        if self.learning_rate_drop > 1.0 {
            let value = self.learning_rate_drop;
            return Err(Error::invalid("learning-rate-drop", value, "in (0, 1]"));
        }
        self.adam.check()?;
        self.teacher_solver.build()?;
        self.spacing.check()?;
        let Some(search) = self.spacing.to_search() else {
            self.teacher_grid()?;
            return self.sampling().check();
        };
        // All that can be said before the search: it chooses from this grid.
        let rule = &search.spacing;
        rule.grid(search.candidates, self.sigma_min, self.sigma_max)?;
        if self.steps > search.candidates {
            let expected = format!("at most {}, the search's candidates", search.candidates);
            return Err(Error::invalid("steps", self.steps, expected));
        }
        let spacing = (**rule).clone();
        let stand_in = Sampling {
            spacing,
            ..self.sampling()
        };
        stand_in.check()
    }

    /// How to sample from the student: Euler along the grid it is trained on. [SFD Sec. 3.2]
    pub fn sampling(&self) -> Sampling {
        Sampling {
            solver: SolverConfig::Euler {},
            steps: self.steps,
            spacing: self.spacing.settled(),
            sigma_max: self.sigma_max,
            sigma_min: self.sigma_min,
            analytic_first_step: self.analytic_first_step,
            step_condition: false,
        }
    }

    /// The teacher's noise levels; every `substeps`-th is one of the student's.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for an empty range, [`Error::Incompatible`] if the levels are still to be
    /// [`searched`](Self::searched) for.
    pub fn teacher_grid(&self) -> Result<SigmaGrid, Error> {
        let steps = self.steps * self.substeps;
        self.spacing.grid(steps, self.sigma_min, self.sigma_max)
    }

    /// Rounds in the whole run.
    pub fn rounds(&self) -> u64 {
        self.trajectories.div_ceil(self.batch as u64)
    }

    /// The learning rate of a round, counted from 0. The official code looks at the count of the round *before*
    /// the last when it decides on the drop, and so do we. [SFD App. B]
    pub fn learning_rate_at(&self, round: u64) -> f64 {
        let looked_at = round.saturating_sub(1) * self.batch as u64;
        let dropped = looked_at as f64 >= self.learning_rate_drop * self.trajectories as f64;
        if round > 0 && dropped {
            self.learning_rate / 10.0
        } else {
            self.learning_rate
        }
    }
}
