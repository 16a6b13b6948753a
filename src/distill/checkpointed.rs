//! The student's steps with gradient checkpointing: the network runs with nothing recorded, and its parts once more when
//! their gradients are computed. [Chen et al. 2016]

use super::Distiller;
use super::part::MicroBatch;
use crate::Images;
use crate::denoiser::Call;
use crate::network::{Dropout, Gathered, Recorded};
use crate::solver::{Evaluation, Solver, Step};

/// A step that was taken.
pub(super) struct Taken {
    start: Images,
    /// What the solver goes on from, without gradient.
    past: Vec<Evaluation>,
    /// The network's answer.
    raw: Images,
    recorded: Recorded,
    call: Call,
    step: Step,
    dropout: Option<Dropout>,
}

impl Taken {
    /// Where the step ends, from the start and the network's answer.
    fn end(
        &self,
        solver: &dyn Solver,
        past: &[Evaluation],
        start: Images,
        raw: Images,
    ) -> (Evaluation, Images) {
        let mut denoise = |images: Images, _| self.call.leave(images, raw.clone());
        let now = Evaluation::of(&mut denoise, start, self.step.from);
        let end = solver.step(&mut |images, _| images, past, &now, self.step);
        (now, end)
    }
}

impl Distiller {
    /// The end of step `index`, without autodiff, and the steps that its gradient goes through.
    pub(super) fn record(
        &self,
        part: &mut MicroBatch,
        levels: &[f64],
        index: usize,
    ) -> (Images, Vec<Taken>) {
        let network = &self.student().network;
        let first = self.first_step(index);
        let mut images = part.starts[first].clone();
        let mut said = part.said_before(first).to_vec();
        let mut taken = Vec::new();
        for index in first..=index {
            let step = Step::of(levels, index);
            let call = self.student().call(&[step.from]);
            let dropout = self.dropout(part, index);
            let inputs = call.inputs(&part.condition, dropout.as_ref());
            let (raw, recorded) = network.record(call.enter(images.clone()), inputs);
            let now = Taken {
                start: images,
                past: self.remembered(&said).to_vec(),
                raw,
                recorded,
                call,
                step,
                dropout,
            };
            let (start, raw) = (now.start.clone(), now.raw.clone());
            let (evaluation, end) = now.end(self.solver.as_ref(), &now.past, start, raw);
            images = end;
            said.push(evaluation);
            taken.push(now);
        }
        if let Some(now) = said.pop() {
            self.remember(part, now);
        }
        (images, taken)
    }

    /// Adds the gradients of the parameters to `sum`, given that of the end of the last step.
    pub(super) fn replay(
        &self,
        part: &MicroBatch,
        taken: Vec<Taken>,
        mut gradient: Images,
        sum: &mut Option<Vec<Gathered>>,
    ) {
        let leaf = |images: &Images| images.clone().autodiff().require_grad();
        for mut now in taken.into_iter().rev() {
            let (start, raw) = (leaf(&now.start), leaf(&now.raw));
            let past = now.past.iter().map(|e| e.clone().map(Images::autodiff));
            let past: Vec<_> = past.collect();
            let (_, end) = now.end(self.solver.as_ref(), &past, start.clone(), raw.clone());
            let mut found = (end * gradient.autodiff()).sum().backward();
            let Some(of_raw) = raw.grad_remove(&mut found) else {
                return;
            };
            let aside = start.grad_remove(&mut found);
            let recorded = std::mem::take(&mut now.recorded);
            let inputs = now.call.inputs(&part.condition, now.dropout.as_ref());
            let network = &self.student().network;
            let of_input = network.backward(recorded, inputs, of_raw, sum);
            let start = leaf(&now.start);
            let mut found = (now.call.enter(start.clone()) * of_input.autodiff())
                .sum()
                .backward();
            gradient = match (start.grad_remove(&mut found), aside) {
                (Some(a), Some(b)) => a + b,
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => return,
            };
        }
    }
}
