//! What a latent model has besides its U-Net: its autoencoder and, where it takes a text, its text encoder and vocabulary.

mod note;
mod place;
mod search;

pub use note::{NOTE, Note};
pub use place::places;
pub use search::Parts;
