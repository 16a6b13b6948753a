#![doc = include_str!("../README.md")]
#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod denoiser;
pub mod error;
pub mod grid;
pub mod noise;
pub mod sampler;
pub mod solver;

pub use error::Error;

/// A batch of images or latents, `[batch, channels, height, width]`.
pub type Images = burn::tensor::Tensor<4>;
