//! Convolutions. Parameters are cast to the activation's type.

use super::low_rank::{LowRankConv, added, beside};
use super::resample::Resample;
use crate::graph::{Graph, Value};
use crate::parameter::Site;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use fewstep_kernels as kernels;

/// A 3x3 or 1x1 convolution with padding that keeps the size, after an optional resampling.
#[derive(Module, Debug)]
pub(crate) struct Conv2d {
    pub(crate) weight: Param<Tensor<4>>,
    pub(crate) bias: Param<Tensor<1>>,
    pub(crate) low_rank: Option<LowRankConv>,
    #[module(skip)]
    pub(crate) resample: Resample,
}

impl Conv2d {
    pub(crate) fn new(
        input: usize,
        output: usize,
        kernel: usize,
        resample: Resample,
        site: &Site<'_>,
    ) -> Self {
        Self {
            weight: site.weight([output, input, kernel, kernel]),
            bias: site.bias(output, input * kernel * kernel),
            low_rank: LowRankConv::new(input, output, kernel, site),
            resample,
        }
    }

    /// Of this stride, with `padding` on all sides and without resampling; `[b, in, h, w]` to `[b, out, h', w']`.
    pub(crate) fn forward_strided(
        &self,
        images: Tensor<4>,
        stride: usize,
        padding: usize,
    ) -> Tensor<4> {
        let dtype = images.dtype();
        let low_rank = self.low_rank.as_ref();
        let (images, more) = beside(low_rank, images, |low_rank, images| {
            low_rank.forward_strided(images, stride, padding)
        });
        let weight = kernels::cast(self.weight.val(), dtype);
        let bias = self.bias.val().cast(dtype);
        let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
        added(conv2d(images, weight, Some(bias), options), more)
    }

    /// `[b, in, h, w]` to `[b, out, h', w']`.
    pub(crate) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let images = self.resample.apply(images);
        let dtype = images.dtype();
        let (images, more) = beside(self.low_rank.as_ref(), images, LowRankConv::forward);
        let weight = kernels::cast(self.weight.val(), dtype);
        let bias = self.bias.val().cast(dtype);
        let answer = match weight.dims()[2] {
            1 => kernels::conv2d_1x1(images, weight, Some(bias)),
            _ => kernels::conv2d_3x3(images, weight, Some(bias)),
        };
        added(answer, more)
    }

    /// [`forward`](Self::forward) in a graph, where there are no adapters.
    pub(crate) fn trace(&self, graph: &mut Graph, images: &Value) -> Value {
        let [_, channels, taps, _] = self.weight.dims();
        let images = self.resample.trace(graph, images, channels);
        self.trace_strided(graph, &images, 1, taps / 2)
    }

    /// [`forward_strided`](Self::forward_strided) in a graph.
    pub(crate) fn trace_strided(
        &self,
        graph: &mut Graph,
        images: &Value,
        stride: usize,
        padding: usize,
    ) -> Value {
        let shape = self.weight.dims();
        let weight = graph.weight(&self.weight, &shape);
        let bias = graph.weight(&self.bias, &shape[..1]);
        graph.conv(
            images,
            (&weight, Some(&bias)),
            [shape[2], stride, padding, 1],
        )
    }
}
