//! Measuring images: Frechet distance, distance between pairs, rate.

use crate::failure::wrong;
use crate::generate::Generator;
use crate::progress::Reporter;
use anyhow::Context as _;
use fewstep::data::Dataset;
use fewstep::metric::{Accumulator, Features, Moments, PairedDistance, paired_distance};
use fewstep::{Device, Images};
use std::time::Instant;

/// Images computed at once.
const BATCH: usize = 50;

/// What was found about a model's images.
pub struct Drawn {
    /// Moments of their features.
    pub moments: Moments,
    /// Images a second, sampling alone.
    pub rate: f64,
}

/// Draws an image for each seed and takes the moments of their features. The images are rounded to bytes first, as
/// in a PNG file, so that a folder of them gives the same figure.
pub fn draw(
    generator: &Generator<'_>,
    seeds: &[u64],
    features: &Features,
    reporter: Reporter,
) -> anyhow::Result<Drawn> {
    let mut moments = Accumulator::new(features.card.network.features);
    let mut progress = reporter.start("images", 0, seeds.len() as u64);
    let (mut seconds, mut done) = (0.0, 0);
    for seeds in seeds.chunks(BATCH) {
        let started = Instant::now();
        let images = rounded(generator.images(seeds));
        // The clock stops when the numbers are there, not when they have been asked for.
        images.device().sync().context("the device failed")?;
        seconds += started.elapsed().as_secs_f64();
        moments.push(&features.extract(images)?);
        done += seeds.len() as u64;
        progress.set(done, "");
    }
    progress.finish();
    Ok(Drawn {
        moments: moments.finish(&features.hash)?,
        rate: seeds.len() as f64 / seconds.max(1e-9),
    })
}

/// The images as a picture of bytes would show them, in [-1, 1]; the same arithmetic as in [`Picture::all`].
fn rounded(images: Images) -> Images {
    let bytes = images.mul_scalar(127.5).add_scalar(128.0).clamp(0.0, 255.0).floor();
    bytes.div_scalar(127.5).sub_scalar(1.0)
}

/// Distances between the images that two models make of the same seeds.
pub fn compare(
    teacher: &Generator<'_>,
    student: &Generator<'_>,
    seeds: &[u64],
    reporter: Reporter,
) -> anyhow::Result<PairedDistance> {
    let mut total = PairedDistance::default();
    let mut progress = reporter.start("pairs", 0, seeds.len() as u64);
    for seeds in seeds.chunks(BATCH) {
        let pair = paired_distance(&teacher.images(seeds), &student.images(seeds))?;
        total = total.merge(pair);
        progress.set(total.images, "");
    }
    progress.finish();
    Ok(total)
}

/// The moments of a data set's features.
pub fn moments_of(
    data: &Dataset,
    features: &Features,
    device: &Device,
    reporter: Reporter,
) -> anyhow::Result<Moments> {
    let mut moments = Accumulator::new(features.card.network.features);
    let mut progress = reporter.start("reference images", 0, data.len() as u64);
    let all: Vec<usize> = (0..data.len()).collect();
    for indices in all.chunks(250) {
        moments.push(&features.extract(data.batch(indices, &[], device))?);
        progress.set(moments.count(), "");
    }
    progress.finish();
    let moments = moments.finish(&features.hash);
    moments.map_err(|e| wrong(e.to_string())).context("the data set")
}

/// Why a Frechet distance over so few images is not to be trusted, if it is not.
pub fn too_few(images: u64, features: usize) -> Option<String> {
    let wanted = (10 * features as u64).max(2048);
    (images < wanted).then(|| {
        format!(
            "{images} images are few for {features} features: the distance comes out too large; take {wanted} or \
             more, and compare only with figures for as many"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::image::Picture;
    use fewstep::noise;

    #[test]
    fn few_images_are_warned_of() {
        assert!(too_few(2047, 64).is_some() && too_few(2048, 64).is_none());
        assert!(too_few(2559, 256).is_some() && too_few(2560, 256).is_none());
    }

    #[test]
    fn rounding_is_that_of_pictures() {
        let images = noise::latents(&[1, 2], [3, 4, 5], &Device::flex());
        let once = rounded(images.clone());
        assert_eq!(Picture::all(once.clone()).unwrap(), Picture::all(images).unwrap());
        let values = once.into_data();
        for value in values.iter::<f32>() {
            let byte = ((value + 1.0) * 127.5).round();
            assert_eq!(value, byte / 127.5 - 1.0);
        }
    }
}
