//! Parts of latent diffusion models.

pub(super) mod autoencoder;
pub(super) mod family;
pub(super) mod text_encoder;
pub(super) mod tokenizer;
pub(super) mod whole;
