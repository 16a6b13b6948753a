//! What every kind of network says about itself: all that the dispatch in `mod.rs` asks.
//!
//! None of these has an answer by default: what is right for one kind is not passed on to the next unasked.

use super::inputs::{Inputs, Told};
use super::step::StepUse;
use super::trace::{TracedInputs, TracedTold};
use super::walk::Walk;
use crate::graph::Graph;
use crate::parameter::{Key, Keys};
use crate::{Error, Images};
use burn::tensor::{DType, Device, Tensor};

/// Sizes of a network; all but `check` and the two that change something want them checked.
pub(crate) trait Sizes {
    /// [`Error::InvalidValue`] naming a field that does not fit.
    fn check(&self) -> Result<(), Error>;
    /// `[channels, height, width]` of the images, or latents, that it was made for.
    fn image_shape(&self) -> [usize; 3];
    /// Whether it takes images of `[channels, height, width]`.
    fn takes(&self, shape: [usize; 3]) -> bool;
    /// Number of classes; 0 without that input.
    fn classes(&self) -> usize;
    /// Length of the augmentation label; 0 without that input.
    fn augment_labels(&self) -> usize;
    /// Width of the tokens of a text; `None` without that input.
    fn context_width(&self) -> Option<usize>;
    /// Whether the step branch exists.
    fn step_branch(&self) -> bool;
    /// What a block does with the step condition.
    fn step_use(&self) -> StepUse;
    /// Multiply-adds of one forward pass of one image.
    fn multiply_adds(&self) -> u64;
    /// Every entry of the state dict.
    fn keys(&self) -> Vec<Key>;
    /// The numbers of each constant filter, row-major; none without them.
    fn filter(&self) -> Vec<f32>;
    /// The numbers of a constant that official files hold besides the parameters, row-major.
    fn constant(&self, key: &Key) -> Vec<f32>;
    /// Adds the step branch, or takes it away.
    fn set_step_branch(&mut self, step_branch: bool);
    /// Another dropout rate.
    fn set_dropout(&mut self, dropout: f64);
}

/// A network with its weights.
pub(crate) trait Parts {
    /// What is known about its parameters.
    fn keys(&self) -> &Keys;
    /// What all parts are told of these images.
    fn tell<'a>(&self, images: &Images, inputs: Inputs<'a>) -> Told<'a>;
    /// [`tell`](Self::tell) in a graph.
    fn trace(&self, graph: &mut Graph, inputs: &TracedInputs) -> TracedTold;
    /// The way from images to the raw output.
    fn walk(&self) -> Walk<'_>;
    /// What the blocks are told for a number of timestamps, `[1, embedding]`; `None` without a step branch.
    /// [SFD Sec. 3.3]
    fn step_embedding(&self, timestamps: usize, dtype: DType, device: &Device)
    -> Option<Tensor<2>>;
}
