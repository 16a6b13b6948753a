//! DPM-Solver-2.

use super::{Evaluation, Solver, Step};
use crate::Images;

/// An Euler step to the geometric mean of the two levels, then the whole step with the slope found there: the
/// published method with r = 1/2, whose weight for the first slope is 0. [DPM-Solver Alg. 1]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dpm2;

impl Solver for Dpm2 {
    fn order(&self) -> usize {
        2
    }

    fn evaluations_per_step(&self) -> usize {
        2
    }

    fn step(
        &self,
        denoise: &mut dyn FnMut(Images, f64) -> Images,
        _past: &[Evaluation],
        now: &Evaluation,
        step: Step,
    ) -> Images {
        let middle = (step.from * step.to).sqrt();
        let middle = Evaluation::of(denoise, now.advance(middle), middle);
        now.images.clone() + middle.scaled_direction(step.to - step.from)
    }
}
