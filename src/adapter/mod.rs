//! Low-rank adapters (LoRA): a student as a small change of a base model that stays as it is. [Hu et al. 2022]
//!
//! [`Lora`] says which layers of a student get one; [`AdapterFile`] reads files of ours, of diffusers and of kohya's scripts;
//! [`Factors`] are what is in them, for one network, to be attached, merged or written in the layout of either.

mod entry;
mod factor;
mod file;
mod layer;
mod name;
mod peft;
mod plan;
mod student;
mod write;

pub use factor::{Factor, Factors};
pub use file::AdapterFile;
pub use name::Part;
pub use plan::{Layers, Lora};
pub use student::read_student;
pub use write::AdapterLayout;

use crate::network::NetworkConfig;

/// The name that diffusers has for a layer, given its official one; `None` for a layer that it has none for.
pub(crate) fn diffusers_name(network: &NetworkConfig, layer: &str) -> Option<String> {
    layer::Known::of(network).official(layer)?.diffusers.clone()
}
