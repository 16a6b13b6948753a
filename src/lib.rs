#![doc = include_str!("../README.md")]
#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod adapter;
pub mod autoencoder;
mod change;
mod container;
pub mod data;
pub mod denoiser;
pub mod distill;
pub mod error;
pub mod export;
pub mod feature;
mod file;
pub mod golden;
mod graph;
pub mod grid;
pub mod group;
pub mod image;
pub mod import;
mod layer;
mod learner;
pub mod metric;
pub mod model;
pub mod network;
pub mod noise;
pub mod optimizer;
mod parameter;
pub mod prompt;
pub mod request;
pub mod sampler;
pub mod schedule;
mod setting;
pub mod solver;
pub mod teacher;
pub mod text;
pub mod workload;

pub use burn::tensor::Device;
pub use error::Error;
pub use fewstep_kernels::{OrExit, keep_freed_memory};
/// What [`model`] was called before.
#[doc(no_inline)]
pub use model as checkpoint;
pub use request::Request;

/// A batch of images or latents, `[batch, channels, height, width]`.
pub type Images = burn::tensor::Tensor<4>;
