//! Measuring images: Frechet distance, distance between pairs, rate.

use crate::measure::feature_set::Collector;
use crate::measure::gather::{Drawn, Gather};
use crate::measure::keep::Stage;
use crate::measure::record::Record;
use crate::model::generate::Generator;
use crate::screen::progress::{Reporter, figure};
use anyhow::Context as _;
use fewstep::Images;
use fewstep::metric::{Extract, Moments, PairedDistance, paired_distance};
use std::time::Instant;

/// Draws an image for each seed and takes the moments of their features.
pub fn draw(
    generator: &Generator<'_>,
    seeds: &[u64],
    features: &dyn Extract,
    reporter: Reporter,
) -> anyhow::Result<Moments> {
    let collector = Collector::new(features, false, Vec::new());
    let mut gather = Gather::new(Some(collector), None);
    draw_into(&mut gather, generator, seeds, Stage::none(), reporter)?;
    let set = gather.finish()?.set.context("no features")?;
    Ok(set.moments)
}

/// Draws an image for each seed and gathers what is wanted of them. The images are rounded to bytes first, as in a PNG file, so that
/// a folder of them gives the same figure.
pub fn draw_into(
    gather: &mut Gather<'_>,
    generator: &Generator<'_>,
    seeds: &[u64],
    stage: Stage<'_>,
    reporter: Reporter,
) -> anyhow::Result<()> {
    let mut progress = reporter.start("images", 0, seeds.len() as u64);
    let batches: Vec<&[u64]> = seeds.chunks(generator.batch()).collect();
    let (maker, tells) = (gather.maker(), stage.is_kept());
    let (mut seconds, mut drawn_now) = (0.0, 0);
    let make = |index: usize| {
        let started = Instant::now();
        let drawn = whole(generator, batches[index])?;
        seconds += started.elapsed().as_secs_f64();
        drawn_now += batches[index].len();
        maker.record(index, drawn, batches[index], generator)
    };
    let mut sizes = batches.iter().map(|batch| batch.len());
    stage.batches(batches.len(), make, |record| {
        gather.take(&record, sizes.next().unwrap_or(0))?;
        progress.set(gather.count(), "");
        Ok(())
    })?;
    progress.finish();
    // A time is no result: it goes where progress goes.
    if tells && drawn_now > 0 {
        let rate = figure(drawn_now as f64 / f64::max(seconds, 1e-9));
        reporter.say(format!("{drawn_now} images drawn, {rate} a second"));
    }
    Ok(())
}

/// One model beside others, on the same seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Together {
    /// To the first model's images.
    pub distance: PairedDistance,
    /// Images a second, of those that were drawn now.
    pub rate: f64,
}

/// Draws the images of some seeds from several models, and compares each with the first.
pub fn together(
    generators: &[&Generator<'_>],
    seeds: &[u64],
    stage: Stage<'_>,
    reporter: Reporter,
) -> anyhow::Result<Vec<Together>> {
    let mut found = vec![Together::default(); generators.len()];
    let mut seconds = vec![0.0; generators.len()];
    let mut drawn_now = 0;
    let mut progress = reporter.start("pairs", 0, seeds.len() as u64);
    // All see the same seeds together.
    let batch = generators.iter().map(|generator| generator.batch()).min();
    let batches: Vec<&[u64]> = seeds.chunks(batch.unwrap_or(1)).collect();
    let make = |index: usize| {
        let mut first: Option<Images> = None;
        let mut numbers = Vec::new();
        drawn_now += batches[index].len();
        for (generator, seconds) in generators.iter().zip(&mut seconds) {
            let started = Instant::now();
            let images = drawn(generator, batches[index])?;
            *seconds += started.elapsed().as_secs_f64();
            let first = first.get_or_insert_with(|| images.clone());
            let distance = paired_distance(first, &images)?;
            numbers.extend([distance.images as f64, distance.rms, distance.l1]);
        }
        Ok(Record {
            numbers,
            ..Record::default()
        })
    };
    stage.batches(batches.len(), make, |record| {
        for (found, numbers) in found.iter_mut().zip(record.numbers.as_chunks().0) {
            let [images, rms, l1] = *numbers;
            let images = images as u64;
            found.distance = found.distance.merge(PairedDistance { images, rms, l1 });
        }
        progress.set(found.first().map_or(0, |f| f.distance.images), "");
        Ok(())
    })?;
    progress.finish();
    for (found, seconds) in found.iter_mut().zip(seconds) {
        found.rate = drawn_now as f64 / f64::max(seconds, 1e-9);
    }
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

/// What a model makes of some seeds, and the pictures of it where there is what makes them; the clock may stop when this returns.
fn whole(generator: &Generator<'_>, seeds: &[u64]) -> anyhow::Result<Drawn> {
    if !generator.is_latent() {
        return Ok(Drawn {
            latents: None,
            pictures: Some(drawn(generator, seeds)?),
        });
    }
    let latents = generator.latents(seeds, &|| ())?;
    let pictures = generator.decoded(seeds, latents.clone())?;
    let last = pictures.as_ref().unwrap_or(&latents);
    last.device().sync().context("the device failed")?;
    Ok(Drawn {
        latents: Some(latents),
        pictures,
    })
}

/// The images of some seeds; the clock may stop when this returns.
fn drawn(generator: &Generator<'_>, seeds: &[u64]) -> anyhow::Result<Images> {
    let images = generator.images(seeds)?;
    images.device().sync().context("the device failed")?;
    Ok(images)
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

    #[test]
    fn few_images_are_warned_of() {
        assert!(too_few(2047, 64).is_some() && too_few(2048, 64).is_none());
        assert!(too_few(2559, 256).is_some() && too_few(2560, 256).is_none());
    }
}
