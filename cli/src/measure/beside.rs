//! A model beside another on the same seeds: how far its latents, and the pictures of them, are from the other's.
//!
//! The other's latents are drawn first and kept, so that two large networks need not be in memory at once.

use crate::measure::keep::Stage;
use crate::measure::record::Record;
use crate::model::generate::Generator;
use crate::screen::progress::Reporter;
use anyhow::Context as _;
use burn::tensor::{Device, TensorData};
use fewstep::Images;
use fewstep::metric::{PairedDistance, paired_distance};

/// The latents of some seeds, batch by batch: 66 kB a picture of 512 x 512 pixels.
#[derive(Debug)]
pub struct Latents(Vec<Images>);

/// How far two models are apart, over the pairs so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Apart {
    /// What the networks made.
    pub latents: PairedDistance,
    /// The pictures of it, where they were decoded.
    pub pixels: Option<PairedDistance>,
}

/// Numbers of a distance in a record.
const NUMBERS: usize = 3;

impl Latents {
    /// Draws them.
    pub fn draw(
        generator: &Generator<'_>,
        seeds: &[u64],
        stage: Stage<'_>,
        (device, reporter): (&Device, Reporter),
    ) -> anyhow::Result<Self> {
        let batches: Vec<&[u64]> = seeds.chunks(generator.batch()).collect();
        let mut progress = reporter.start("the other's latents", 0, seeds.len() as u64);
        let mut all = Vec::new();
        let make = |index: usize| {
            let latents = generator.latents(batches[index], &|| ())?;
            Ok(Record {
                numbers: latents.dims().map(|size| size as f64).to_vec(),
                rows: latents.into_data().iter::<f32>().collect(),
                ..Record::default()
            })
        };
        let mut count = 0;
        stage.batches(batches.len(), make, |record| {
            let dims = record.numbers.iter().map(|size| *size as usize);
            let dims: Vec<usize> = dims.collect();
            let fits = dims.len() == 4 && dims.iter().product::<usize>() == record.rows.len();
            anyhow::ensure!(fits, "what was kept of a batch is not whole");
            count += dims[0] as u64;
            all.push(Images::from_data(
                TensorData::new(record.rows, dims),
                device,
            ));
            progress.set(count, "");
            Ok(())
        })?;
        progress.finish();
        Ok(Self(all))
    }

    /// How far the latents of a batch, and the pictures of them if there are any, are from these.
    pub fn apart(
        &self,
        index: usize,
        seeds: &[u64],
        (latents, pictures): (&Images, Option<&Images>),
        generator: &Generator<'_>,
    ) -> anyhow::Result<Apart> {
        let theirs = self.0.get(index).context("a batch that was not drawn")?;
        let pixels = match pictures {
            None => None,
            Some(pictures) => {
                let theirs = generator.decoded(seeds, theirs.clone())?;
                let theirs = theirs.context("pictures without an autoencoder")?;
                Some(paired_distance(&theirs, pictures)?)
            }
        };
        Ok(Apart {
            latents: paired_distance(theirs, latents)?,
            pixels,
        })
    }
}

impl Apart {
    /// Over both sets of pairs.
    pub fn merge(self, other: Self) -> Self {
        let pixels = [self.pixels, other.pixels].into_iter().flatten();
        Self {
            latents: self.latents.merge(other.latents),
            pixels: pixels.reduce(PairedDistance::merge),
        }
    }

    /// As numbers of a record.
    pub fn numbers(self) -> Vec<f64> {
        let all = std::iter::once(self.latents).chain(self.pixels);
        all.flat_map(|pair| [pair.images as f64, pair.rms, pair.l1])
            .collect()
    }

    /// From those numbers.
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let pair = |numbers: &[f64]| match *numbers {
            [images, rms, l1] => Some(PairedDistance {
                images: images as u64,
                rms,
                l1,
            }),
            _ => None,
        };
        let (latents, pixels) = numbers.split_at_checked(NUMBERS)?;
        Some(Self {
            latents: pair(latents)?,
            pixels: pair(pixels),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_kept_and_merged() {
        let pair = |images, rms| PairedDistance {
            images,
            rms,
            l1: rms / 2.0,
        };
        let whole = Apart {
            latents: pair(2, 0.5),
            pixels: Some(pair(2, 0.25)),
        };
        let alone = Apart {
            pixels: None,
            ..whole
        };
        for apart in [whole, alone] {
            assert_eq!(Apart::of(&apart.numbers()), Some(apart));
            assert_eq!(Apart::default().merge(apart), apart);
        }
        let other = Apart {
            latents: pair(6, 1.5),
            pixels: Some(pair(6, 0.75)),
        };
        let both = whole.merge(other);
        assert_eq!((both.latents.images, both.latents.rms), (8, 1.25));
        assert_eq!(both.pixels.map(|pair| pair.rms), Some(0.625));
        assert_eq!(Apart::of(&[1.0]), None);
    }
}
