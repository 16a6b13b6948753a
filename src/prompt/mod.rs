//! Prompts: lists of them in files, and their embeddings: a few in memory, or on disk, so that training
//! holds no text encoder.

mod embedding;
mod held;
mod list;
mod markup;
mod record;

pub use embedding::{EmbeddingCache, EmbeddingType, Embeddings, Usage};
pub use held::embed;
pub use list::{read, read_text};
pub use markup::markup;
