//! Prompts to numbers: the tokenizer and the text encoder of CLIP, with which Stable Diffusion 1.x reads.
//! [Radford et al. 2021]
//!
//! A [`Tokenizer`] turns a text into 77 ids, a [`TextEncoder`] these into the context of the diffusion model.

mod bpe;
mod config;
mod encoder;
mod layer;
mod split;
mod tokenizer;
mod vocabulary;

pub use config::TextEncoderConfig;
pub use encoder::TextEncoder;
pub use layer::Activation;
pub(crate) use layer::{Layers, norm};
pub use tokenizer::{Tokenizer, Tokens, Truncation};
pub use vocabulary::Vocabulary;
