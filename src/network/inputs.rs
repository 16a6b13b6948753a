//! What a network is told besides the images.

use crate::layer::{Dropout, fork};
use burn::tensor::Tensor;

/// What goes into a network besides the images.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// The noise condition (c_noise; in latent networks the time), one value for all images or one per image.
    pub noise: &'a [f64],
    /// One-hot class labels `[batch, classes]`; `None` means zeros.
    pub labels: Option<&'a Tensor<2>>,
    /// Augmentation labels `[batch, 9]`; `None` leaves the branch out.
    pub augment: Option<&'a Tensor<2>>,
    /// The tokens of a text, `[batch or 1, tokens, width]`; `None` is one token of zeros.
    pub context: Option<&'a Tensor<3>>,
    /// Number of timestamps; `None` leaves the step branch out.
    pub steps: Option<usize>,
    /// Dropout masks while training; `None` for none.
    pub dropout: Option<&'a Dropout>,
}

impl Inputs<'_> {
    /// Whether each image is told something of its own, even if it is alone.
    pub(crate) fn each(&self) -> bool {
        self.noise.len() > 1 || self.labels.is_some() || self.augment.is_some()
    }
}

/// What all parts are told.
#[derive(Clone, Debug)]
pub(crate) struct Told<'a> {
    /// The embedding of noise level or time, class and augmentation, `[b or 1, embedding]`, through SiLU.
    pub(crate) time: Tensor<2>,
    /// Whether each sample has a row of its own in it; else one row serves all.
    pub(crate) each: bool,
    /// That of the number of timestamps, `[1, embedding]`, through SiLU.
    pub(crate) step: Option<Tensor<2>>,
    /// The tokens of the text, `[b, tokens, width]`.
    pub(crate) context: Option<Tensor<3>>,
    pub(crate) dropout: Option<&'a Dropout>,
}

impl<'a> Told<'a> {
    /// What a network without a text is told: `time`, and the embedding that `step` makes of a number of timestamps.
    pub(crate) fn of(
        time: Tensor<2>,
        inputs: Inputs<'a>,
        step: impl FnOnce(usize) -> Option<Tensor<2>>,
    ) -> Self {
        Self {
            time,
            each: inputs.each(),
            step: inputs.steps.and_then(step),
            context: None,
            dropout: inputs.dropout,
        }
    }
}

impl Told<'_> {
    /// The same for each of `count` parts, the first part's last. Each is a fork of that of the part behind it, so that
    /// the gradients that the parts find are added up from the first part on.
    pub(super) fn chained(&self, count: usize) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::with_capacity(count);
        for _ in 0..count {
            let behind = all.last().unwrap_or(self);
            all.push(Self {
                time: fork(behind.time.clone()),
                step: behind.step.clone().map(fork),
                ..self.clone()
            });
        }
        all
    }
}
