//! A model: a card that says what it is and how to sample from it, and its weights, in one safetensors file.
//!
//! Weights lie under their official names; the card is JSON in the header's metadata, key `fewstep`. Nothing in a file is
//! ever executed.

mod adaptation;
mod answer;
mod card;
mod class;
mod evaluation;
mod file;
mod fold;
mod kind;
mod sampling;
mod state;
mod whole;

pub use crate::file::{hash_bytes, hash_file, write_atomically};
pub use adaptation::Adaptation;
pub use answer::{Answer, Latent};
pub use card::Card;
pub use file::File;
pub use kind::{Kind, kind_name};
pub use sampling::Sampling;
pub(crate) use sampling::{check_guidance, is_unguided};
pub use state::{Progress, State};
pub(crate) use state::{card_of_state, same_data};
pub use whole::Model;
pub(crate) use whole::{IN_MEMORY, recipe_json};
