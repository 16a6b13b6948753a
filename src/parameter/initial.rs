//! Fresh weights, a function of the seed and the parameter's official name.

use super::key::{Key, Start};
use super::tree::{Named, device, refill};
use crate::noise::{Domain, Stream};
use burn::tensor::{Tensor, TensorData};

/// Draws the parameters that are `wanted`; all others, and those that start as they are built (zero, and norms one), stay
/// as they are.
pub(crate) fn draw<M: Named>(network: M, seed: u64, wanted: &dyn Fn(&Key) -> bool) -> M {
    let device = device(&network);
    refill(network, &mut |_, key| {
        let len = key.shape.iter().product();
        let mut stream = Stream::new(seed, Domain::Init, name_key(&key.name));
        let values = match key.start {
            _ if !wanted(key) => return None,
            Start::Zeros | Start::Ones => return None,
            Start::Glorot { input, output } => {
                uniform(&mut stream, len, (6.0 / (input + output) as f64).sqrt())
            }
            Start::FanIn(input) => uniform(&mut stream, len, 1.0 / (input as f64).sqrt()),
            Start::Normal { thousandths } => {
                let deviation = f64::from(thousandths) / 1000.0;
                let mut values = stream.normals(len);
                for value in &mut values {
                    *value = (f64::from(*value) * deviation) as f32;
                }
                values
            }
            Start::NormalFanIn(input) => {
                let scale = 1.0 / (input as f32).sqrt();
                let mut values = stream.normals(len);
                values.iter_mut().for_each(|value| *value *= scale);
                values
            }
        };
        Some(Tensor::from_data(TensorData::new(values, [len]), &device))
    })
}

/// Uniform in +- the bound.
fn uniform(stream: &mut Stream, len: usize, bound: f64) -> Vec<f32> {
    let mut values = stream.uniforms(len);
    for value in &mut values {
        *value = ((2.0 * f64::from(*value) - 1.0) * bound) as f32;
    }
    values
}

/// FNV-1a of the name: stable across versions and platforms.
fn name_key(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
