//! The part of a batch that fits into memory at a time.

use crate::denoiser::Condition;
use crate::solver::Evaluation;
use crate::{Images, transfer};
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

/// The images of all parts that are computed here.
pub(super) fn images(parts: &[Option<MicroBatch>]) -> Images {
    let images = parts.iter().flatten().map(|p| p.images.clone());
    Tensor::cat(images.collect(), 0)
}

/// Some samples of a batch.
pub(super) fn slice(images: &Images, samples: &Range<usize>) -> Images {
    let [_, c, h, w] = images.dims();
    images.clone().slice([samples.clone(), 0..c, 0..h, 0..w])
}

/// Whether every number is.
pub(super) fn is_finite(images: &Images) -> bool {
    transfer::number(images.clone().abs().sum()).is_finite()
}
