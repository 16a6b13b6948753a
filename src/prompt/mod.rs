//! Prompts: lists of them in files, and their embeddings on disk, so that training holds no text encoder.

mod embedding;
mod list;

pub use embedding::{EmbeddingCache, EmbeddingType, Embeddings, Usage};
pub use list::{read, read_text};
