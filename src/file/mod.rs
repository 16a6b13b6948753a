//! What every file has in common, whatever is in it: it is written whole or not at all, and it has a hash.

mod atomic;
mod folder;
mod hash;

pub use atomic::write_atomically;
pub(crate) use atomic::{replace_file, write_in_parts};
pub(crate) use folder::replace_folder;
pub use hash::{hash_bytes, hash_file};
pub(crate) use hash::{hexadecimal, short};

/// The key of our JSON text, such as a model's card, in the header of a safetensors file.
pub(crate) const CARD: &str = "fewstep";
