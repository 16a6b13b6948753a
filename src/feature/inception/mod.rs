//! The Inception network that published Frechet distances and inception scores are measured with: the TensorFlow graph of
//! 2015-12-05, in the names of its PyTorch port. [Szegedy et al. 2016; Heusel et al. 2017]
//!
//! It differs from torchvision's network of the same name: means of neighbouring pixels leave out what is beyond the edge,
//! and the last block takes a maximum instead. Batch norms are folded into the weights before them.

mod block;
mod extractor;
mod formula;
mod layer;
mod network;
mod resize;
mod weight;

pub use extractor::{FEATURES, Inception, LOGITS, Stages};
pub use formula::formula;
pub use layer::{Layer, layers};
pub use resize::Resize;
