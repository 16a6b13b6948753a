//! The model that a case describes.

mod denoiser;
mod edm;
mod latent;

pub(super) use denoiser::{
    condition, configuration, denoiser, levels, numbers, trainable, with_whole,
};
pub(super) use latent::{guidance, is_latent_unet, table};
