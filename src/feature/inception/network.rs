//! The network: a stem of single convolutions, then blocks of branches.

use super::block::{Block, Builder, Plan, PoolPlan};
use super::layer::{COARSE, FINE, MIDDLE};
use super::weight::{CLASSES, WIDTH, Weights};
use crate::Error;
use burn::tensor::Device;
use fewstep_kernels::{Convolution, Maps};

/// All layers with their weights.
#[derive(Debug)]
pub(super) struct Network {
    stem: Vec<(Convolution, usize)>,
    blocks: Vec<Block>,
    /// `[classes, features]`.
    last: Vec<f32>,
}

/// The layers of the stem with their input channels.
const STEM: [(&str, usize); 5] = [
    ("Conv2d_1a_3x3", 3),
    ("Conv2d_2a_3x3", 32),
    ("Conv2d_2b_3x3", 32),
    ("Conv2d_3b_1x1", 64),
    ("Conv2d_4a_3x3", 80),
];
/// After these the size is halved.
const HALVED: [usize; 2] = [2, 4];
/// The block after which the features of 17 x 17 pixels are looked at.
const MIDDLE_END: usize = FINE.len() + 1 + MIDDLE.len();

const OF_FINE: [Plan<'static>; 3] = [
    (Some("branch1x1"), &[], &[]),
    (Some("branch5x5_1"), &["branch5x5_2"], &[]),
    (
        Some("branch3x3dbl_1"),
        &["branch3x3dbl_2", "branch3x3dbl_3"],
        &[],
    ),
];
const OF_6A: [Plan<'static>; 2] = [
    (None, &["branch3x3"], &[]),
    (
        Some("branch3x3dbl_1"),
        &["branch3x3dbl_2", "branch3x3dbl_3"],
        &[],
    ),
];
const OF_MIDDLE: [Plan<'static>; 3] = [
    (Some("branch1x1"), &[], &[]),
    (Some("branch7x7_1"), &["branch7x7_2", "branch7x7_3"], &[]),
    (
        Some("branch7x7dbl_1"),
        &[
            "branch7x7dbl_2",
            "branch7x7dbl_3",
            "branch7x7dbl_4",
            "branch7x7dbl_5",
        ],
        &[],
    ),
];
const OF_7A: [Plan<'static>; 2] = [
    (Some("branch3x3_1"), &["branch3x3_2"], &[]),
    (
        Some("branch7x7x3_1"),
        &["branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"],
        &[],
    ),
];
const OF_COARSE: [Plan<'static>; 3] = [
    (Some("branch1x1"), &[], &[]),
    (Some("branch3x3_1"), &[], &["branch3x3_2a", "branch3x3_2b"]),
    (
        Some("branch3x3dbl_1"),
        &["branch3x3dbl_2"],
        &["branch3x3dbl_3a", "branch3x3dbl_3b"],
    ),
];

/// What the network makes of a batch.
#[derive(Debug)]
pub(super) struct Found {
    /// Means over all pixels of 192 channels after the stem, and of 768 after the middle blocks, where asked for.
    pub stages: Option<[Vec<f32>; 2]>,
    /// Means of the last block, `[batch][feature]`.
    pub pool: Vec<f32>,
}

impl Network {
    /// Takes all weights.
    pub fn new(weights: &mut Weights<'_>, device: &Device) -> Result<Self, Error> {
        let mut builder = Builder { weights, device };
        let mut stem = Vec::new();
        for (name, input) in STEM {
            stem.push((builder.single(name)?, input));
        }
        let mut blocks = Vec::new();
        for (name, ..) in FINE {
            blocks.push(builder.block(name, &OF_FINE, &PoolPlan::Mean)?);
        }
        blocks.push(builder.block("Mixed_6a", &OF_6A, &PoolPlan::Halve)?);
        for (name, _) in MIDDLE {
            blocks.push(builder.block(name, &OF_MIDDLE, &PoolPlan::Mean)?);
        }
        blocks.push(builder.block("Mixed_7a", &OF_7A, &PoolPlan::Halve)?);
        for ((name, _), pool) in COARSE.iter().zip([PoolPlan::Mean, PoolPlan::Maximum]) {
            blocks.push(builder.block(name, &OF_COARSE, &pool)?);
        }
        let last = builder.weights.last()?;
        Ok(Self { stem, blocks, last })
    }

    /// Images of 299 x 299 pixels and three channels to features.
    pub fn forward(&self, images: Maps, stages: bool) -> Found {
        let mut x = images;
        for (i, (layer, input)) in self.stem.iter().enumerate() {
            x = layer.forward(&x, 0..*input);
            if HALVED.contains(&i) {
                x = x.halve_by_maximum();
            }
        }
        let first = stages.then(|| x.mean());
        let mut middle = None;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x);
            if stages && i + 1 == MIDDLE_END {
                middle = Some(x.mean());
            }
        }
        Found {
            stages: first.zip(middle).map(|(first, middle)| [first, middle]),
            pool: x.mean(),
        }
    }

    /// Class scores without bias, `[batch][class]`, of `[batch][feature]`.
    pub fn scores(&self, pool: &[f32]) -> Vec<f32> {
        let mut scores = Vec::with_capacity(pool.len() / WIDTH * CLASSES);
        for features in pool.chunks_exact(WIDTH) {
            let rows = self.last.chunks_exact(WIDTH);
            scores.extend(rows.map(|row| {
                let products = row.iter().zip(features);
                products
                    .map(|(w, f)| f64::from(*w) * f64::from(*f))
                    .sum::<f64>() as f32
            }));
        }
        scores
    }
}
