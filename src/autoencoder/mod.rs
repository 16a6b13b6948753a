//! Autoencoders of latent diffusion models: from pictures to small latents, which the diffusion model works on, and back.
//!
//! [`AutoencoderConfig::vq_f4`] and [`AutoencoderConfig::kl_f8`] are the published ones, with the parameter names of the
//! official files (`first_stage_model.`...). `fewstep::import` reads their weights. [LDM Sec. 3.1]

mod block;
mod codebook;
mod config;
mod decoder;
mod encoder;
mod model;
mod norm;
mod tile;

#[cfg(test)]
mod law;

pub use config::{AutoencoderConfig, Bottleneck};
pub(crate) use config::{SCALE_SD, SCALE_XL};
pub use model::{Autoencoder, Encoding};
pub use tile::Tiling;
