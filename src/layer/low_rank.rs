//! What a low-rank adapter adds to a layer. [Hu et al. 2022]
//!
//! The product is taken factor by factor and never becomes a matrix of the layer's size: that would be one more copy of
//! every weight, and of its gradient, which is what adapters are there to save. (Burn's own adapters compose the weight, and
//! have none for convolutions.) Factors are cast to the activation's type, as all parameters are.

use super::fork::fork;
use crate::parameter::{Site, Start};
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use fewstep_kernels as kernels;

/// The names of the factors, after the layer's. As in PEFT and diffusers.
pub(crate) const DOWN: &str = "lora_A.weight";
pub(crate) const UP: &str = "lora_B.weight";

/// scale B A x of a linear layer.
#[derive(Module, Debug)]
pub(crate) struct LowRank {
    /// A, `[rank, in]`.
    down: Param<Tensor<2>>,
    /// B, `[out, rank]`.
    up: Param<Tensor<2>>,
    #[module(skip)]
    scale: f64,
}

impl LowRank {
    /// That of a layer from `input` to `output` numbers, if the network is to have it.
    pub(crate) fn new(input: usize, output: usize, site: &Site<'_>) -> Option<Self> {
        let adapter = site.adapter()?;
        Some(Self {
            down: site.factor(DOWN, [adapter.rank, input], Start::FanIn(input)),
            up: site.factor(UP, [output, adapter.rank], Start::Zeros),
            scale: adapter.scale,
        })
    }

    /// `[rows, in]` to `[rows, out]`; with `each`, no row's answer depends on how many there are.
    pub(crate) fn forward(&self, input: Tensor<2>, each: bool) -> Tensor<2> {
        let dtype = input.dtype();
        let times = |rows: Tensor<2>, factor: &Param<Tensor<2>>| {
            let factor = factor.val().cast(dtype);
            match each {
                true => kernels::linear(rows, factor),
                false => rows.matmul(factor.transpose()),
            }
        };
        let few = times(input, &self.down);
        times(few.mul_scalar(self.scale), &self.up)
    }
}

/// scale B A x of a convolution: A is one of the layer's size, stride and padding, B one of 1x1.
#[derive(Module, Debug)]
pub(crate) struct LowRankConv {
    /// A, `[rank, in, k, k]`.
    down: Param<Tensor<4>>,
    /// B, `[out, rank, 1, 1]`.
    up: Param<Tensor<4>>,
    #[module(skip)]
    scale: f64,
}

impl LowRankConv {
    /// That of a convolution of `kernel` x `kernel`, if the network is to have it.
    pub(crate) fn new(input: usize, output: usize, kernel: usize, site: &Site<'_>) -> Option<Self> {
        let adapter = site.adapter()?;
        let numbers = input * kernel * kernel;
        let shape = [adapter.rank, input, kernel, kernel];
        Some(Self {
            down: site.factor(DOWN, shape, Start::FanIn(numbers)),
            up: site.factor(UP, [output, adapter.rank, 1, 1], Start::Zeros),
            scale: adapter.scale,
        })
    }

    /// `[b, in, h, w]` to `[b, out, h, w]`.
    pub(crate) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let up = self.up.val();
        self.forward_with(images, up)
    }

    /// As [`forward`](Self::forward) with the rows of B in another order.
    pub(crate) fn forward_ordered(
        &self,
        images: Tensor<4>,
        order: impl FnOnce(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let up = order(self.up.val());
        self.forward_with(images, up)
    }

    fn forward_with(&self, images: Tensor<4>, up: Tensor<4>) -> Tensor<4> {
        let down = self.down.val().cast(images.dtype());
        let few = match down.dims()[2] {
            1 => kernels::conv2d_1x1(images, down, None),
            _ => kernels::conv2d_3x3(images, down, None),
        };
        self.leave(few, up)
    }

    /// Of this stride, with `padding` on all sides; `[b, in, h, w]` to `[b, out, h', w']`.
    pub(crate) fn forward_strided(
        &self,
        images: Tensor<4>,
        stride: usize,
        padding: usize,
    ) -> Tensor<4> {
        let down = self.down.val().cast(images.dtype());
        let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
        let few = conv2d(images, down, None, options);
        self.leave(few, self.up.val())
    }

    /// Of patches that are rows already, `[rows, in x k x k]` to `[rows, out]`.
    pub(crate) fn forward_rows(&self, rows: Tensor<2>) -> Tensor<2> {
        let times = |rows: Tensor<2>, factor: &Param<Tensor<4>>| {
            let factor: Tensor<2> = factor.val().cast(rows.dtype()).flatten(1, 3);
            rows.matmul(factor.transpose())
        };
        let few = times(rows, &self.down);
        times(few.mul_scalar(self.scale), &self.up)
    }

    fn leave(&self, few: Tensor<4>, up: Tensor<4>) -> Tensor<4> {
        let up = up.cast(few.dtype());
        kernels::conv2d_1x1(few.mul_scalar(self.scale), up, None)
    }
}

/// What a layer sees, and what its adapter adds to the answer, if it has one.
pub(crate) fn beside<A, const D: usize, const E: usize>(
    adapter: Option<&A>,
    input: Tensor<D>,
    forward: impl FnOnce(&A, Tensor<D>) -> Tensor<E>,
) -> (Tensor<D>, Option<Tensor<E>>) {
    match adapter {
        None => (input, None),
        Some(adapter) => {
            let input = fork(input);
            let more = forward(adapter, input.clone());
            (input, Some(more))
        }
    }
}

/// A layer's answer with what its adapter adds, if it has one.
pub(crate) fn added<const D: usize>(answer: Tensor<D>, more: Option<Tensor<D>>) -> Tensor<D> {
    match more {
        Some(more) => answer + more,
        None => answer,
    }
}
