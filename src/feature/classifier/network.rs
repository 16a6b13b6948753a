//! The small network that turns images into features: a classifier without its last layer.

use crate::noise::{Domain, Stream};
use crate::{Error, Images};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{DType, Device, Tensor, TensorData, activation, module};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sizes of a [`FeatureNetwork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FeatureConfig {
    /// Height and width of the images, a multiple of 8 in 8..=256.
    pub size: usize,
    /// Channels of the images: 1 or 3.
    pub channels: usize,
    /// Channels of the three convolutions, 1 to 1024 each.
    pub widths: [usize; 3],
    /// Number of features, 1 to 4096.
    pub features: usize,
    /// Number of classes it is trained to tell apart, 2 to 65536.
    pub classes: usize,
}

impl FeatureConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the size.
    pub fn check(&self) -> Result<(), Error> {
        let widths = self.widths.iter().all(|w| (1..=1024).contains(w));
        let checks = [
            (
                "size",
                self.size,
                self.size.is_multiple_of(8) && (8..=256).contains(&self.size),
                "a multiple of 8 in 8..=256",
            ),
            (
                "channels",
                self.channels,
                [1, 3].contains(&self.channels),
                "1 or 3",
            ),
            (
                "widths",
                self.widths[0],
                widths,
                "three numbers in 1..=1024",
            ),
            (
                "features",
                self.features,
                (1..=4096).contains(&self.features),
                "in 1..=4096",
            ),
            (
                "classes",
                self.classes,
                (2..=65536).contains(&self.classes),
                "in 2..=65536",
            ),
        ];
        match checks.into_iter().find(|(_, _, fine, _)| !fine) {
            Some((name, value, _, expected)) => Err(Error::invalid(name, value, expected)),
            None => Ok(()),
        }
    }
}

/// Three convolutions (5x5 with stride 2; 3x3 and 3x3, each followed by a 2x2 maximum), a linear layer whose
/// rectified outputs are the features, and one that makes them class scores.
#[derive(Module, Debug)]
pub struct FeatureNetwork {
    conv0: Layer<4>,
    conv1: Layer<4>,
    conv2: Layer<4>,
    hidden: Layer<2>,
    output: Layer<2>,
}

/// Weight `[out, in, ...]` and bias `[out]`.
#[derive(Module, Debug)]
struct Layer<const D: usize> {
    weight: Param<Tensor<D>>,
    bias: Param<Tensor<1>>,
}

impl FeatureNetwork {
    /// Random weights, a function of the seed only: normal with variance 2 / (fan in), biases zero. [He et al. 2015]
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes out of range.
    pub fn init(config: &FeatureConfig, seed: u64, device: &Device) -> Result<Self, Error> {
        config.check()?;
        let mut index = 0;
        Ok(Self::build(config, &mut |name, shape| {
            let fan_in: usize = shape[1..].iter().product();
            let len = shape.iter().product();
            let mut values = vec![0.0; len];
            if name.ends_with("weight") {
                let scale = (2.0 / fan_in as f64).sqrt() as f32;
                let normals = Stream::new(seed, Domain::Init, index).normals(len);
                values = normals.into_iter().map(|value| value * scale).collect();
            }
            index += 1;
            Tensor::from_data(TensorData::new(values, [len]), device)
        }))
    }

    /// Asks `tensor` for each parameter by name and shape, flattened.
    pub(super) fn build(
        config: &FeatureConfig,
        tensor: &mut dyn FnMut(&str, &[usize]) -> Tensor<1>,
    ) -> Self {
        let [a, b, c] = config.widths;
        let flat = c * (config.size / 8).pow(2);
        Self {
            conv0: Layer::build("conv0", [a, config.channels, 5, 5], tensor),
            conv1: Layer::build("conv1", [b, a, 3, 3], tensor),
            conv2: Layer::build("conv2", [c, b, 3, 3], tensor),
            hidden: Layer::build("hidden", [config.features, flat], tensor),
            output: Layer::build("output", [config.classes, config.features], tensor),
        }
    }

    /// Features of images in [-1, 1]: `[batch, channels, size, size]` to `[batch, features]`, none negative.
    pub fn features(&self, images: Images) -> Tensor<2> {
        self.features_with(images, &mut |_, x| x)
    }

    /// As [`features`](Self::features), with something done to what comes out of each convolution, counted from 0.
    fn features_with(
        &self,
        images: Images,
        between: &mut dyn FnMut(usize, Images) -> Images,
    ) -> Tensor<2> {
        let conv = |images, layer: &Layer<4>| {
            fewstep_kernels::conv2d_3x3(images, layer.weight.val(), Some(layer.bias.val()))
        };
        let first = |images| {
            let options = ConvOptions::new([2, 2], [2, 2], [1, 1], 1);
            module::conv2d(
                images,
                self.conv0.weight.val(),
                Some(self.conv0.bias.val()),
                options,
            )
        };
        let pool =
            |images| module::max_pool2d(images, MaxPoolOptions::new([2, 2]).with_stride([2, 2]));
        let x = activation::relu(between(0, first(images)));
        let x = pool(activation::relu(between(1, conv(x, &self.conv1))));
        let x = pool(activation::relu(between(2, conv(x, &self.conv2))));
        activation::relu(self.hidden.linear(x.flatten(1, 3)))
    }

    /// Class scores (logits): `[batch, channels, size, size]` to `[batch, classes]`.
    pub fn scores(&self, images: Images) -> Tensor<2> {
        self.scores_with(images, &mut |_, x| x)
    }

    /// As [`scores`](Self::scores), with something done behind each convolution.
    pub(super) fn scores_with(
        &self,
        images: Images,
        between: &mut dyn FnMut(usize, Images) -> Images,
    ) -> Tensor<2> {
        self.output.linear(self.features_with(images, between))
    }

    /// The network with a convolution whose answers are multiplied and moved, channel by channel.
    pub(super) fn scaled(mut self, conv: usize, scale: Tensor<1>, shift: Tensor<1>) -> Self {
        let layer = match conv {
            0 => &mut self.conv0,
            1 => &mut self.conv1,
            _ => &mut self.conv2,
        };
        let [channels] = scale.dims();
        let weight = layer.weight.val() * scale.clone().reshape([channels, 1, 1, 1]);
        let bias = layer.bias.val() * scale + shift;
        layer.weight = Param::from_tensor(weight);
        layer.bias = Param::from_tensor(bias);
        self
    }

    /// The network with the weights that a file would have.
    pub(super) fn rounded(self) -> Self {
        struct Round;
        impl ModuleMapper for Round {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                param.map(|values| values.cast(DType::F16).cast(DType::F32))
            }
        }
        self.map(&mut Round)
    }

    /// The parameters in order, with all their digits.
    pub(super) fn weights(&self) -> Vec<(String, TensorData)> {
        self.parameters(DType::F32)
    }

    /// The parameters by name, as stored: rounded to f16.
    pub(super) fn tensors(&self) -> BTreeMap<String, TensorData> {
        self.parameters(DType::F16).into_iter().collect()
    }

    fn parameters(&self, dtype: DType) -> Vec<(String, TensorData)> {
        let layers = [
            self.conv0.parameters("conv0", dtype),
            self.conv1.parameters("conv1", dtype),
            self.conv2.parameters("conv2", dtype),
            self.hidden.parameters("hidden", dtype),
            self.output.parameters("output", dtype),
        ];
        layers.into_iter().flatten().collect()
    }
}

impl<const D: usize> Layer<D> {
    fn build(
        name: &str,
        shape: [usize; D],
        tensor: &mut dyn FnMut(&str, &[usize]) -> Tensor<1>,
    ) -> Self {
        let weight = tensor(&format!("{name}.weight"), &shape).reshape(shape);
        let bias = tensor(&format!("{name}.bias"), &shape[..1]);
        Self {
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(bias),
        }
    }

    fn parameters(&self, name: &str, dtype: DType) -> [(String, TensorData); 2] {
        let weight = self.weight.val().without_autodiff();
        let bias = self.bias.val().without_autodiff();
        [
            (format!("{name}.weight"), weight.into_data_dtype(dtype)),
            (format!("{name}.bias"), bias.into_data_dtype(dtype)),
        ]
    }
}

impl Layer<2> {
    /// x W^T + b.
    fn linear(&self, x: Tensor<2>) -> Tensor<2> {
        fewstep_kernels::linear(x, self.weight.val()) + self.bias.val().unsqueeze()
    }
}
