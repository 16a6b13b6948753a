//! Group normalisation of a whole picture, or of a part of it by the statistics of the whole.

use crate::parameter::Site;
use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor, TensorData};
use fewstep_kernels as kernels;
use std::ops::Range;

/// Groups of every norm.
pub(super) const GROUPS: usize = 32;
const EPSILON: f64 = 1e-6;

/// Mean and biased variance of the groups of one norm.
pub(super) type Moments = Vec<[f64; 2]>;

/// Normalisation over 32 groups of channels, with an optional SiLU.
#[derive(Module, Debug)]
pub(super) struct Norm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl Norm {
    pub(super) fn new(channels: usize, site: &Site<'_>) -> Self {
        let (weight, bias) = site.norm(channels);
        Self { weight, bias }
    }

    pub(super) fn forward(&self, images: Tensor<4>, silu: bool, scope: &mut Scope) -> Tensor<4> {
        let dtype = images.dtype();
        let (weight, bias) = (self.weight.val().cast(dtype), self.bias.val().cast(dtype));
        if let Scope::Tile(tile) = scope {
            tile.count(&images);
            if let Some(moments) = tile.next() {
                return normalise(images, &moments, weight, bias, silu);
            }
        }
        kernels::group_norm_silu(images, None, weight, bias, GROUPS, EPSILON, silu)
    }
}

/// What the statistics of norms are taken over.
pub(super) enum Scope {
    /// The images that are passed in.
    Whole,
    /// A picture of which they are a tile.
    Tile(Tile),
}

/// What is known about all norms of a picture, and what one tile adds to it.
pub(super) struct Tile {
    /// Of each norm in the order of execution; without it, a tile's statistics are its own.
    pub(super) known: Option<Vec<Moments>>,
    /// For each norm and group: how many numbers, and mean and variance of them. Not counted if there is no core.
    pub(super) found: Vec<Vec<[f64; 3]>>,
    /// Rows and columns of the latent tile that no other tile answers for.
    pub(super) core: Option<[Range<usize>; 2]>,
    /// Height of the latent tile.
    pub(super) height: usize,
    /// How many norms have been met.
    pub(super) met: usize,
}

impl Tile {
    /// The moments that the next norm is to use.
    fn next(&mut self) -> Option<Moments> {
        self.met += 1;
        self.known.as_ref()?.get(self.met - 1).cloned()
    }

    /// Adds the numbers in the core of `images` `[1, c, h, w]` to what has been found of the next norm.
    fn count(&mut self, images: &Tensor<4>) {
        let Some([rows, columns]) = &self.core else {
            return;
        };
        let [_, c, h, _] = images.dims();
        let scale = h / self.height;
        let times = |range: &Range<usize>| range.start * scale..range.end * scale;
        let core = images
            .clone()
            .slice([0..1, 0..c, times(rows), times(columns)]);
        let numbers = c / GROUPS * rows.len() * columns.len() * scale * scale;
        let (variance, mean) = core.reshape([GROUPS, numbers]).var_mean_bias(1);
        let values = |t: Tensor<2>| -> Vec<f64> {
            let data = t.into_data_dtype(DType::F32);
            data.iter::<f64>().collect()
        };
        if self.found.len() <= self.met {
            self.found.push(vec![[0.0; 3]; GROUPS]);
        }
        let pairs = values(mean).into_iter().zip(values(variance));
        for (sum, (mean, variance)) in self.found[self.met].iter_mut().zip(pairs) {
            *sum = pooled(*sum, [numbers as f64, mean, variance]);
        }
    }
}

/// Count, mean and variance of two sets together. [Chan et al. 1979]
fn pooled(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    let count = a[0] + b[0];
    let (share, distance) = (b[0] / count, b[1] - a[1]);
    let variance = a[2] * (1.0 - share) + b[2] * share + distance.powi(2) * share * (1.0 - share);
    [count, a[1] + distance * share, variance]
}

/// Normalises by given moments.
fn normalise(
    images: Tensor<4>,
    moments: &Moments,
    weight: Tensor<1>,
    bias: Tensor<1>,
    silu: bool,
) -> Tensor<4> {
    let c = weight.dims()[0];
    let each = |of: &dyn Fn(&[f64; 2]) -> f64| {
        let values = moments.iter().flat_map(|m| {
            let value = of(m) as f32;
            std::iter::repeat_n(value, c / GROUPS)
        });
        let values: Vec<f32> = values.collect();
        Tensor::<1>::from_data(
            TensorData::new(values, [c]),
            (&weight.device(), weight.dtype()),
        )
    };
    let (mean, root) = (
        each(&|m| m[0]),
        each(&|m| 1.0 / (m[1].max(0.0) + EPSILON).sqrt()),
    );
    let gain = weight.clone() * root;
    let offset = bias - mean * gain.clone();
    let images = images * gain.reshape([1, c, 1, 1]) + offset.reshape([1, c, 1, 1]);
    if silu { kernels::silu(images) } else { images }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_pooled_exactly() {
        let of = |values: &[f64]| {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            [n, mean, variance]
        };
        let (a, b) = ([1.0, 5.0, 6.5], [-2.0, 8.0]);
        let together = of(&[1.0, 5.0, 6.5, -2.0, 8.0]);
        let got = pooled(pooled([0.0; 3], of(&a)), of(&b));
        for (got, want) in got.iter().zip(together) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
}
