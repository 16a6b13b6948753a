//! What networks answer, and their gradients.

pub(super) mod adapter;
pub(super) mod edm;
mod gradients;
pub(super) mod latent;
