//! The U-Net of latent diffusion models. [LDM Sec. 3.2]

mod attention;
mod config;
mod fit;
mod outline;
mod residual;
mod sizes;
mod transformer;
mod unet;

pub use config::{LatentAttention, LatentUNetConfig};
pub use unet::LatentUNet;
pub(crate) use unet::NAME;
