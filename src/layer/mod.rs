//! Layers as the official networks define them. Each says the names of its parameters where it is built.

mod conv;
mod dropout;
mod embedding;
mod fork;
mod linear;
mod low_rank;
mod norm;
mod resample;

pub(crate) use conv::Conv2d;
pub use dropout::Dropout;
pub(crate) use embedding::{Endpoint, Fourier, sinusoid, trace_sinusoid};
pub(crate) use fork::fork;
pub(crate) use linear::Linear;
pub(crate) use low_rank::{DOWN, LowRankConv, UP, added, beside};
pub(crate) use norm::{GroupNorm, LayerNorm, groups};
pub(crate) use resample::Resample;
pub use resample::ResampleFilter;
