//! Euler's method, which for diffusion models is also DDIM.

use super::{Evaluation, Solver, Step};
use crate::Images;

/// Follows the slope at the start of the step. Every student is sampled with it. [SFD Alg. 2]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Euler;

impl Solver for Euler {
    fn order(&self) -> usize {
        1
    }

    fn step(
        &self,
        _denoise: &mut dyn FnMut(Images, f64) -> Images,
        _past: &[Evaluation],
        now: &Evaluation,
        step: Step,
    ) -> Images {
        now.advance(step.to)
    }
}
