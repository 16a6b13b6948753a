//! Heun's method.

use super::{Evaluation, Solver, Step};
use crate::Images;

/// An Euler step, then the same step again with the mean of the slopes at its two ends. [EDM Alg. 1]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heun;

impl Solver for Heun {
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
        let end = Evaluation::of(denoise, now.advance(step.to), step.to);
        let half = 0.5 * (step.to - step.from);
        now.images.clone() + now.scaled_direction(half) + end.scaled_direction(half)
    }
}
