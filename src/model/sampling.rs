//! How to sample from a model, as its card says.

use crate::Error;
use crate::grid::{SigmaGrid, Spacing};
use crate::solver::SolverConfig;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// How to sample from a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sampling {
    /// The solver.
    pub solver: SolverConfig,
    /// Number of steps.
    pub steps: usize,
    /// How the noise levels are spaced.
    pub spacing: Spacing,
    /// Largest noise level.
    pub sigma_max: f64,
    /// Smallest noise level; sampling ends there.
    pub sigma_min: f64,
    /// Whether the first step is taken without asking the model.
    pub analytic_first_step: bool,
    /// Whether the network is told the number of timestamps, N = steps + 1. [SFD Sec. 3.3]
    #[serde(default)]
    pub step_condition: bool,
    /// The smallest and the largest number of steps that the model was distilled for, where there is more than one;
    /// `steps` is then the number to use if none is asked for. [SFD Sec. 3.3]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_range: Option<[usize; 2]>,
    /// How closely a class or a text is followed; 1 is no guidance, and any other weight doubles the work of a call.
    /// [CFG Eq. 6]
    #[serde(default = "unguided", skip_serializing_if = "is_unguided")]
    pub guidance: f64,
}

/// The weight that guides nowhere.
fn unguided() -> f64 {
    1.0
}

// Serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn is_unguided(weight: &f64) -> bool {
    *weight == 1.0
}

/// Checks the weight of a guidance.
pub(crate) fn check_guidance(name: &str, weight: f64) -> Result<(), Error> {
    if weight.is_finite() && weight >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid(name, weight, "0 or more; 1 is no guidance"))
}

impl Sampling {
    /// Checks every value, and that the network is called at all.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] or [`Error::Incompatible`].
    pub fn check(&self) -> Result<(), Error> {
        self.grid()?;
        self.solver.build()?;
        check_guidance("guidance", self.guidance)?;
        let range = self.allowed_steps();
        if range.is_empty() || *range.start() == 0 {
            let value = format!("{:?}", self.step_range.unwrap_or_default());
            let expected = "two positive numbers, the smaller one first";
            return Err(Error::invalid("step-range", value, expected));
        }
        if self.steps.min(*range.start()) == 1 && self.analytic_first_step {
            return Err(Error::Incompatible {
                first: "steps = 1".into(),
                second: "analytic-first-step = true".into(),
                remedy: "the only step would not call the network; take 2 steps or more".into(),
            });
        }
        Ok(())
    }

    /// The noise levels.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for no steps or a range that is empty.
    pub fn grid(&self) -> Result<SigmaGrid, Error> {
        self.spacing
            .grid(self.steps, self.sigma_min, self.sigma_max)
    }

    /// The numbers of steps that the model was made for: `step_range`, or `steps` alone.
    pub fn allowed_steps(&self) -> RangeInclusive<usize> {
        let [smallest, largest] = self.step_range.unwrap_or([self.steps; 2]);
        smallest..=largest
    }

    /// Network calls for one batch, called NFE in the literature.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the solver cannot be built.
    pub fn evaluations(&self) -> Result<usize, Error> {
        let solver = self.solver.build()?;
        Ok(solver.evaluations(self.steps, self.analytic_first_step))
    }

    /// The smallest and the largest number of network calls that the model was made for.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the solver cannot be built.
    pub fn allowed_evaluations(&self) -> Result<RangeInclusive<usize>, Error> {
        let solver = self.solver.build()?;
        let of = |steps: usize| solver.evaluations(steps, self.analytic_first_step);
        let steps = self.allowed_steps();
        Ok(of(*steps.start())..=of(*steps.end()))
    }

    /// What the network is told of the number of steps: the number of *timestamps*, if anything. [SFD Sec. 3.3]
    pub fn told_steps(&self) -> Option<usize> {
        self.step_condition.then_some(self.steps + 1)
    }
}
