//! One sequence of numbers for each use.

use crate::Error;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::f64::consts::TAU;
use std::num::NonZeroU64;

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
    /// The text of a training sample.
    Context = 13,
    /// Candidates of a search for settings.
    Search = 14,
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
    /// # Errors
    /// [`Error::InvalidValue`] if `n` is 0.
    pub fn below(&mut self, n: u64) -> Result<u64, Error> {
        let range = NonZeroU64::new(n);
        let range = range.ok_or_else(|| Error::invalid("range of a draw", n, "at least 1"))?;
        Ok(self.pick(range))
    }

    /// As [`below`](Self::below), of a range that is known not to be empty.
    pub(crate) fn pick(&mut self, n: NonZeroU64) -> u64 {
        let n = n.get();
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
            let range = NonZeroU64::MIN.saturating_add(last as u64);
            order.swap(last, self.pick(range) as usize);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{dropout_mask, epoch_index, labels};

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
            labels(&[0, 1, 2, 3, 4, 5, 6, 7], 10).unwrap(),
            [5, 9, 6, 0, 9, 8, 2, 3]
        );
        let order: Vec<usize> = (0..10).map(|i| epoch_index(7, i, 10).unwrap()).collect();
        assert_eq!(order, [3, 8, 9, 1, 6, 4, 5, 2, 7, 0]);
        let mask = dropout_mask(1, 2, 3, 4..5, 10, 0.5).unwrap();
        assert_eq!(mask, [0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    fn below_and_uniforms_fill_their_range_evenly() {
        let mut stream = Stream::new(2, Domain::Test, 0);
        let mut counts = [0f64; 7];
        for _ in 0..70_000 {
            counts[stream.below(7).unwrap() as usize] += 1.0;
        }
        let chi: f64 = counts.iter().map(|c| (c - 1e4).powi(2) / 1e4).sum();
        assert!(chi < 30.0, "chi square with 6 degrees of freedom is {chi}");
        let uniforms = stream.uniforms(100_000);
        assert!(uniforms.iter().all(|u| (0.0..1.0).contains(u)));
        let mean = uniforms.iter().map(|&u| f64::from(u)).sum::<f64>() / 1e5;
        assert!((mean - 0.5).abs() < 5.0 * f64::sqrt(1.0 / 12e5), "{mean}");
    }
}
