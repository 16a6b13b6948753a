//! The parts of a latent model besides its network, its autoencoder and, where it takes a text, its text encoder and vocabulary: each
//! in a file of its own here, and where they are found.

mod autoencoder;
mod note;
mod place;
mod search;
mod sought;
mod text;

pub use autoencoder::AutoencoderFile;
pub(crate) use autoencoder::{UNCHANGED_SCALE, official};
pub use note::{NOTE, Note};
pub use place::places;
pub use search::Parts;
pub use text::TextEncoderFile;
pub(crate) use text::{Family, Naming, Origins, from_names};
