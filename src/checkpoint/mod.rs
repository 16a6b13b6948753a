//! Our file format: one safetensors file that describes itself.
//!
//! Weights lie under their official names; the card (what the model is and how to sample from it) is JSON in the
//! header's metadata, key `fewstep`. Nothing in a file is ever executed.

mod card;
mod class;
mod file;
mod fold;
mod state;

pub use crate::file::{hash_bytes, hash_file, write_atomically};
pub use card::{Card, Kind, Model, Sampling, kind_name};
pub(crate) use card::{IN_MEMORY, check_guidance, is_unguided, recipe_json};
pub use file::File;
pub use state::{Progress, State};
pub(crate) use state::{card_of_state, same_data};
