//! How to sample from a model in another number of network calls.

use super::card::Card;
use super::kind::Kind;
use super::sampling::Sampling;
use crate::Error;

impl Card {
    /// How to sample with another number of network calls than the card's own.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the range if a student was not distilled for this number, or if no number of
    /// steps of the solver has it.
    pub fn sampling_with(&self, evaluations: usize) -> Result<Sampling, Error> {
        let (wanted, exact) = self.sampling.with_evaluations(evaluations)?;
        let made_for = self.sampling.allowed_steps().contains(&wanted.steps);
        if self.kind == Kind::Student && !(exact && made_for) {
            let (smallest, largest) = self.sampling.allowed_evaluations()?.into_inner();
            let range = match smallest == largest {
                true => format!("{smallest}, the number that this student was distilled for"),
                false => format!("{smallest} to {largest}, which this student was distilled for"),
            };
            return Err(Error::invalid("nfe", evaluations, range));
        }
        self.sampling.with_calls(evaluations)
    }
}

impl Sampling {
    /// The same solver and first step with another number of network calls, whatever a student was distilled for.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the nearest numbers if no number of steps of the solver has it.
    pub fn with_calls(&self, evaluations: usize) -> Result<Self, Error> {
        let (wanted, exact) = self.with_evaluations(evaluations)?;
        if exact {
            return Ok(wanted);
        }
        let solver = self.solver;
        let per_step = solver.build()?.evaluations_per_step();
        let free = usize::from(self.analytic_first_step);
        // Of the numbers that there are, the nearest two.
        let below = (evaluations.saturating_add(free) / per_step).max(1 + free);
        let [less, more] =
            [below, below.saturating_add(1)].map(|steps| steps.saturating_mul(per_step) - free);
        let range = format!(
            "a number that {solver} can have, such as {less} or {more}: {per_step} a step, less {free}"
        );
        Err(Error::invalid("nfe", evaluations, range))
    }

    /// The number of steps that comes nearest to so many calls, and whether it has just so many.
    fn with_evaluations(&self, evaluations: usize) -> Result<(Self, bool), Error> {
        let per_step = self.solver.build()?.evaluations_per_step();
        let free = usize::from(self.analytic_first_step);
        let wanted = Self {
            steps: evaluations.saturating_add(free) / per_step,
            ..self.clone()
        };
        let exact = evaluations > 0 && wanted.evaluations()? == evaluations;
        Ok((wanted, exact))
    }
}
