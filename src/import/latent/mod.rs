//! What files of latent networks have in common, whoever named their tensors.

pub(super) mod card;
mod predicts;
pub(super) mod published;

pub use predicts::Predicts;
