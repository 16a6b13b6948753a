//! What latent U-Nets say about their sizes.

use super::config::LatentUNetConfig;
use super::unet::LatentUNet;
use crate::Error;
use crate::network::family::Sizes;
use crate::network::step::StepUse;
use crate::parameter::Key;

impl Sizes for LatentUNetConfig {
    fn check(&self) -> Result<(), Error> {
        self.check()
    }

    fn image_shape(&self) -> [usize; 3] {
        [self.channels, self.resolution, self.resolution]
    }

    /// Latents of any size whose sides can be halved as often as it does it.
    fn takes(&self, [channels, height, width]: [usize; 3]) -> bool {
        let factor = self.factor();
        let halves = |side: usize| side > 0 && side.is_multiple_of(factor);
        channels == self.channels && halves(height) && halves(width)
    }

    fn classes(&self) -> usize {
        0
    }

    fn augment_labels(&self) -> usize {
        0
    }

    fn context_width(&self) -> Option<usize> {
        self.context_width()
    }

    fn step_branch(&self) -> bool {
        self.step_branch
    }

    fn step_use(&self) -> StepUse {
        StepUse::Added
    }

    fn multiply_adds(&self) -> u64 {
        self.multiply_adds()
    }

    fn keys(&self) -> Vec<Key> {
        LatentUNet::listed(self)
    }

    fn filter(&self) -> Vec<f32> {
        Vec::new()
    }

    fn constant(&self, _: &Key) -> Vec<f32> {
        Vec::new()
    }

    fn set_step_branch(&mut self, step_branch: bool) {
        self.step_branch = step_branch;
    }

    fn set_dropout(&mut self, dropout: f64) {
        self.dropout = dropout;
    }
}
