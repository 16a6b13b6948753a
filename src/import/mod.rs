//! Weights from elsewhere: EDM and SFD pickles, torch files and safetensors, read as data.
//!
//! Nothing in a file is executed: a pickle is read as a description, and the names that it mentions must be on a short list.
//! Tensors stay in the file until they are asked for.
//!
//! [`open`] reads a model file of any kind; [`Checkpoint`] is what is known about one; [`globals`] lists the names that
//! a file mentions without loading it; [`Export`] writes a checkpoint as our file, or for PyTorch. [`AutoencoderFile`] and
//! [`TextEncoderFile`] find the parts of latent diffusion models in a file or folder, [`Parts`] those of a model.

mod average;
mod card;
mod compvis;
pub(crate) mod diffusers;
mod edm;
mod folder;
mod foreign;
mod kind;
mod known;
mod latent;
mod matched;
mod open;
pub(crate) mod part;
mod provenance;
mod setting;

pub use crate::container::{
    Array, Checkpoint, Format, Global, Scalar, TensorInfo, globals, globals_in, pickled_arrays,
};
// The same by the path that it had before it was a module of its own.
pub use crate::export::{Export, Layout, diffusers_settings};
pub use diffusers::{FILE as DIFFUSERS_FILE, SETTINGS as DIFFUSERS_SETTINGS};
pub use latent::Predicts;
pub use open::{open, open_bytes};
pub use part::{AutoencoderFile, NOTE, Note, Parts, TextEncoderFile, places};
