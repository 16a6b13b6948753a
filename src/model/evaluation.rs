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
        let sampling = &self.sampling;
        let per_step = sampling.solver.build()?.evaluations_per_step();
        let free = usize::from(sampling.analytic_first_step);
        let wanted = Sampling {
            steps: evaluations.saturating_add(free) / per_step,
            ..sampling.clone()
        };
        let exact = evaluations > 0 && wanted.evaluations()? == evaluations;
        let made_for = sampling.allowed_steps().contains(&wanted.steps);
        if self.kind == Kind::Student && !(exact && made_for) {
            let (smallest, largest) = sampling.allowed_evaluations()?.into_inner();
            let range = match smallest == largest {
                true => format!("{smallest}, the number that this student was distilled for"),
                false => format!("{smallest} to {largest}, which this student was distilled for"),
            };
            return Err(Error::invalid("nfe", evaluations, range));
        }
        if !exact {
            let solver = sampling.solver;
            // Of the numbers that there are, the nearest two.
            let below = (evaluations.saturating_add(free) / per_step).max(1 + free);
            let [less, more] =
                [below, below.saturating_add(1)].map(|steps| steps.saturating_mul(per_step) - free);
            let range = format!(
                "a number that {solver} can have, such as {less} or {more}: {per_step} a step, less {free}"
            );
            return Err(Error::invalid("nfe", evaluations, range));
        }
        Ok(wanted)
    }
}
