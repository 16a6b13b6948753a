//! Noise and classes of whole batches.

use super::stream::{Domain, Stream};
use crate::{Error, Images, transfer};
use burn::tensor::{Device, TensorData};
use rayon::prelude::*;
use std::num::NonZeroU64;
use std::ops::Range;

/// Standard normal noise for sampling, `[seeds, channels, height, width]`: image i depends on `seeds[i]` only.
/// `shape` is `[channels, height, width]`.
pub fn latents(seeds: &[u64], shape: [usize; 3], device: &Device) -> Images {
    let len = shape.iter().product();
    gather(seeds, shape, device, |&seed| {
        Stream::new(seed, Domain::Latent, 0).normals(len)
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
    let len = shape.iter().product();
    gather(&samples, shape, device, |&sample| {
        Stream::keyed(run_seed, Domain::TrainNoise, round, 0, sample).normals(len)
    })
}

/// One class in 0..classes for each seed, for sampling.
///
/// # Errors
/// [`Error::InvalidValue`] if `classes` is 0: a model without classes is told none.
pub fn labels(seeds: &[u64], classes: usize) -> Result<Vec<usize>, Error> {
    let classes = some_classes(classes)?;
    let draw = |&seed: &u64| Stream::new(seed, Domain::Label, 0).pick(classes) as usize;
    Ok(seeds.iter().map(draw).collect())
}

/// The number of classes to draw from.
pub(super) fn some_classes(classes: usize) -> Result<NonZeroU64, Error> {
    let expected =
        "at least 1; a model without classes is told none (`Condition::labels` is `None`)";
    let some = NonZeroU64::new(classes as u64);
    some.ok_or_else(|| Error::invalid("classes", classes, expected))
}

/// One class in 0..classes for each training sample, keyed as in [`latents_keyed`].
///
/// # Errors
/// As [`labels`].
pub fn labels_keyed(
    run_seed: u64,
    round: u64,
    samples: Range<u64>,
    classes: usize,
) -> Result<Vec<usize>, Error> {
    let classes = some_classes(classes)?;
    Ok(choices(run_seed, Domain::Label, round, samples, classes))
}

/// One text in 0..texts for each training sample, keyed as in [`latents_keyed`].
///
/// # Errors
/// [`Error::InvalidValue`] if `texts` is 0.
pub fn contexts_keyed(
    run_seed: u64,
    round: u64,
    samples: Range<u64>,
    texts: usize,
) -> Result<Vec<usize>, Error> {
    let count = NonZeroU64::new(texts as u64);
    let count = count.ok_or_else(|| Error::invalid("number of texts", texts, "at least 1"))?;
    Ok(choices(run_seed, Domain::Context, round, samples, count))
}

fn choices(
    seed: u64,
    domain: Domain,
    round: u64,
    samples: Range<u64>,
    count: NonZeroU64,
) -> Vec<usize> {
    let stream = |sample| Stream::keyed(seed, domain, round, 0, sample);
    samples
        .map(|sample| stream(sample).pick(count) as usize)
        .collect()
}

/// An image's numbers for each key, drawn side by side.
pub(super) fn gather(
    keys: &[u64],
    [channels, height, width]: [usize; 3],
    device: &Device,
    image: impl Fn(&u64) -> Vec<f32> + Sync,
) -> Images {
    // An indexed parallel map keeps the order of the keys.
    let images: Vec<Vec<f32>> = keys.par_iter().map(&image).collect();
    let shape = [keys.len(), channels, height, width];
    transfer::send(TensorData::new(images.concat(), shape), device)
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
            labels_keyed(3, 4, 0..9, 10).unwrap()[5..],
            labels_keyed(3, 4, 5..9, 10).unwrap()
        );
        let label = |seeds: &[u64]| labels(seeds, 10).unwrap();
        assert_eq!(label(&[4, 5, 6])[1], label(&[5])[0]);
    }
}
