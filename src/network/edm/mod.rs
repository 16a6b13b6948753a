//! The U-Nets of EDM: DDPM++, NCSN++ and ADM. [EDM App. F]

mod block;
mod body;
mod dhariwal;
mod fit;
mod outline;
mod plan;
mod planned;
mod song;
mod variant;

pub use dhariwal::{DhariwalUNet, DhariwalUNetConfig};
pub(crate) use plan::{Family, Plan};
pub(super) use planned::Planned;
pub use song::{SongUNet, SongUNetConfig};
pub(crate) use variant::Variant;
pub use variant::{Decoder, Embedding, Encoder};
