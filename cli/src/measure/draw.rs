//! Measuring images: Frechet distance, distance between pairs, rate.

use crate::measure::feature_set::{Collector, FeatureSet};
use crate::model::generate::Generator;
use crate::screen::failure::wrong;
use crate::screen::progress::Reporter;
use crate::screen::signal;
use anyhow::Context as _;
use fewstep::data::{Dataset, Pictures, Skipped};
use fewstep::metric::{Extract, Moments, PairedDistance, paired_distance};
use fewstep::{Device, Images};
use std::time::Instant;

/// Draws an image for each seed and takes the moments of their features.
pub fn draw(
    generator: &Generator<'_>,
    seeds: &[u64],
    features: &dyn Extract,
    reporter: Reporter,
) -> anyhow::Result<Moments> {
    let mut collector = Collector::new(features, false, Vec::new());
    draw_into(&mut collector, generator, seeds, reporter)?;
    Ok(collector.finish()?.moments)
}

/// Draws an image for each seed and collects their features; returns the images a second, sampling alone. The images
/// are rounded to bytes first, as in a PNG file, so that a folder of them gives the same figure.
pub fn draw_into(
    collector: &mut Collector<'_>,
    generator: &Generator<'_>,
    seeds: &[u64],
    reporter: Reporter,
) -> anyhow::Result<f64> {
    signal::catch("batch")?;
    let mut progress = reporter.start("images", 0, seeds.len() as u64);
    let mut seconds = 0.0;
    for seeds in seeds.chunks(generator.batch()) {
        let started = Instant::now();
        let images = drawn(generator, seeds)?;
        seconds += started.elapsed().as_secs_f64();
        collector.push(&collector.features().extract(rounded(images))?)?;
        progress.set(collector.count(), "");
    }
    progress.finish();
    Ok(seeds.len() as f64 / seconds.max(1e-9))
}

/// The images as a picture of bytes would show them, in [-1, 1]; the same arithmetic as in [`Picture::all`].
fn rounded(images: Images) -> Images {
    let bytes = images
        .mul_scalar(127.5)
        .add_scalar(128.0)
        .clamp(0.0, 255.0)
        .floor();
    bytes.div_scalar(127.5).sub_scalar(1.0)
}

/// One model beside others, on the same seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Together {
    /// To the first model's images.
    pub distance: PairedDistance,
    /// Images a second.
    pub rate: f64,
}

/// Draws the images of some seeds from several models, and compares each with the first.
pub fn together(
    generators: &[&Generator<'_>],
    seeds: &[u64],
    reporter: Reporter,
) -> anyhow::Result<Vec<Together>> {
    signal::catch("batch")?;
    let mut found = vec![Together::default(); generators.len()];
    let mut seconds = vec![0.0; generators.len()];
    let mut progress = reporter.start("pairs", 0, seeds.len() as u64);
    // All see the same seeds together.
    let batch = generators.iter().map(|generator| generator.batch()).min();
    for seeds in seeds.chunks(batch.unwrap_or(1)) {
        let mut first: Option<Images> = None;
        for ((generator, found), seconds) in generators.iter().zip(&mut found).zip(&mut seconds) {
            let started = Instant::now();
            let images = drawn(generator, seeds)?;
            *seconds += started.elapsed().as_secs_f64();
            let first = first.get_or_insert_with(|| images.clone());
            found.distance = found.distance.merge(paired_distance(first, &images)?);
            found.rate = found.distance.images as f64 / seconds.max(1e-9);
        }
        progress.set(found.first().map_or(0, |f| f.distance.images), "");
    }
    progress.finish();
    Ok(found)
}

/// The images of some seeds, batch by batch.
pub fn batches(
    generator: &Generator<'_>,
    seeds: &[u64],
    reporter: Reporter,
) -> anyhow::Result<Vec<Images>> {
    let mut progress = reporter.start("pairs", 0, seeds.len() as u64);
    let (mut all, mut count) = (Vec::new(), 0);
    for seeds in seeds.chunks(generator.batch()) {
        all.push(drawn(generator, seeds)?);
        count += seeds.len() as u64;
        progress.set(count, "");
    }
    progress.finish();
    Ok(all)
}

/// How far a model's images are from `theirs`, which are those of the same seeds.
pub fn apart(
    theirs: &[Images],
    generator: &Generator<'_>,
    seeds: &[u64],
) -> anyhow::Result<PairedDistance> {
    let mut found = PairedDistance::default();
    let mut seeds = seeds;
    for theirs in theirs {
        let (now, later) = seeds.split_at(theirs.dims()[0].min(seeds.len()));
        seeds = later;
        found = found.merge(paired_distance(theirs, &drawn(generator, now)?)?);
    }
    Ok(found)
}

/// The images of some seeds; the clock may stop when this returns.
fn drawn(generator: &Generator<'_>, seeds: &[u64]) -> anyhow::Result<Images> {
    let images = generator.images(seeds)?;
    images.device().sync().context("the device failed")?;
    Ok(images)
}

/// Collects the features of some images of a data set.
pub fn read_into(
    mut collector: Collector<'_>,
    data: &Dataset,
    indices: &[usize],
    device: &Device,
    reporter: Reporter,
) -> anyhow::Result<FeatureSet> {
    signal::catch("batch")?;
    let mut progress = reporter.start("images of the data set", 0, indices.len() as u64);
    for indices in indices.chunks(250) {
        signal::check()?;
        let images = data.batch(indices, &[], device);
        collector.push(&collector.features().extract(images)?)?;
        progress.set(collector.count(), "");
    }
    progress.finish();
    let found = collector.finish();
    found
        .map_err(|e| wrong(e.to_string()))
        .context("the data set")
}

/// Collects the features of some pictures, each at its own size, as they are read.
pub fn read_pictures_into(
    mut collector: Collector<'_>,
    pictures: &Pictures,
    indices: &[usize],
    skip_unreadable: bool,
    (device, reporter): (&Device, Reporter),
) -> anyhow::Result<FeatureSet> {
    let mut progress = reporter.start("images of the data set", 0, indices.len() as u64);
    let mut left_out: Vec<Skipped> = Vec::new();
    for indices in indices.chunks(64) {
        // Neighbours of one size go through the network together.
        let mut together: Vec<u8> = Vec::new();
        let mut shape = [0; 3];
        let mut flush = |bytes: Vec<u8>, shape: [usize; 3]| -> anyhow::Result<()> {
            if !bytes.is_empty() {
                let features = collector.features();
                collector.push(&features.extract_bytes(bytes, shape, device)?)?;
            }
            Ok(())
        };
        for picture in pictures.read(indices) {
            match picture {
                Ok(picture) if picture.shape == shape => together.extend(picture.bytes),
                Ok(picture) => {
                    flush(std::mem::replace(&mut together, picture.bytes), shape)?;
                    shape = picture.shape;
                }
                Err(unreadable) if skip_unreadable => left_out.push(unreadable),
                Err(Skipped { name, reason }) => {
                    return Err(wrong(format!("{}: {reason}", name.display())));
                }
            }
        }
        flush(together, shape)?;
        progress.set(collector.count(), "");
    }
    progress.finish();
    if let Some(Skipped { name, reason }) = left_out.first() {
        let (count, name) = (left_out.len(), name.display());
        reporter.warn(format!(
            "{count} images were left out, the first is {name}: {reason}"
        ));
    }
    let found = collector.finish();
    found
        .map_err(|e| wrong(e.to_string()))
        .context("the data set")
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
        assert_eq!(
            Picture::all(once.clone()).unwrap(),
            Picture::all(images).unwrap()
        );
        let values = once.into_data();
        for value in values.iter::<f32>() {
            let byte = ((value + 1.0) * 127.5).round();
            assert_eq!(value, byte / 127.5 - 1.0);
        }
    }
}
