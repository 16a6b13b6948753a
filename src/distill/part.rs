//! The part of a batch that fits into memory at a time.

use crate::Images;
use crate::denoiser::Condition;
use crate::solver::Evaluation;
use burn::tensor::Tensor;
use std::ops::Range;

/// Where the student is with the samples that fit into memory together.
pub(super) struct MicroBatch {
    pub(super) samples: Range<usize>,
    pub(super) condition: Condition,
    pub(super) images: Images,
    /// Where each step so far started.
    pub(super) starts: Vec<Images>,
    /// What the student said at the start of each step so far, without gradient, if its solver has a memory.
    pub(super) said: Vec<Evaluation>,
}

impl MicroBatch {
    /// What the student said before step `index`.
    pub(super) fn said_before(&self, index: usize) -> &[Evaluation] {
        &self.said[..index.min(self.said.len())]
    }
}

/// The images of the whole batch.
pub(super) fn images(parts: &[MicroBatch]) -> Images {
    let images = parts.iter().map(|p| p.images.clone());
    Tensor::cat(images.collect(), 0)
}
