//! Layers as the official networks define them. Parameters are cast to the activation's type.

use super::resample::Resample;
use crate::noise;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_kernels as kernels;
use std::cell::Cell;

/// y = x W^T + b, weight `[out, in]`.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    pub(crate) fn new(input: usize, output: usize, bias: bool, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::zeros([output, input], device)),
            bias: bias.then(|| Param::from_tensor(Tensor::zeros([output], device))),
        }
    }

    /// `[rows, in]` to `[rows, out]`, for one row that serves a whole batch, or for the many of each sample: their
    /// number decides the order of sums.
    pub(crate) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let weight = kernels::cast(self.weight.val(), input.dtype());
        self.shift(input.matmul(weight.transpose()))
    }

    /// The same for a row that each sample has, if `each`: no row's answer depends on how many there are.
    pub(crate) fn forward_rows(&self, input: Tensor<2>, each: bool) -> Tensor<2> {
        if !each {
            return self.forward(input);
        }
        let weight = kernels::cast(self.weight.val(), input.dtype());
        self.shift(kernels::linear(input, weight))
    }

    fn shift(&self, product: Tensor<2>) -> Tensor<2> {
        match &self.bias {
            Some(bias) => {
                let bias = bias.val().cast(product.dtype());
                product + bias.unsqueeze()
            }
            None => product,
        }
    }
}

/// A 3x3 or 1x1 convolution with padding that keeps the size, after an optional resampling.
#[derive(Module, Debug)]
pub(crate) struct Conv2d {
    pub(crate) weight: Param<Tensor<4>>,
    pub(crate) bias: Param<Tensor<1>>,
    #[module(skip)]
    pub(crate) resample: Resample,
}

impl Conv2d {
    pub(crate) fn new(
        input: usize,
        output: usize,
        kernel: usize,
        resample: Resample,
        device: &Device,
    ) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::zeros([output, input, kernel, kernel], device)),
            bias: Param::from_tensor(Tensor::zeros([output], device)),
            resample,
        }
    }

    /// `[b, in, h, w]` to `[b, out, h', w']`.
    pub(crate) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let images = self.resample.apply(images);
        let dtype = images.dtype();
        let weight = kernels::cast(self.weight.val(), dtype);
        let bias = self.bias.val().cast(dtype);
        match weight.dims()[2] {
            1 => kernels::conv2d_1x1(images, weight, Some(bias)),
            _ => kernels::conv2d_3x3(images, weight, Some(bias)),
        }
    }
}

/// Group normalisation, with an optional SiLU.
#[derive(Module, Debug)]
pub(crate) struct GroupNorm {
    pub(crate) weight: Param<Tensor<1>>,
    pub(crate) bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    pub(crate) epsilon: f64,
}

impl GroupNorm {
    /// Over min(32, channels / 4) groups.
    pub(crate) fn new(channels: usize, epsilon: f64, device: &Device) -> Self {
        Self::with_groups(channels, groups(channels), epsilon, device)
    }

    pub(crate) fn with_groups(
        channels: usize,
        groups: usize,
        epsilon: f64,
        device: &Device,
    ) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([channels], device)),
            bias: Param::from_tensor(Tensor::zeros([channels], device)),
            groups,
            epsilon,
        }
    }

    /// Normalises `images + shift`, then SiLU if asked. `shift` is `[b or 1, c]`.
    pub(crate) fn forward(
        &self,
        images: Tensor<4>,
        shift: Option<Tensor<2>>,
        silu: bool,
    ) -> Tensor<4> {
        let [b, c, _, _] = images.dims();
        let dtype = images.dtype();
        kernels::group_norm_silu(
            images,
            shift.map(|shift| shift.expand([b, c])),
            self.weight.val().cast(dtype),
            self.bias.val().cast(dtype),
            self.groups,
            self.epsilon,
            silu,
        )
    }

    /// SiLU of the normalised `images` times `gain` plus `offset`, both `[b or 1, c]`.
    pub(crate) fn forward_modulated(
        &self,
        images: Tensor<4>,
        gain: Tensor<2>,
        offset: Tensor<2>,
    ) -> Tensor<4> {
        let [b, c, h, w] = images.dims();
        let dtype = images.dtype();
        let weight = gain.clone() * self.weight.val().cast(dtype).unsqueeze();
        let bias = gain * self.bias.val().cast(dtype).unsqueeze() + offset;
        // Samples do not share groups, so that all of them are as one with weights of their own for each channel.
        let flat = |rows: Tensor<2>| rows.expand([b, c]).reshape([b * c]);
        let images = kernels::group_norm_silu(
            images.reshape([1, b * c, h, w]),
            None,
            flat(weight),
            flat(bias),
            b * self.groups,
            self.epsilon,
            true,
        );
        images.reshape([b, c, h, w])
    }
}

/// Groups of a norm over `channels`.
pub(crate) fn groups(channels: usize) -> usize {
    (channels / 4).clamp(1, 32)
}

/// The random stream of one forward pass with dropout: masks depend on (seed, round, use, sample) only, where a
/// use is one layer of one call.
#[derive(Debug)]
pub struct Dropout {
    seed: u64,
    round: u64,
    first_sample: u64,
    next_use: Cell<u64>,
}

impl Dropout {
    /// `first_sample` is the position of the batch's first image in the round's whole batch; `first_use` keeps
    /// several forward passes of a round apart.
    pub fn new(seed: u64, round: u64, first_sample: u64, first_use: u64) -> Self {
        Self {
            seed,
            round,
            first_sample,
            next_use: Cell::new(first_use),
        }
    }

    /// The next use.
    pub(crate) fn position(&self) -> u64 {
        self.next_use.get()
    }

    /// Goes back to a use.
    pub(crate) fn seek(&self, position: u64) {
        self.next_use.set(position);
    }

    /// Zeroes each element with probability `rate` and scales the rest by 1 / (1 - rate).
    pub(crate) fn apply(&self, images: Tensor<4>, rate: f64) -> Tensor<4> {
        let use_ = self.next_use.replace(self.next_use.get() + 1);
        if rate == 0.0 {
            return images;
        }
        let shape = images.dims();
        let last = self.first_sample + shape[0] as u64;
        let mask = noise::dropout_mask(
            self.seed,
            self.round,
            use_,
            self.first_sample..last,
            shape[1] * shape[2] * shape[3],
            rate,
        )
        .expect("the network's configuration was checked");
        let options = (&images.device(), images.dtype());
        let mask = Tensor::from_data(TensorData::new(mask, shape), options);
        images * mask
    }
}
