//! What a latent model has besides its U-Net.

use super::text::Texts;
use fewstep::import::{AutoencoderFile, Note};

/// What a latent model has besides its U-Net; nothing of it is in memory.
#[derive(Debug, Default)]
pub struct Parts {
    /// The embeddings of its prompts.
    pub texts: Option<Texts>,
    /// Its autoencoder.
    pub autoencoder: Option<AutoencoderFile>,
    /// Where they were.
    pub note: Note,
}
