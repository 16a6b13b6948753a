//! The student's way through one round, micro-batch by micro-batch.

use super::target::slice;
use super::{Distiller, Target};
use crate::Images;
use crate::denoiser::Condition;
use crate::network::{Dropout, Gathered, gradients};
use crate::sampler::Trajectory;
use crate::solver::{Euler, Evaluation, Solver, Step};
use burn::tensor::Tensor;
use std::ops::Range;

/// Where the student is with the samples that fit into memory together.
pub(super) struct MicroBatch {
    samples: Range<usize>,
    condition: Condition,
    images: Images,
    /// Where each step so far started.
    starts: Vec<Images>,
}

/// Step `index` of a grid.
pub(super) fn step_of(levels: &[f64], index: usize) -> Step {
    Step {
        from: levels[index],
        to: levels[index + 1],
        index,
        count: levels.len() - 1,
    }
}

/// The images of the whole batch.
pub(super) fn images(parts: &[MicroBatch]) -> Images {
    let images = parts.iter().map(|p| p.images.clone());
    Tensor::cat(images.collect(), 0)
}

impl Distiller {
    /// The batch in parts, each at its noise.
    pub(super) fn split(&self, start: &Images, condition: &Condition) -> Vec<MicroBatch> {
        let part = |samples: Range<usize>| MicroBatch {
            condition: condition.samples(&samples),
            images: slice(start, &samples),
            starts: Vec::new(),
            samples,
        };
        let ranges = self.recipe.parts(start.dims()[0]);
        ranges.into_iter().map(part).collect()
    }

    /// Moves one part along step `index`. Returns its share of the batch's mean distance and, if the step is trained,
    /// the gradients.
    pub(super) fn step(
        &self,
        part: &mut MicroBatch,
        target: &Trajectory,
        index: usize,
    ) -> (f64, Option<Vec<Gathered>>) {
        let recipe = &self.recipe;
        let levels = target.grid.levels();
        let batch = target.states[0].dims()[0];
        let last = index + 2 == levels.len();
        let goal = slice(&target.states[index + 1], &part.samples);
        if recipe.target == Target::Local {
            part.images = slice(&target.states[index], &part.samples);
        }
        part.starts.push(part.images.clone());
        let analytic = index == 0 && recipe.analytic_first_step;
        let images = if analytic {
            let now = Evaluation::analytic(part.images.clone(), levels[0]);
            Euler.step(&mut |images, _| images, &[], &now, step_of(levels, 0))
        } else {
            self.walk(part, levels, index)
        };
        let goal = if analytic { goal } else { goal.autodiff() };
        let distance = self.criterion.sum(images.clone(), goal, last);
        let distance = distance.div_scalar(batch as f64);
        let value = distance.clone().into_scalar::<f64>();
        let weight = recipe.weight_of(index);
        let trained = !analytic && weight > 0.0;
        let gathered = (trained && value.is_finite()).then(|| {
            let loss = match weight {
                1.0 => distance,
                other => distance.mul_scalar(other),
            };
            gradients(&self.student.network, &loss.backward())
        });
        part.images = images.without_autodiff();
        (value, gathered)
    }

    /// The end of step `index`, recorded from the start of the earliest step that the gradient goes through.
    fn walk(&self, part: &MicroBatch, levels: &[f64], index: usize) -> Images {
        let free = usize::from(self.recipe.analytic_first_step);
        let first = (index + 1).saturating_sub(self.recipe.gradient_steps);
        let first = first.max(free);
        let mut images = part.starts[first].clone().autodiff();
        for index in first..=index {
            let step = step_of(levels, index);
            let dropout = self.dropout(part, index);
            let mut denoise = |images: Images, sigma: f64| {
                self.student
                    .denoise_each(images, &[sigma], &part.condition, dropout.as_ref())
            };
            let now = Evaluation::of(&mut denoise, images, step.from);
            images = Euler.step(&mut denoise, &[], &now, step);
        }
        images
    }

    /// Each step of a round draws its own masks; a step that is taken again has them again.
    fn dropout(&self, part: &MicroBatch, index: usize) -> Option<Dropout> {
        let first = part.samples.start as u64;
        let draw = || Dropout::new(self.recipe.seed, self.round, first, (index as u64) << 32);
        self.recipe.student_dropout.then(draw)
    }
}
