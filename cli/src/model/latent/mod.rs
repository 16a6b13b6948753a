//! What latent models need besides their U-Net: an autoencoder and, where they take a text, a text encoder and its
//! vocabulary. Each is looked for only when it is needed, and is gone before the next large thing is loaded.

mod decode;
mod finder;
mod part;
mod text;
mod training;

pub use decode::{Size, decode};
pub use finder::{Finder, NOTE, PartArgs};
pub use part::Parts;
pub use text::{PromptArgs, Texts, Wanted};
pub use training::{TrainingArgs, stand_in};

use fewstep::model::Card;

/// Whether a model makes latents, which an autoencoder turns into pictures: those of discrete noise levels do.
pub fn is_latent(card: &Card) -> bool {
    card.is_latent()
}

/// Whether a model takes a text.
pub fn takes_text(card: &Card) -> bool {
    card.takes_text()
}
