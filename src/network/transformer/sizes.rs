//! What diffusion transformers say about their sizes.

use super::config::{INNER, TransformerConfig};
use super::network::DiffusionTransformer;
use super::position::positions;
use crate::Error;
use crate::network::family::Sizes;
use crate::network::step::StepUse;
use crate::parameter::Key;

impl Sizes for TransformerConfig {
    fn check(&self) -> Result<(), Error> {
        self.check()
    }

    fn image_shape(&self) -> [usize; 3] {
        [self.channels, self.resolution, self.resolution]
    }

    fn takes(&self, shape: [usize; 3]) -> bool {
        self.image_shape() == shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn augment_labels(&self) -> usize {
        0
    }

    fn context_width(&self) -> Option<usize> {
        None
    }

    fn step_branch(&self) -> bool {
        self.step_branch
    }

    fn step_use(&self) -> StepUse {
        StepUse::Added
    }

    fn multiply_adds(&self) -> u64 {
        let tokens = (self.side() * self.side()) as u128;
        let (width, numbers) = (self.width as u128, self.numbers() as u128);
        let attention = 4 * width * width + 2 * tokens * width;
        let block = tokens * (attention + 2 * INNER as u128 * width * width);
        let sum = self.depth as u128 * block + 2 * tokens * width * numbers;
        u64::try_from(sum).unwrap_or(u64::MAX)
    }

    fn keys(&self) -> Vec<Key> {
        DiffusionTransformer::listed(self)
    }

    fn filter(&self) -> Vec<f32> {
        Vec::new()
    }

    /// The only one is where the tokens are.
    fn constant(&self, _: &Key) -> Vec<f32> {
        positions(self.side(), self.width)
    }

    fn set_step_branch(&mut self, step_branch: bool) {
        self.step_branch = step_branch;
    }

    fn set_dropout(&mut self, dropout: f64) {
        self.dropout = dropout;
    }
}
