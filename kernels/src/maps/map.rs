//! Feature maps, and how they are put together.

use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;
use std::ops::Range;

/// Images or features, `[batch, height, width, channels]`: on the CPU as such, elsewhere as a tensor of Burn's.
#[derive(Clone, Debug)]
pub struct Maps {
    pub(super) inner: Inner,
    dims: [usize; 4],
}

#[derive(Clone, Debug)]
pub(super) enum Inner {
    /// Row-major, channels last.
    Here(Vec<f32>),
    /// `[batch, channels, height, width]`.
    There(Box<Tensor<4>>),
}

/// Some channels of maps.
pub type Channels<'a> = (&'a Maps, Range<usize>);

impl Maps {
    /// Maps of `values`, row-major with the channels last.
    ///
    /// # Panics
    /// If there are not as many values as `dims` says, or a dimension is 0.
    pub fn new(values: Vec<f32>, dims: [usize; 4], device: &Device) -> Self {
        assert!(!dims.contains(&0), "maps of nothing");
        assert_eq!(
            values.len(),
            dims.iter().product::<usize>(),
            "values of the dimensions"
        );
        if *device == Device::flex() {
            return Self::here(values, dims);
        }
        let last = Tensor::<4>::from_data(TensorData::new(values, dims), device);
        Self::there(last.permute([0, 3, 1, 2]))
    }

    pub(super) fn here(values: Vec<f32>, dims: [usize; 4]) -> Self {
        Self {
            inner: Inner::Here(values),
            dims,
        }
    }

    pub(super) fn there(tensor: Tensor<4>) -> Self {
        let [batch, channels, height, width] = tensor.dims();
        Self {
            inner: Inner::There(Box::new(tensor)),
            dims: [batch, height, width, channels],
        }
    }

    /// Batch, height, width and channels.
    pub fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// Some channels of several maps of the same images, one after the other.
    ///
    /// # Panics
    /// If there is none, or their sizes or devices differ.
    pub fn join(parts: &[Channels<'_>]) -> Self {
        let [batch, height, width, _] = parts[0].0.dims;
        let channels: usize = parts.iter().map(|(_, range)| range.len()).sum();
        for (maps, range) in parts {
            assert_eq!([batch, height, width], maps.dims[..3], "maps of a size");
            assert!(range.end <= maps.dims[3], "channels that are there");
        }
        let dims = [batch, height, width, channels];
        let here = parts.iter().map(|(maps, range)| match &maps.inner {
            Inner::Here(values) => Some((values.as_slice(), maps.dims[3], range.clone())),
            Inner::There(_) => None,
        });
        let Some(here) = here.collect::<Option<Vec<_>>>() else {
            let tensors = parts.iter().map(|(maps, range)| match &maps.inner {
                Inner::There(tensor) => tensor.as_ref().clone().narrow(1, range.start, range.len()),
                Inner::Here(_) => panic!("maps on different devices"),
            });
            return Self::there(Tensor::cat(tensors.collect(), 1));
        };
        let mut joined = vec![0.0; dims.iter().product()];
        let row = width * channels;
        joined.par_chunks_mut(row).enumerate().for_each(|(n, row)| {
            for (i, pixel) in row.chunks_exact_mut(channels).enumerate() {
                let mut rest = pixel;
                for (values, all, range) in &here {
                    let (to, others) = rest.split_at_mut(range.len());
                    let from = (n * width + i) * all + range.start;
                    to.copy_from_slice(&values[from..][..range.len()]);
                    rest = others;
                }
            }
        });
        Self::here(joined, dims)
    }

    /// The mean over all pixels, `[batch][channel]`.
    pub fn mean(&self) -> Vec<f32> {
        let [_, height, width, channels] = self.dims;
        let pixels = height * width;
        match &self.inner {
            Inner::Here(values) => {
                let images = values.par_chunks(pixels * channels);
                let mean = |image: &[f32]| {
                    let mut sums = vec![0.0f32; channels];
                    for pixel in image.chunks_exact(channels) {
                        sums.iter_mut().zip(pixel).for_each(|(s, p)| *s += p);
                    }
                    sums.iter_mut().for_each(|sum| *sum /= pixels as f32);
                    sums
                };
                images.flat_map_iter(mean).collect()
            }
            Inner::There(tensor) => {
                let mean: Tensor<3> = tensor.as_ref().clone().flatten::<3>(2, 3).mean_dim(2);
                mean.into_data_dtype(DType::F32).iter::<f32>().collect()
            }
        }
    }

    /// The values as a tensor `[batch, channels, height, width]`.
    pub fn into_tensor(self) -> Tensor<4> {
        match self.inner {
            Inner::Here(values) => {
                let last = TensorData::new(values, self.dims);
                Tensor::<4>::from_data(last, &Device::flex()).permute([0, 3, 1, 2])
            }
            Inner::There(tensor) => *tensor,
        }
    }
}
