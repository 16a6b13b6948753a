//! What a latent network was trained to predict.

use crate::container::Checkpoint;
use crate::denoiser::Preconditioning;
use crate::grid::LogAlphaTable;

/// What a network of a discrete-time model says of what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predicts {
    /// The noise, called epsilon elsewhere.
    Noise,
    /// The velocity: Stable Diffusion 2.0 and 2.1 for 768 pixels, and fine-tunes.
    Velocity,
}

impl Predicts {
    /// With the noise levels that it was trained on.
    pub(in crate::import) fn on(self, table: LogAlphaTable) -> Preconditioning {
        match self {
            Self::Noise => Preconditioning::Discrete(table),
            Self::Velocity => Preconditioning::Velocity(table),
        }
    }

    /// What is known of a file better than it says itself.
    pub(in crate::import) fn known(file: &Checkpoint) -> Option<Self> {
        file.velocity.map(|velocity| match velocity {
            false => Self::Noise,
            true => Self::Velocity,
        })
    }
}

impl Checkpoint {
    /// The same file, whose network predicts this, whatever it says itself.
    #[must_use]
    pub fn predicting(mut self, predicts: Predicts) -> Self {
        self.velocity = Some(predicts == Predicts::Velocity);
        self
    }
}
