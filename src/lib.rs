#![doc = include_str!("../README.md")]
//!
//! # The crate at a glance
//!
//! The pages named above (`docs/...`) are files of the repository. Of the crate,
//!
//! | to | take |
//! | --- | --- |
//! | read a model file and draw from it | [`model::Model`] for ours, [`import::open`] for any kind, and [`Request`]; [`import::Parts`] finds what a latent model needs besides |
//! | ask the network itself, or sample in a way of your own | [`denoiser::Denoiser`], [`sampler::Sampler`], [`solver::Solver`], [`grid::SigmaGrid`] |
//! | distil a teacher | [`distill::Recipe`], [`distill::TrajectorySource`], [`distill::Distiller`] |
//! | train a teacher | [`teacher`], with images of [`data`] |
//! | measure | [`metric`], with features of [`feature`] |
//! | write files for others | [`export`], [`adapter`], [`image`] |
//!
//! Everything that can fail gives one [`Error`], named after what is to be mended. Nothing prints, and no device is chosen: a
//! [`Device`] is given, and [`Device::flex`] is the processor.
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
pub mod transfer;
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
