//! The diffusion transformer: images as tokens, and all that the network is told through adaptive norms.
//! [Peebles & Xie 2023]

mod block;
mod config;
mod embedding;
mod network;
mod position;
mod sizes;

pub use config::TransformerConfig;
pub use network::DiffusionTransformer;
