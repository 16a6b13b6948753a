//! What latent models need besides their U-Net: an autoencoder and, where they take a text, a text encoder and its
//! vocabulary. Each is looked for only when it is needed, and is gone before the next large thing is loaded.

mod decode;
mod finder;
mod part;
mod text;
mod told;
mod training;

pub use decode::{Size, decode};
pub use finder::{Finder, NOTE, PartArgs};
pub use part::Parts;
pub use text::{Negative, PromptArgs, Texts, Wanted};
pub use told::ToldArgs;
pub use training::{TrainingArgs, stand_in};
