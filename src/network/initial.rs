//! Initial weights, a function of the seed and the parameter's official name.

use super::Network;
use super::parameter::replace;
use super::unet_block::starts_at_zero;
use crate::noise::{Domain, Stream};
use burn::tensor::{Tensor, TensorData};

/// Draws every matrix and kernel from a uniform distribution of variance 2 / (fan in + fan out); the last
/// convolution of a branch starts at zero; biases are zero and norms one, as built. [Glorot & Bengio 2010]
pub(super) fn draw(network: Network, seed: u64) -> Network {
    let device = super::parameter::device(&network);
    replace(network, &mut |_, name, shape| {
        if shape.len() < 2 || starts_at_zero(name) {
            return None;
        }
        let kernel: usize = shape[2..].iter().product();
        let (fan_in, fan_out) = (shape[1] * kernel, shape[0] * kernel);
        let bound = (6.0 / (fan_in + fan_out) as f64).sqrt();
        let len = shape.iter().product();
        let mut values = Stream::new(seed, Domain::Init, name_key(name)).uniforms(len);
        for value in &mut values {
            *value = ((2.0 * f64::from(*value) - 1.0) * bound) as f32;
        }
        Some(Tensor::from_data(TensorData::new(values, [len]), &device))
    })
}

/// FNV-1a of the name: stable across versions and platforms.
fn name_key(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
