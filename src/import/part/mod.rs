//! The parts of a latent model besides its network, each in a file of its own here.

mod autoencoder;
mod sought;
mod text;

pub use autoencoder::AutoencoderFile;
pub(crate) use autoencoder::official;
pub use text::TextEncoderFile;
pub(crate) use text::{Naming, Origins, from_names};
