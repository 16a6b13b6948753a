//! The table of a VQ autoencoder.

use crate::parameter::Site;
use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor, TensorData};
use rayon::prelude::*;

/// Rows that latent pixels are replaced by.
#[derive(Module, Debug)]
pub(super) struct Codebook {
    embedding: Table,
}

#[derive(Module, Debug)]
struct Table {
    weight: Param<Tensor<2>>,
}

/// Pixels that a thread takes at a time.
const PIXELS: usize = 256;

impl Codebook {
    pub(super) fn new(codes: usize, channels: usize, site: &Site<'_>) -> Self {
        Self {
            embedding: Table {
                weight: site.at("embedding").weight([codes, channels]),
            },
        }
    }

    /// The index of the nearest row for each pixel of `[b, c, h, w]`, by squared distance in f64, the first of equals;
    /// and the latents made of these rows.
    pub(super) fn nearest(&self, latents: Tensor<4>) -> (Vec<usize>, Tensor<4>) {
        let [b, c, h, w] = latents.dims();
        let options = (latents.device(), latents.dtype());
        let numbers = |data: TensorData| data.iter::<f32>().collect::<Vec<f32>>();
        let values = numbers(latents.into_data_dtype(DType::F32));
        let table = numbers(self.embedding.weight.val().into_data_dtype(DType::F32));
        let area = h * w;
        let mut indices = vec![0; b * area];
        indices
            .par_chunks_mut(PIXELS)
            .enumerate()
            .for_each(|(part, indices)| {
                let mut pixel = vec![0.0; c];
                for (i, index) in indices.iter_mut().enumerate() {
                    let at = part * PIXELS + i;
                    let start = at / area * c * area + at % area;
                    for (channel, value) in pixel.iter_mut().enumerate() {
                        *value = f64::from(values[start + channel * area]);
                    }
                    *index = nearest(&pixel, &table);
                }
            });
        let mut quantised = vec![0.0; values.len()];
        for (at, index) in indices.iter().enumerate() {
            let start = at / area * c * area + at % area;
            for (channel, value) in table[index * c..(index + 1) * c].iter().enumerate() {
                quantised[start + channel * area] = *value;
            }
        }
        let data = TensorData::new(quantised, [b, c, h, w]);
        (indices, Tensor::from_data(data, (&options.0, options.1)))
    }
}

/// The row nearest to a pixel.
fn nearest(pixel: &[f64], table: &[f32]) -> usize {
    let mut best = (f64::INFINITY, 0);
    for (index, row) in table.chunks_exact(pixel.len()).enumerate() {
        let squares = row
            .iter()
            .zip(pixel)
            .map(|(r, p)| (f64::from(*r) - p).powi(2));
        let distance: f64 = squares.sum();
        if distance < best.0 {
            best = (distance, index);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_nearest_rows_is_taken() {
        let table = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, -1.0, 3.0];
        assert_eq!(nearest(&[0.9, 1.2], &table), 1);
        assert_eq!(nearest(&[0.5, 0.5], &table), 0);
        assert_eq!(nearest(&[-2.0, 3.0], &table), 3);
    }
}
