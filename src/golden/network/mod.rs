//! What networks answer, and their gradients.

pub(super) mod adapter;
pub(super) mod edm;
pub(super) mod latent;
mod loss;
