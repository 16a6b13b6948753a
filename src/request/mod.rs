//! Images from a model of any kind, one for each seed: [`Model::sample`](crate::model::Model::sample) is the shortest way
//! from a file to pictures.

mod fault;
mod plan;
mod sample;
mod setting;

pub use setting::Request;
