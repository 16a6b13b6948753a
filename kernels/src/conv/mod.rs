//! Convolution on slices: 3x3 with padding 1 and 1x1, stride 1, NCHW.
//!
//! 3x3 goes through Winograd transforms of tiles of 4x4 or 2x2 outputs ([`scheme`], [`transform`]), which leave a
//! quarter, or four ninths, of the multiplications: a matrix product for each point of a tile, over input channels
//! ([`product`]), which is also all of a 1x1 convolution. No im2col matrix is built, except of small images with many
//! channels ([`direct`]). The gradient with respect to the
//! input is the same convolution with flipped, transposed weights; the weight gradient ([`weight`]) is products over
//! tiles, those of 1x1 are in [`correlation`]; that of the bias is a sum ([`bias`]).

mod bias;
mod correlation;
mod direct;
mod forward;
mod grid;
mod pack;
mod product;
mod scheme;
mod shape;
mod transform;
mod weight;

pub(crate) use bias::bias_gradient;
pub(crate) use forward::{forward, input_gradient};
pub(crate) use pack::{pack, packed_len, worth_keeping};
pub(crate) use product::{PANEL, Product, Start, blocks};
pub(crate) use shape::Shape;
pub(crate) use weight::weight_gradient;
