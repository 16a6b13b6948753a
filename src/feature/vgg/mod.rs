//! LPIPS with VGG16 features, as the official second stage uses it. [Zhang et al. 2018, Eq. 1]
//!
//! The variant: ImageNet weights of VGG16, every maximum pooling replaced by a 2x2 mean; features after the last
//! activation of each of the five blocks, each pixel's channels scaled to length 1; squared differences, weighted by the
//! published linear heads, averaged over pixels, summed over blocks. Images are enlarged to 224 x 224 first (bilinear,
//! corners not aligned).

mod weight;

use crate::{Error, Images};
use burn::tensor::{Tensor, TensorData, activation};
use fewstep_kernels as kernels;
use serde::{Deserialize, Serialize};

/// What pixel values VGG16 is fed before ImageNet's mean is taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InputRange {
    /// Images as they are, in [-1, 1], which is not what the network was trained with.
    #[default]
    Official,
    /// Images brought to [0, 1], as the network expects.
    Corrected,
}

/// How the perceptual distance is computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PerceptualConfig {
    /// The range of what goes into VGG16.
    pub range: InputRange,
    /// Height and width that images are brought to, a multiple of 16 in 16..=1024; officially 224. The cost grows with
    /// its square.
    pub size: usize,
    /// SHA-256 of the weights' values, whatever file they lie in; any weights will do if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl Default for PerceptualConfig {
    fn default() -> Self {
        Self {
            range: InputRange::Official,
            size: 224,
            sha256: None,
        }
    }
}

impl PerceptualConfig {
    /// Checks the size.
    ///
    /// # Errors
    /// [`Error::InvalidValue`].
    pub fn check(&self) -> Result<(), Error> {
        let fine = self.size.is_multiple_of(16) && (16..=1024).contains(&self.size);
        let expected = "a multiple of 16 in 16..=1024";
        let error = || Error::invalid("perceptual.size", self.size, expected);
        fine.then_some(()).ok_or_else(error)
    }
}

/// Channels of VGG16's convolutions, block by block; between blocks the size is halved.
const BLOCKS: [&[usize]; 5] = [
    &[64, 64],
    &[128, 128],
    &[256, 256, 256],
    &[512, 512, 512],
    &[512, 512, 512],
];

/// Mean and standard deviation of ImageNet's channels in [0, 1].
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// Added to the length that channels are divided by.
const EPSILON: f64 = 1e-10;

/// The network of the perceptual distance, with weights that are never trained.
#[derive(Clone, Debug)]
pub struct Perceptual {
    config: PerceptualConfig,
    /// Weight `[out, in, 3, 3]` and bias `[out]` of each convolution.
    blocks: Vec<Vec<(Tensor<4>, Tensor<1>)>>,
    /// A weight for each channel of each block.
    heads: Vec<Tensor<1>>,
}

impl Perceptual {
    /// How it is computed, with the hash of its weights.
    pub fn config(&self) -> &PerceptualConfig {
        &self.config
    }

    /// Whether this is what a recipe asks for, for images with so many channels.
    pub(crate) fn check(&self, wanted: &PerceptualConfig, channels: usize) -> Result<(), Error> {
        let found = PerceptualConfig {
            sha256: wanted.sha256.clone().and(self.config.sha256.clone()),
            ..self.config.clone()
        };
        if found != *wanted {
            return Err(Error::Incompatible {
                first: format!("a perceptual distance with {found:?}"),
                second: format!("the recipe's {wanted:?}"),
                remedy: "give the weights that the recipe names".into(),
            });
        }
        if channels == 1 || channels == 3 {
            return Ok(());
        }
        Err(Error::Incompatible {
            first: "distance = \"l1-lpips\"".into(),
            second: format!("images with {channels} channels"),
            remedy: "it is for grey and RGB images, not for latents; take another distance".into(),
        })
    }

    /// The distance of each pair of images.
    ///
    /// # Shapes
    /// `[batch, 1 or 3, height, width]` in [-1, 1] to `[batch]`. Grey images stand for RGB with equal channels.
    pub fn distance(&self, student: Images, teacher: Images) -> Tensor<1> {
        let batch = student.dims()[0];
        // No gradient is wanted here, and without one the activations need not be kept.
        let teacher = self.features(teacher.without_autodiff());
        let student = self.features(student);
        let mut sum: Option<Tensor<1>> = None;
        for ((student, teacher), head) in student.into_iter().zip(teacher).zip(&self.heads) {
            let [_, c, h, w] = student.dims();
            let head = as_in(head.clone(), &student).reshape([1, c, 1, 1]);
            let teacher = as_in(unit_channels(teacher), &student);
            let weighted = (unit_channels(student) - teacher).square() * head;
            let mean: Tensor<2> = weighted.flatten::<2>(1, 3).sum_dim(1);
            let mean = mean.div_scalar((h * w) as f64).reshape([batch]);
            sum = Some(match sum {
                Some(sum) => sum + mean,
                None => mean,
            });
        }
        sum.expect("VGG16 has five blocks")
    }

    /// The last activation of each block.
    fn features(&self, images: Images) -> Vec<Tensor<4>> {
        let mut x = self.prepare(images);
        let mut found = Vec::with_capacity(BLOCKS.len());
        for (index, block) in self.blocks.iter().enumerate() {
            if index > 0 {
                x = kernels::downsample_2x(x);
            }
            for (weight, bias) in block {
                let (weight, bias) = (as_in(weight.clone(), &x), as_in(bias.clone(), &x));
                x = activation::relu(kernels::conv2d_3x3(x, weight, Some(bias)));
            }
            found.push(x.clone());
        }
        found
    }

    /// What goes into VGG16, `[batch, 3, size, size]`.
    fn prepare(&self, images: Images) -> Images {
        let images = match self.config.range {
            InputRange::Official => images,
            InputRange::Corrected => images.mul_scalar(0.5).add_scalar(0.5),
        };
        let images = resize(images, self.config.size);
        let [b, _, h, w] = images.dims();
        let device = images.device().inner();
        let row = |values: [f32; 3]| {
            let data = TensorData::new(values.to_vec(), [1, 3, 1, 1]);
            as_in(Tensor::from_data(data, &device), &images)
        };
        let (mean, deviation) = (row(MEAN), row(DEVIATION));
        (images.expand([b, 3, h, w]) - mean) / deviation
    }
}

/// A constant, ready to be used together with `other`.
fn as_in<const D: usize>(constant: Tensor<D>, other: &Images) -> Tensor<D> {
    let constant = constant.cast(other.dtype());
    match other.is_autodiff() {
        true => constant.autodiff(),
        false => constant,
    }
}

/// Scales each pixel's channels to length 1.
fn unit_channels(x: Tensor<4>) -> Tensor<4> {
    // The bound changes no length, but the root has no derivative at 0, where a pixel without any feature is.
    let length = x.clone().square().sum_dim(1).clamp_min(1e-24).sqrt();
    x / length.add_scalar(EPSILON)
}

/// Bilinear, corners not aligned, as two products with constant matrices.
fn resize(images: Images, size: usize) -> Images {
    let [b, c, h, w] = images.dims();
    let matrix = |from: usize| {
        let device = images.device().inner();
        let data = TensorData::new(weights(from, size), [from, size]);
        as_in(Tensor::<2>::from_data(data, &device), &images)
    };
    if [h, w] == [size, size] {
        return images;
    }
    let (rows, columns) = (matrix(h), matrix(w));
    let wide = images.reshape([b * c * h, w]).matmul(columns);
    let turned = wide.reshape([b, c, h, size]).swap_dims(2, 3);
    let high = turned.reshape([b * c * size, h]).matmul(rows);
    high.reshape([b, c, size, size]).swap_dims(2, 3)
}

/// How much each of `from` pixels counts in each of `to`, row-major `[from, to]`.
fn weights(from: usize, to: usize) -> Vec<f32> {
    let mut weights = vec![0.0; from * to];
    for target in 0..to {
        let centre = (target as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let centre = centre.clamp(0.0, (from - 1) as f64);
        let left = centre.floor();
        let right = (left as usize + 1).min(from - 1);
        weights[left as usize * to + target] += (1.0 - (centre - left)) as f32;
        weights[right * to + target] += (centre - left) as f32;
    }
    weights
}

#[cfg(test)]
mod tests;
