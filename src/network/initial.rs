//! Initial weights, a function of the seed and the parameter's official name.

use super::embedding::Fourier;
use super::latent_unet::is_latent;
use super::parameter::{device, replace};
use super::step_branch::tells_block;
use super::{Network, StepInit};
use crate::noise::{Domain, Stream};
use burn::tensor::{Tensor, TensorData};

/// What one parameter is drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    /// Uniform in +- the bound.
    Uniform(f64),
    /// Normal with this standard deviation.
    Normal(f64),
}

/// Draws the parameters whose names are `wanted`; all others, and those that start as they are built (zero, and norms
/// one), stay as they are.
///
/// * DDPM++ and NCSN++: every matrix and kernel uniform with variance 2 / (fan in + fan out), biases zero.
///   [Glorot & Bengio 2010]
/// * ADM and latent networks: every matrix, kernel and bias uniform in +- 1 / sqrt(fan in), the vector of a class standard
///   normal.
/// * The last convolution of a branch and of the network starts at zero in all.
pub(super) fn draw(
    network: Network,
    seed: u64,
    step: StepInit,
    wanted: &dyn Fn(&str) -> bool,
) -> Network {
    let device = device(&network);
    let glorot = matches!(network, Network::SongUnet(_));
    // The layer whose weight was last met, and its fan-in: its bias comes next.
    let mut last: Option<(String, usize)> = None;
    replace(network, &mut |_, name, shape| {
        let zero = starts_at_zero(name) || step == StepInit::Zero && tells_block(name);
        let law = if zero {
            last = None;
            None
        } else if glorot {
            glorot_law(name, shape)
        } else {
            uniform_law(name, shape, &mut last)
        };
        let law = law.filter(|_| wanted(name))?;
        let len = shape.iter().product();
        let mut stream = Stream::new(seed, Domain::Init, name_key(name));
        let values = match law {
            Law::Uniform(bound) => {
                let mut values = stream.uniforms(len);
                for value in &mut values {
                    *value = ((2.0 * f64::from(*value) - 1.0) * bound) as f32;
                }
                values
            }
            Law::Normal(deviation) => {
                let mut values = stream.normals(len);
                for value in &mut values {
                    *value = (f64::from(*value) * deviation) as f32;
                }
                values
            }
        };
        Some(Tensor::from_data(TensorData::new(values, [len]), &device))
    })
}

fn glorot_law(name: &str, shape: &[usize]) -> Option<Law> {
    if shape.len() < 2 {
        let frequencies = name.ends_with("map_noise.freqs");
        return frequencies.then_some(Law::Normal(Fourier::DEVIATION));
    }
    let (fan_in, fan_out) = (fan_in(shape), fan_in(shape) / shape[1] * shape[0]);
    Some(Law::Uniform((6.0 / (fan_in + fan_out) as f64).sqrt()))
}

/// `last` is the layer whose weight came before, if it was drawn, and becomes this one.
fn uniform_law(name: &str, shape: &[usize], last: &mut Option<(String, usize)>) -> Option<Law> {
    if shape.len() < 2 {
        let (_, fan_in) = last.take().filter(|(bias, _)| bias == name)?;
        return Some(Law::Uniform(1.0 / (fan_in as f64).sqrt()));
    }
    if name.ends_with("map_label.weight") {
        return Some(Law::Normal(1.0));
    }
    let layer = name.strip_suffix("weight").unwrap_or(name);
    *last = Some((format!("{layer}bias"), fan_in(shape)));
    Some(Law::Uniform(1.0 / (fan_in(shape) as f64).sqrt()))
}

/// Numbers that one output of a matrix or kernel is made of.
fn fan_in(shape: &[usize]) -> usize {
    shape[1..].iter().product()
}

/// The layers whose initial weights are zero, so that every block starts as the identity up to scale.
fn starts_at_zero(official_name: &str) -> bool {
    let layers: &[&str] = match is_latent(official_name) {
        true => &[".out_layers.3", ".proj_out", "diffusion_model.out.2"],
        false => &[".conv1", ".proj", "_aux_conv", ".out_conv"],
    };
    layers.iter().any(|layer| {
        let rest = official_name.strip_suffix(".weight");
        rest.or(official_name.strip_suffix(".bias"))
            .is_some_and(|name| name.ends_with(*layer))
    })
}

/// FNV-1a of the name: stable across versions and platforms.
pub(super) fn name_key(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
