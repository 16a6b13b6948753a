//! Whose noise and classes a seed stands for.

use super::latent::{gather, latents, some_classes};
use super::stream::{Domain, Stream};
use super::torch_cpu::TorchCpu;
use super::torch_cuda::TorchCuda;
use crate::{Error, Images};
use burn::tensor::Device;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where the starting noise and the class of a sampled image come from. With each of them image i depends on seed i
/// only.
///
/// The two of PyTorch follow the official samplers: a generator of its own for each image, seeded with the seed modulo
/// 2^32, from which the noise is drawn first and the class next. So EDM's and SFD's lists of seeds give their latents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// [`Stream`]: the same on every machine.
    #[default]
    Ours,
    /// [`TorchCpu`].
    TorchCpu,
    /// [`TorchCuda`], on the grid of an A100. Up to 221,184 elements an image this is any device that is not smaller.
    TorchCuda,
}

impl Source {
    /// Every source, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::Ours, Self::TorchCpu, Self::TorchCuda];

    /// Standard normal noise `[seeds, channels, height, width]`; `shape` is `[channels, height, width]`.
    pub fn latents(self, seeds: &[u64], shape: [usize; 3], device: &Device) -> Images {
        let len = shape.iter().product();
        match self {
            Self::Ours => latents(seeds, shape, device),
            Self::TorchCpu => gather(seeds, shape, device, |&s| TorchCpu::new(s).normals(len)),
            Self::TorchCuda => gather(seeds, shape, device, |&s| cuda(s).normals(len)),
        }
    }

    /// One class in 0..classes for each seed, drawn after noise of `shape`.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if `classes` is 0, or 2^28 or more for a source of PyTorch's.
    pub fn labels(
        self,
        seeds: &[u64],
        shape: [usize; 3],
        classes: usize,
    ) -> Result<Vec<usize>, Error> {
        let len = shape.iter().product();
        let count = some_classes(classes)?.get();
        let draw = |&seed: &u64| match self {
            Self::Ours => Stream::new(seed, Domain::Label, 0).below(count),
            Self::TorchCpu => {
                let mut torch = TorchCpu::new(seed);
                torch.skip_normals(len);
                torch.below(count)
            }
            Self::TorchCuda => {
                let mut torch = cuda(seed);
                torch.skip_normals(len);
                torch.below(count)
            }
        };
        let labels = seeds.par_iter().map(draw);
        labels.map(|label| label.map(|l| l as usize)).collect()
    }

    /// Its name, as typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::TorchCpu => "torch-cpu",
            Self::TorchCuda => "torch-cuda",
        }
    }
}

/// A generator for one image, seeded as the official samplers seed theirs.
fn cuda(seed: u64) -> TorchCuda {
    TorchCuda::a100(seed & 0xffff_ffff)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|source| source.name() == text);
        found.ok_or_else(|| Error::invalid("noise", text, "ours, torch-cpu or torch-cuda"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;

    #[test]
    fn noise_and_class_depend_on_the_seed_only() {
        let device = Device::flex();
        let shape = [2, 5, 3];
        let seeds: Vec<u64> = (0..64).collect();
        for source in Source::ALL {
            let draw = |batch: usize, threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let one = |seeds: &[u64]| {
                    let noise = source.latents(seeds, shape, &device);
                    let noise: Vec<u32> =
                        noise.into_data().iter::<f32>().map(f32::to_bits).collect();
                    let labels = source.labels(seeds, shape, 10).unwrap();
                    noise
                        .into_iter()
                        .chain(labels.into_iter().map(|l| l as u32))
                        .collect()
                };
                pool.build().unwrap().install(|| {
                    let batches: Vec<Vec<u32>> = seeds.chunks(batch).map(one).collect();
                    // Noise and labels of each seed, whatever the batches were.
                    let mut rows = Vec::new();
                    for (batch, seeds) in batches.iter().zip(seeds.chunks(batch)) {
                        let (noise, labels) = batch.split_at(seeds.len() * 30);
                        rows.extend(noise.chunks(30).zip(labels).map(|(n, l)| (n.to_vec(), *l)));
                    }
                    rows
                })
            };
            let whole = draw(64, 1);
            assert_eq!(whole.len(), 64);
            assert!(whole.windows(2).all(|w| w[0].0 != w[1].0));
            for batch in [64, 7, 1] {
                for threads in [1, 2] {
                    assert_eq!(draw(batch, threads), whole, "{source} {batch} {threads}");
                }
            }
        }
    }

    #[test]
    fn ours_is_what_it_was_and_torch_takes_32_bits_of_a_seed() {
        let device = Device::flex();
        let values = |images: Images| images.into_data().try_to_vec::<f32>().unwrap();
        let seeds = [3, 1 << 40, 3 + (1 << 32)];
        assert_eq!(
            values(Source::Ours.latents(&seeds, [1, 4, 4], &device)),
            values(noise::latents(&seeds, [1, 4, 4], &device))
        );
        assert_eq!(
            Source::Ours.labels(&seeds, [1, 4, 4], 7).unwrap(),
            noise::labels(&seeds, 7).unwrap()
        );
        for source in [Source::TorchCpu, Source::TorchCuda] {
            let noise = values(source.latents(&seeds, [1, 4, 4], &device));
            assert_eq!(noise[..16], noise[32..]);
            let mut expected = TorchCpu::new(3);
            if source == Source::TorchCpu {
                assert_eq!(noise[..16], expected.normals(16));
                let label = expected.below(7).unwrap() as usize;
                let labels = source.labels(&seeds, [1, 4, 4], 7).unwrap();
                assert_eq!(labels[0], label);
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for source in Source::ALL {
            assert_eq!(source.to_string().parse::<Source>().unwrap(), source);
        }
        let error = "cuda".parse::<Source>().unwrap_err().to_string();
        assert!(error.contains("torch-cuda"), "{error}");
    }
}
