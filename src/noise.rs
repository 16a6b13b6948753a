//! Counter-based random numbers: every draw is a pure function of what it is for.
//!
//! A [`Stream`] is ChaCha8 with the key (seed, round, use, domain) and the nonce `index`, so image i of a batch, the
//! dropout mask of one layer in one round, or the n-th picture of an epoch can be drawn without drawing the others
//! first. Nothing depends on batch size, thread count, device or the order of calls, and a resumed run needs no saved
//! generator. Bits become numbers by integer arithmetic and by the pure-Rust `libm`, so they are the same on every
//! platform.

use crate::{Error, Images};
use burn::tensor::{Device, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use std::f64::consts::TAU;
use std::ops::Range;

/// What a stream is drawn for. Streams of different domains are independent. The numbers are part of the stream's key:
/// never reuse or change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Domain {
    /// Starting noise of a sampled image; the seed is the image's.
    Latent = 1,
    /// Class label of a sampled image, or of a training sample.
    Label = 2,
    /// Noise of a training sample.
    TrainNoise = 3,
    /// Noise level of a training sample.
    TrainLevel = 4,
    /// Order in which the data are visited.
    DataOrder = 5,
    /// Horizontal flips and other changes of a training image.
    Flip = 6,
    /// Dropout masks.
    Dropout = 7,
    /// Initial weights.
    Init = 8,
    /// Preview pictures during training.
    Preview = 9,
    /// The number of steps of a round, where a recipe draws it.
    Steps = 10,
    /// Measurements: subsets, bootstrap.
    Metric = 11,
    /// Numbers for tests and calibration.
    Test = 12,
}

/// One endless sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of one element: `index` counts images, samples, parameters...
    pub fn new(seed: u64, domain: Domain, index: u64) -> Self {
        Self::keyed(seed, domain, 0, 0, index)
    }

    /// The stream of one element in one round of a run; `use_` tells apart several needs within it, such as layers.
    pub fn keyed(seed: u64, domain: Domain, round: u64, use_: u64, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&round.to_le_bytes());
        key[16..24].copy_from_slice(&use_.to_le_bytes());
        key[24..28].copy_from_slice(&(domain as u32).to_le_bytes());
        key[28..].copy_from_slice(b"few1");
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(index);
        Self(generator)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// One number in [0, 1), a multiple of 2^-53.
    pub fn uniform_f64(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (0.5f64).powi(53)
    }

    /// One standard normal number, within +-8.6; throws its twin away.
    pub fn normal_f64(&mut self) -> f64 {
        self.normal_pair().0
    }

    /// `n` numbers in [0, 1), multiples of 2^-24.
    pub fn uniforms(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| (self.0.next_u32() >> 8) as f32 * (0.5f32).powi(24))
            .collect()
    }

    /// `n` standard normal numbers, within +-8.6: computed in f64, rounded to f32. The first k do not depend on `n`.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(n + 1);
        while values.len() < n {
            let (first, second) = self.normal_pair();
            values.extend([first as f32, second as f32]);
        }
        values.truncate(n);
        values
    }

    /// A whole number in 0..n, each equally likely.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "no number is below 0");
        // Lemire's multiplication: reject the few low products that would make some results likelier.
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// The numbers 0..n in random order, each order equally likely.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }

    /// Box and Muller's two independent normal numbers.
    fn normal_pair(&mut self) -> (f64, f64) {
        // 1 - [0, 1) is (0, 1], so that the logarithm is finite.
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform_f64()));
        let (sine, cosine) = libm::sincos(TAU * self.uniform_f64());
        (radius * cosine, radius * sine)
    }
}

/// Standard normal noise for sampling, `[seeds, channels, height, width]`: image i depends on `seeds[i]` only.
/// `shape` is `[channels, height, width]`.
pub fn latents(seeds: &[u64], shape: [usize; 3], device: &Device) -> Images {
    gather(seeds, shape, device, |&seed| {
        Stream::new(seed, Domain::Latent, 0)
    })
}

/// Standard normal noise for training, `[samples, channels, height, width]`: each image depends on the run's seed, the
/// round and the sample's number in the round only, however the round is cut into micro-batches.
pub fn latents_keyed(
    run_seed: u64,
    round: u64,
    samples: Range<u64>,
    shape: [usize; 3],
    device: &Device,
) -> Images {
    let samples: Vec<u64> = samples.collect();
    gather(&samples, shape, device, |&sample| {
        Stream::keyed(run_seed, Domain::TrainNoise, round, 0, sample)
    })
}

/// One class in 0..classes for each seed, for sampling.
///
/// # Panics
/// If `classes` is 0.
pub fn labels(seeds: &[u64], classes: usize) -> Vec<usize> {
    let draw = |&seed: &u64| Stream::new(seed, Domain::Label, 0).below(classes as u64) as usize;
    seeds.iter().map(draw).collect()
}

/// One class in 0..classes for each training sample, keyed as in [`latents_keyed`].
///
/// # Panics
/// If `classes` is 0.
pub fn labels_keyed(run_seed: u64, round: u64, samples: Range<u64>, classes: usize) -> Vec<usize> {
    let stream = |sample| Stream::keyed(run_seed, Domain::Label, round, 0, sample);
    samples
        .map(|sample| stream(sample).below(classes as u64) as usize)
        .collect()
}

/// Dropout factors, `len` for each sample one after the other: 0 with probability `rate` (a multiple of 2^-16), else
/// 1 / (1 - rate). `use_` tells apart the layers (and the evaluations) of a round.
///
/// # Errors
/// [`Error::InvalidValue`] if `rate` is not in [0, 1).
pub fn dropout_mask(
    seed: u64,
    round: u64,
    use_: u64,
    samples: Range<u64>,
    len: usize,
    rate: f64,
) -> Result<Vec<f32>, Error> {
    if !(0.0..1.0).contains(&rate) {
        return Err(Error::invalid("dropout", rate, "in [0, 1)"));
    }
    let threshold = (rate * 65536.0).round() as u32;
    let keep = (1.0 / (1.0 - rate)) as f32;
    let count = samples.end.saturating_sub(samples.start) as usize;
    let mut mask = vec![keep; count * len];
    if threshold > 0 && len > 0 {
        mask.par_chunks_mut(len)
            .enumerate()
            .for_each(|(offset, mask)| {
                let sample = samples.start + offset as u64;
                let mut stream = Stream::keyed(seed, Domain::Dropout, round, use_, sample);
                for four in mask.chunks_mut(4) {
                    let mut bits = stream.bits();
                    for value in four {
                        if ((bits & 0xffff) as u32) < threshold {
                            *value = 0.0;
                        }
                        bits >>= 16;
                    }
                }
            });
    }
    Ok(mask)
}

/// Which of `len` items comes at `position` of an endless pass that visits all of them in every epoch, each epoch in
/// an order of its own. No state: a resumed run needs only the position.
///
/// # Panics
/// If `len` is 0.
pub fn epoch_index(seed: u64, position: u64, len: usize) -> usize {
    assert!(len > 0, "no item to visit");
    let len = len as u64;
    let mut stream = Stream::new(seed, Domain::DataOrder, position / len);
    let keys: [u64; 8] = std::array::from_fn(|_| stream.bits());
    // A Feistel network permutes 0..4^half; walking its cycle until a number falls below `len` permutes 0..len.
    let half = (64 - (len - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let mut index = position % len;
    loop {
        let (mut left, mut right) = (index >> half, index & mask);
        for key in keys {
            (left, right) = (right, left ^ (scramble(right ^ key) & mask));
        }
        index = (left << half) | right;
        if index < len {
            return index as usize;
        }
    }
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of `x`.
fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn gather(
    keys: &[u64],
    [channels, height, width]: [usize; 3],
    device: &Device,
    stream: impl Fn(&u64) -> Stream + Sync,
) -> Images {
    let image = |key| stream(key).normals(channels * height * width);
    // An indexed parallel map keeps the order of the keys.
    let images: Vec<Vec<f32>> = keys.par_iter().map(image).collect();
    let shape = [keys.len(), channels, height, width];
    Images::from_data(TensorData::new(images.concat(), shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(images: Images) -> Vec<f32> {
        images.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn image_depends_on_its_seed_only() {
        let device = Device::flex();
        let seeds: Vec<u64> = (0..12).collect();
        let all = values(latents(&seeds, [2, 4, 5], &device));
        for batch in [1, 5, 7] {
            let parts = seeds.chunks(batch);
            let joined: Vec<f32> = parts
                .flat_map(|part| values(latents(part, [2, 4, 5], &device)))
                .collect();
            assert_eq!(joined, all, "batches of {batch}");
        }
        let reversed: Vec<u64> = seeds.iter().rev().copied().collect();
        assert_eq!(
            values(latents(&reversed, [2, 4, 5], &device))[..40],
            all[440..]
        );
        let one = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        assert_eq!(
            one.install(|| values(latents(&seeds, [2, 4, 5], &device))),
            all
        );
    }

    #[test]
    fn training_noise_depends_on_seed_round_and_sample_only() {
        let device = Device::flex();
        let draw =
            |seed, round, samples| values(latents_keyed(seed, round, samples, [1, 2, 2], &device));
        assert_eq!(
            [draw(3, 4, 0..3), draw(3, 4, 3..5)].concat(),
            draw(3, 4, 0..5)
        );
        assert_ne!(draw(3, 4, 0..1), draw(3, 5, 0..1));
        assert_ne!(draw(3, 4, 0..1), draw(4, 4, 0..1));
        assert_eq!(
            labels_keyed(3, 4, 0..9, 10)[5..],
            labels_keyed(3, 4, 5..9, 10)
        );
        assert_eq!(labels(&[4, 5, 6], 10)[1], labels(&[5], 10)[0]);
    }

    #[test]
    fn moments_are_those_of_a_normal() {
        let values = Stream::new(1, Domain::Test, 0).normals(400_001);
        assert_eq!(values.len(), 400_001);
        let n = values.len() as f64;
        let moment = |p| values.iter().map(|&v| f64::from(v).powi(p)).sum::<f64>() / n;
        // The bounds are five standard deviations of each moment's estimate.
        for (power, expected, variance) in
            [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)]
        {
            let error = moment(power) - expected;
            assert!(
                error.abs() < 5.0 * f64::sqrt(variance / n),
                "moment {power}: {error}"
            );
        }
        let tail = values.iter().filter(|v| v.abs() > 1.959_964).count() as f64 / n;
        assert!(
            (tail - 0.05).abs() < 5.0 * f64::sqrt(0.05 * 0.95 / n),
            "tail {tail}"
        );
    }

    #[test]
    fn neighbouring_streams_are_uncorrelated() {
        let n = 20_000;
        let base = Stream::keyed(5, Domain::Test, 5, 5, 5).normals(n);
        let others = [
            Stream::keyed(6, Domain::Test, 5, 5, 5),
            Stream::keyed(5, Domain::Metric, 5, 5, 5),
            Stream::keyed(5, Domain::Test, 6, 5, 5),
            Stream::keyed(5, Domain::Test, 5, 6, 5),
            Stream::keyed(5, Domain::Test, 5, 5, 6),
        ];
        for (which, mut other) in others.into_iter().enumerate() {
            let pairs = base.iter().zip(other.normals(n + 1));
            let mean = pairs.map(|(a, b)| f64::from(a * b)).sum::<f64>() / n as f64;
            assert!(
                mean.abs() < 5.0 / f64::sqrt(n as f64),
                "key part {which}: {mean}"
            );
        }
    }

    /// The expected numbers come from a ChaCha8 and Box-Muller written separately in another language.
    #[test]
    fn numbers_never_change() {
        let stream = || Stream::keyed(42, Domain::Latent, 1, 2, 3);
        assert_eq!(stream().bits(), 0xe1e6_17d4_0482_299f);
        let normals = [
            -1.938_185,
            0.724_336_74,
            -0.242_253_26,
            1.102_400_9,
            1.777_264_6,
        ];
        assert_eq!(stream().normals(5), normals);
        assert_eq!(
            stream().uniforms(3),
            [0.017_611_086, 0.882_417_14, 0.428_162_04]
        );
        assert_eq!(stream().permutation(8), [4, 0, 5, 6, 1, 2, 3, 7]);
        assert_eq!(
            labels(&[0, 1, 2, 3, 4, 5, 6, 7], 10),
            [5, 9, 6, 0, 9, 8, 2, 3]
        );
        let order: Vec<usize> = (0..10).map(|i| epoch_index(7, i, 10)).collect();
        assert_eq!(order, [3, 8, 9, 1, 6, 4, 5, 2, 7, 0]);
        let mask = dropout_mask(1, 2, 3, 4..5, 10, 0.5).unwrap();
        assert_eq!(mask, [0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    fn below_and_uniforms_fill_their_range_evenly() {
        let mut stream = Stream::new(2, Domain::Test, 0);
        let mut counts = [0f64; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1.0;
        }
        let chi: f64 = counts.iter().map(|c| (c - 1e4).powi(2) / 1e4).sum();
        assert!(chi < 30.0, "chi square with 6 degrees of freedom is {chi}");
        let uniforms = stream.uniforms(100_000);
        assert!(uniforms.iter().all(|u| (0.0..1.0).contains(u)));
        let mean = uniforms.iter().map(|&u| f64::from(u)).sum::<f64>() / 1e5;
        assert!((mean - 0.5).abs() < 5.0 * f64::sqrt(1.0 / 12e5), "{mean}");
    }

    #[test]
    fn every_epoch_visits_all_in_another_order() {
        for len in [1, 2, 3, 10, 1000, 1025] {
            let epoch = |e: u64| -> Vec<usize> {
                let first = e * len as u64;
                (first..first + len as u64)
                    .map(|p| epoch_index(9, p, len))
                    .collect()
            };
            for e in [0, 1, 1000] {
                let mut visited = epoch(e);
                visited.sort_unstable();
                assert!(visited.into_iter().eq(0..len), "len {len}, epoch {e}");
            }
            if len >= 10 {
                assert_ne!(epoch(0), epoch(1));
                let same = epoch(0).into_iter().enumerate().filter(|(i, v)| i == v);
                assert!(same.count() < 9, "hardly shuffled: len {len}");
            }
        }
    }

    #[test]
    fn epoch_order_is_uniform() {
        // Over 6,000 epochs of 3 items all six orders come up equally often.
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000u64 {
            let order: Vec<usize> = (0..3).map(|i| epoch_index(1, 3 * epoch + i, 3)).collect();
            *counts.entry(order).or_insert(0f64) += 1.0;
        }
        let chi: f64 = counts.values().map(|c| (c - 1e3).powi(2) / 1e3).sum();
        assert!(counts.len() == 6 && chi < 30.0, "{counts:?}");
    }

    #[test]
    fn dropout_keeps_the_expectation_and_the_cut() {
        let mask = dropout_mask(1, 0, 0, 0..10, 10_000, 0.13).unwrap();
        let dropped = mask.iter().filter(|&&m| m == 0.0).count() as f64 / 1e5;
        assert!(
            (dropped - 0.13).abs() < 5.0 * f64::sqrt(0.13 * 0.87 / 1e5),
            "{dropped}"
        );
        assert!(
            mask.iter()
                .all(|&m| m == 0.0 || m == (1.0f64 / 0.87) as f32)
        );
        assert_eq!(
            dropout_mask(1, 0, 0, 6..7, 10_000, 0.13).unwrap(),
            mask[60_000..70_000]
        );
        assert_ne!(
            dropout_mask(1, 0, 1, 6..7, 10_000, 0.13).unwrap(),
            mask[60_000..70_000]
        );
        assert!(
            dropout_mask(1, 0, 0, 0..1, 9, 0.0)
                .unwrap()
                .iter()
                .all(|&m| m == 1.0)
        );
        assert!(dropout_mask(1, 0, 0, 0..1, 9, 1.0).is_err());
    }
}
