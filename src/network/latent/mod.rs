//! The U-Net of latent diffusion models. [LDM Sec. 3.2]

mod attention;
mod block;
mod config;
mod fit;
mod level;
mod outline;
mod residual;
mod sizes;
mod transformer;
mod unet;
mod whole;

pub use config::{LatentAttention, LatentUNetConfig};
pub use level::PerLevel;
pub use unet::LatentUNet;
pub(crate) use unet::NAME;
pub(crate) use whole::rows_of_whole;
pub use whole::{Added, PictureSizes, attach_whole};
