//! From a model to images: how it is sampled, and what a latent one needs besides.

pub mod generate;
pub mod latent;
pub mod levels;
pub mod sampling;
pub mod seeds;
pub mod source;
