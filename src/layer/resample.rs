//! Halving and doubling of images, with the filters of the official networks.

use crate::graph::{Graph, Value};
use crate::parameter::Site;
use crate::transfer;
use burn::tensor::ops::PadMode;
use burn::tensor::{Tensor, TensorData};
use fewstep_kernels as kernels;
use serde::{Deserialize, Serialize};

/// The low-pass filter of halving and doubling. [EDM Tab. 7]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResampleFilter {
    /// `[1, 1]`: the mean of 2x2 pixels, and their copies. DDPM++ and ADM.
    #[default]
    Box,
    /// `[1, 3, 3, 1]`: smoother. NCSN++.
    Binomial,
}

/// Halving or doubling of the image size inside a convolution or block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resample {
    /// Same size.
    Keep,
    /// Doubling, before the convolution.
    Up(ResampleFilter),
    /// Halving, before the convolution.
    Down(ResampleFilter),
}

impl Resample {
    /// `[b, c, h, w]` to the new size; what lies outside an image is zero.
    pub(crate) fn apply(self, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Keep => images,
            Self::Up(filter) => filter.smooth(kernels::upsample_2x(images)),
            Self::Down(filter) => kernels::downsample_2x(filter.smooth(images)),
        }
    }

    /// [`apply`](Self::apply) in a graph.
    pub(crate) fn trace(self, graph: &mut Graph, images: &Value, channels: usize) -> Value {
        match self {
            Self::Keep => images.clone(),
            Self::Up(filter) => {
                let doubled = graph.double(images);
                filter.trace_smooth(graph, &doubled, channels)
            }
            Self::Down(filter) => {
                let smooth = filter.trace_smooth(graph, images, channels);
                graph.halve(&smooth)
            }
        }
    }
}

impl ResampleFilter {
    /// What makes this filter of the box: `[1, 3, 3, 1]` is `[1, 1]` after `[1, 2, 1]`.
    fn smooth(self, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Box => images,
            Self::Binomial => blur(images),
        }
    }

    /// Halves the answer of a convolution that keeps the size, with its answers just outside the image in place of
    /// zeros: convolution and filter then act as one.
    pub(crate) fn halve_answer(
        self,
        images: Tensor<4>,
        convolution: impl FnOnce(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let [_, _, height, width] = images.dims();
        let wider = convolution(images.pad((1, 1, 1, 1), PadMode::Constant(0.0)));
        let [b, c, _, _] = wider.dims();
        let inside = [0..b, 0..c, 1..height + 1, 1..width + 1];
        kernels::downsample_2x(self.smooth(wider).slice(inside))
    }

    /// [`halve_answer`](Self::halve_answer) in a graph: `wider` is what a convolution of 3x3 answers with two zeros on all
    /// sides in place of one.
    pub(crate) fn trace_halved(self, graph: &mut Graph, wider: &Value, channels: usize) -> Value {
        let smooth = self.trace_smooth(graph, wider, channels);
        let inside = graph.inside(&smooth);
        graph.halve(&inside)
    }

    /// [`smooth`](Self::smooth) in a graph.
    fn trace_smooth(self, graph: &mut Graph, images: &Value, channels: usize) -> Value {
        match self {
            Self::Box => images.clone(),
            Self::Binomial => {
                let taps = graph.floats(&[channels, 1, 3, 3], &BLUR.repeat(channels));
                graph.conv(images, (&taps, None), [3, 1, 1, channels])
            }
        }
    }

    /// Taps a side.
    pub(crate) fn taps(self) -> usize {
        self.weights().len()
    }

    fn weights(self) -> &'static [f32] {
        match self {
            Self::Box => &[0.5, 0.5],
            Self::Binomial => &[0.125, 0.375, 0.375, 0.125],
        }
    }

    /// Notes the constant that official files hold where it is applied.
    pub(crate) fn note(self, site: &Site<'_>) {
        let taps = self.taps();
        site.buffer("resample_filter", &[1, 1, taps, taps]);
    }

    /// The constant `resample_filter` of official weight files, taps x taps, of sum 1.
    pub(crate) fn kernel(self) -> Vec<f32> {
        let line = self.weights();
        let values = line.iter().flat_map(|a| line.iter().map(move |b| a * b));
        values.collect()
    }
}

/// `[1, 2, 1] / 4` along both sides.
const BLUR: [f32; 9] = [
    1.0 / 16.0,
    2.0 / 16.0,
    1.0 / 16.0,
    2.0 / 16.0,
    4.0 / 16.0,
    2.0 / 16.0,
    1.0 / 16.0,
    2.0 / 16.0,
    1.0 / 16.0,
];

/// [`BLUR`] of every channel.
fn blur(images: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = images.dims();
    let taps = TensorData::new(BLUR.to_vec(), [1, 1, 3, 3]);
    let taps = transfer::send(taps, (&images.device(), images.dtype()));
    let planes = images.reshape([b * c, 1, h, w]);
    kernels::conv2d_3x3(planes, taps, None).reshape([b, c, h, w])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Domain, Stream};
    use burn::tensor::Device;
    use burn::tensor::module::{conv_transpose2d, conv2d};
    use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};

    const FILTERS: [ResampleFilter; 2] = [ResampleFilter::Box, ResampleFilter::Binomial];

    fn random<const D: usize>(shape: [usize; D], index: u64) -> Tensor<D> {
        let values = Stream::new(0, Domain::Test, index).normals(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    /// The filter for each of `channels` on its own, times `gain`.
    fn kernel(filter: ResampleFilter, channels: usize, gain: f32) -> Tensor<4> {
        let taps = filter.taps();
        let data = TensorData::new(filter.kernel(), [1, 1, taps, taps]);
        let one = Tensor::<4>::from_data(data, &Device::flex());
        one.mul_scalar(gain).expand([channels, 1, taps, taps])
    }

    fn largest_difference(a: Tensor<4>, b: Tensor<4>) -> f64 {
        assert_eq!(a.dims(), b.dims());
        (a - b).abs().max().into_scalar::<f64>()
    }

    /// By definition: a strided convolution with the filter, and its transpose with 4 times the filter. The bound is
    /// a few roundings of numbers near 1.
    #[test]
    fn halving_and_doubling_are_strided_convolutions() {
        let images = random([2, 3, 6, 10], 0);
        for filter in FILTERS {
            let edge = (filter.taps() - 1) / 2;
            let down = ConvOptions::new([2, 2], [edge; 2], [1, 1], 3);
            let want = conv2d(images.clone(), kernel(filter, 3, 1.0), None, down);
            let got = Resample::Down(filter).apply(images.clone());
            assert!(largest_difference(got, want) < 1e-6, "{filter:?}");

            let up = ConvTransposeOptions::new([2, 2], [edge; 2], [0, 0], [1, 1], 3);
            let want = conv_transpose2d(images.clone(), kernel(filter, 3, 4.0), None, up);
            let got = Resample::Up(filter).apply(images.clone());
            assert!(largest_difference(got, want) < 1e-6, "{filter:?}");
        }
    }

    /// The convolution, with the filter's edge added to its own padding, then the filter without padding.
    #[test]
    fn a_halved_answer_has_no_edge_inside() {
        let images = random([2, 3, 6, 10], 1);
        let weight = random([4, 3, 3, 3], 2);
        for filter in FILTERS {
            let edge = (filter.taps() - 1) / 2;
            let first = ConvOptions::new([1, 1], [1 + edge; 2], [1, 1], 1);
            let wide = conv2d(images.clone(), weight.clone(), None, first);
            let second = ConvOptions::new([2, 2], [0, 0], [1, 1], 4);
            let want = conv2d(wide, kernel(filter, 4, 1.0), None, second);
            let convolution = |x| kernels::conv2d_3x3(x, weight.clone(), None);
            let got = filter.halve_answer(images.clone(), convolution);
            // Sums of 27 products of normal numbers.
            assert!(largest_difference(got, want) < 1e-5, "{filter:?}");
        }
    }

    #[test]
    fn official_buffers_sum_to_one() {
        for (filter, corner) in FILTERS.into_iter().zip([0.25, 1.0 / 64.0]) {
            let kernel = filter.kernel();
            assert_eq!(kernel.len(), filter.taps() * filter.taps());
            assert_eq!(kernel.first(), Some(&corner));
            assert_eq!(kernel.iter().sum::<f32>(), 1.0);
        }
    }
}
