//! Text encoders of Stable Diffusion: CLIP's of 1.x, OpenCLIP's of 2.x, and both of XL.

mod file;
mod half;
mod official;
mod openclip;
mod padding;

pub use file::TextEncoderFile;
pub(crate) use official::Family;
pub(crate) use openclip::{Naming, Origins, from_names};
