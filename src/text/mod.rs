//! Prompts to numbers: the tokenizer and the text encoders of CLIP, with which Stable Diffusion reads.
//! [Radford et al. 2021]
//!
//! A [`Tokenizer`] turns a text into 77 ids, a [`TextEncoder`] these into numbers, and a [`TextReader`] of one encoder or two
//! makes the context of the diffusion model.

mod bpe;
mod config;
mod encoder;
mod layer;
mod reader;
mod split;
mod tokenizer;
mod vocabulary;

pub use config::TextEncoderConfig;
pub use encoder::TextEncoder;
pub use layer::Activation;
pub(crate) use layer::{Layers, norm};
pub use reader::{Half, Taken, TextReader};
pub use tokenizer::{Padding, Tokenizer, Tokens, Truncation};
pub use vocabulary::Vocabulary;
