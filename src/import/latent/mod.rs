//! What files of latent networks have in common, whoever named their tensors.

pub(super) mod card;
pub(super) mod published;
