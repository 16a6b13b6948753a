//! CLIP: pictures and texts as vectors of unit length, the closer the better they fit. [Radford et al. 2021; Hessel et al. 2021]

mod config;
mod model;
mod picture;
mod read;
mod vision;

pub use config::{ClipConfig, VisionConfig};
pub use model::Clip;
pub use picture::Preparation;

pub(crate) use crate::import::part::from_names;
pub(crate) use config::Told;
pub(crate) use read::assemble;
