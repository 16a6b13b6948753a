//! The parts that encoder and decoder are made of.

use super::norm::{Norm, Scope};
use crate::layer::{Conv2d, Resample, ResampleFilter};
use crate::parameter::Site;
use burn::module::Module;
use burn::tensor::ops::PadMode;
use burn::tensor::{DType, Tensor, activation};

pub(super) fn conv(input: usize, output: usize, kernel: usize, site: &Site<'_>) -> Conv2d {
    Conv2d::new(input, output, kernel, Resample::Keep, site)
}

/// Two times norm, SiLU and 3x3 convolution, around which the input is carried.
#[derive(Module, Debug)]
pub(super) struct ResidualBlock {
    norm1: Norm,
    conv1: Conv2d,
    norm2: Norm,
    conv2: Conv2d,
    nin_shortcut: Option<Conv2d>,
}

impl ResidualBlock {
    pub(super) fn new(input: usize, output: usize, site: &Site<'_>) -> Self {
        Self {
            norm1: Norm::new(input, &site.at("norm1")),
            conv1: conv(input, output, 3, &site.at("conv1")),
            norm2: Norm::new(output, &site.at("norm2")),
            conv2: conv(output, output, 3, &site.at("conv2")),
            nin_shortcut: (input != output)
                .then(|| conv(input, output, 1, &site.at("nin_shortcut"))),
        }
    }

    pub(super) fn forward(&self, images: Tensor<4>, scope: &mut Scope) -> Tensor<4> {
        let hidden = self.norm1.forward(images.clone(), true, scope);
        let hidden = self.conv1.forward(hidden);
        let hidden = self.norm2.forward(hidden, true, scope);
        let hidden = self.conv2.forward(hidden);
        let images = match &self.nin_shortcut {
            Some(shortcut) => shortcut.forward(images),
            None => images,
        };
        hidden + images
    }
}

/// Self-attention of pixels, with one head over all channels.
#[derive(Module, Debug)]
pub(super) struct Attention {
    norm: Norm,
    q: Conv2d,
    k: Conv2d,
    v: Conv2d,
    proj_out: Conv2d,
}

/// Scores of a sample that are held at a time (16 MB in f32): at 64 x 64 pixels a quarter of all of them.
const SCORES: usize = 1 << 22;

impl Attention {
    pub(super) fn new(channels: usize, site: &Site<'_>) -> Self {
        let conv = |name| conv(channels, channels, 1, &site.at(name));
        Self {
            norm: Norm::new(channels, &site.at("norm")),
            q: conv("q"),
            k: conv("k"),
            v: conv("v"),
            proj_out: conv("proj_out"),
        }
    }

    pub(super) fn forward(&self, images: Tensor<4>, scope: &mut Scope) -> Tensor<4> {
        let [b, c, h, w] = images.dims();
        let tokens = self.norm.forward(images.clone(), false, scope);
        let flat = |conv: &Conv2d| conv.forward(tokens.clone()).reshape([b, c, h * w]);
        let query = flat(&self.q).mul_scalar((c as f64).powf(-0.5));
        let mixed = attend(query, flat(&self.k), flat(&self.v), SCORES);
        self.proj_out.forward(mixed.reshape([b, c, h, w])) + images
    }
}

/// Softmax over keys of scaled query times key, times value; all `[batch, channels, tokens]`. Queries are taken in parts,
/// whose size depends on the number of tokens alone, so that a sample's scores are never more than `most` at a time.
fn attend(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, most: usize) -> Tensor<3> {
    let [b, c, tokens] = query.dims();
    let dtype = query.dtype();
    let rows = (most / tokens).clamp(1, tokens);
    let parts = (0..tokens).step_by(rows).map(|first| {
        let part = first..(first + rows).min(tokens);
        let part = query.clone().slice([0..b, 0..c, part]);
        let scores = part.swap_dims(1, 2).matmul(key.clone());
        let weights = activation::softmax(scores.cast(DType::F32), 2).cast(dtype);
        value.clone().matmul(weights.swap_dims(1, 2))
    });
    let mut parts: Vec<Tensor<3>> = parts.collect();
    match parts.len() {
        1 => parts.remove(0),
        _ => Tensor::cat(parts, 2),
    }
}

/// Halving or doubling of a level.
#[derive(Module, Debug)]
pub(super) struct Resampler {
    conv: Conv2d,
}

impl Resampler {
    pub(super) fn halving(channels: usize, site: &Site<'_>) -> Self {
        Self {
            conv: conv(channels, channels, 3, &site.at("conv")),
        }
    }

    pub(super) fn doubling(channels: usize, site: &Site<'_>) -> Self {
        let up = Resample::Up(ResampleFilter::Box);
        Self {
            conv: Conv2d::new(channels, channels, 3, up, &site.at("conv")),
        }
    }

    /// A row and a column of zeros at the bottom and on the right only, then stride 2 without padding.
    pub(super) fn halve(&self, images: Tensor<4>) -> Tensor<4> {
        let images = images.pad((0, 1, 0, 1), PadMode::Constant(0.0));
        self.conv.forward_strided(images, 2, 0)
    }

    /// Each pixel four times, then the convolution.
    pub(super) fn double(&self, images: Tensor<4>) -> Tensor<4> {
        self.conv.forward(images)
    }
}

/// What both have at the lowest resolution.
#[derive(Module, Debug)]
pub(super) struct Middle {
    block_1: ResidualBlock,
    attn_1: Attention,
    block_2: ResidualBlock,
}

impl Middle {
    pub(super) fn new(channels: usize, site: &Site<'_>) -> Self {
        Self {
            block_1: ResidualBlock::new(channels, channels, &site.at("block_1")),
            attn_1: Attention::new(channels, &site.at("attn_1")),
            block_2: ResidualBlock::new(channels, channels, &site.at("block_2")),
        }
    }

    pub(super) fn forward(&self, images: Tensor<4>, scope: &mut Scope) -> Tensor<4> {
        let images = self.block_1.forward(images, scope);
        let images = self.attn_1.forward(images, scope);
        self.block_2.forward(images, scope)
    }
}

/// Residual blocks, each followed by attention if the level has it.
pub(super) fn chain(
    blocks: &[ResidualBlock],
    attention: &[Attention],
    mut images: Tensor<4>,
    scope: &mut Scope,
) -> Tensor<4> {
    for (i, block) in blocks.iter().enumerate() {
        images = block.forward(images, scope);
        if let Some(attention) = attention.get(i) {
            images = attention.forward(images, scope);
        }
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Domain, Stream};
    use crate::parameter::{Draw, build};
    use burn::tensor::{Device, TensorData};

    fn random<const D: usize>(shape: [usize; D], index: u64) -> Tensor<D> {
        let values = Stream::new(1, Domain::Test, index).normals(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn queries_in_parts_give_the_same() {
        let [q, k, v] = [0, 1, 2].map(|i| random([2, 5, 23], i));
        let values = |most| {
            let mixed = attend(q.clone(), k.clone(), v.clone(), most);
            mixed.into_data().iter::<f32>().collect::<Vec<_>>()
        };
        let whole = values(usize::MAX);
        // Parts of 1, of 7 with a last one of 2, and of 22 with a last one of 1.
        for most in [1, 7 * 23, 22 * 23] {
            let got = values(most);
            let worst = got.iter().zip(&whole).map(|(a, b)| (a - b).abs());
            // A few roundings of numbers near 1.
            assert!(worst.fold(0f32, f32::max) < 1e-6);
        }
    }

    /// The one-sided padding is that of a convolution with padding on all sides, at its odd pixels.
    #[test]
    fn halving_pads_at_the_bottom_and_on_the_right() {
        let device = Device::flex();
        let halving = |site: &Site<'_>| Resampler::halving(3, site);
        let (mut sampler, _) = build("", Draw::Normal, &device, halving);
        sampler.conv.weight = burn::module::Param::from_tensor(random([3, 3, 3, 3], 3));
        for (h, w) in [(6, 8), (7, 5)] {
            let images = random([1, 3, h, w], 4);
            let half = sampler.halve(images.clone());
            assert_eq!(half.dims(), [1, 3, h / 2, w / 2]);
            let full = sampler.conv.forward(images);
            let (half, full) = (half.into_data(), full.into_data());
            let (half, full): (Vec<f32>, Vec<f32>) = (half.iter().collect(), full.iter().collect());
            for c in 0..3 {
                for y in 0..h / 2 {
                    for x in 0..w / 2 {
                        let a = half[(c * (h / 2) + y) * (w / 2) + x];
                        let b = full[(c * h + 2 * y + 1) * w + 2 * x + 1];
                        assert!((a - b).abs() < 1e-4, "{a} {b}");
                    }
                }
            }
        }
    }
}
