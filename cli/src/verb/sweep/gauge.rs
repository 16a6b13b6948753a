//! What the runs of a sweep are measured by.

use super::latent::LatentTeacher;
use super::measured::Sample;
use crate::context::Context;
use crate::measure::draw::{apart, batches, draw, too_few};
use crate::model::generate::Generator;
use anyhow::Context as _;
use fewstep::Images;
use fewstep::metric::{Features, Moments, frechet_distance};
use fewstep::model::{Model, Sampling};
use std::cell::OnceCell;

/// What runs are measured by: what teachers make decides.
pub enum Gauge<'a> {
    /// The Frechet distance to a reference, and the distance to the teacher's images.
    Images(Box<Reference>),
    /// The distance to the teacher's latents, and to the pictures of them, and CLIP scores.
    Latents(Box<LatentTeacher<'a>>),
}

/// What Frechet distances are to.
pub struct Reference {
    pub features: Features,
    pub moments: Moments,
    /// SHA-256 of the file of the moments.
    pub hash: String,
    /// The teacher's images of the paired seeds, batch by batch, once they were needed.
    pub pairs: OnceCell<Vec<Images>>,
}

/// How many seeds are behind figures.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Images behind each Frechet distance; 0 where there are none.
    pub images: u64,
    /// Seeds on which runs are compared with the teacher.
    pub pairs: u64,
}

impl Gauge<'_> {
    /// Why there are too few images, if there are.
    pub fn too_few(&self, counts: Counts) -> Option<String> {
        match self {
            Self::Images(reference) => {
                too_few(counts.images, reference.features.card.network.features)
            }
            Self::Latents(_) => None,
        }
    }

    /// Measures a model that is sampled so.
    pub fn sample(
        &self,
        teacher: &Model,
        (model, sampling): (&Model, Sampling),
        counts: Counts,
        context: &Context,
    ) -> anyhow::Result<Sample> {
        match self {
            Self::Images(reference) => {
                reference.sample(teacher, (model, sampling), counts, context)
            }
            Self::Latents(latent) => latent.sample(teacher, (model, sampling), counts.pairs),
        }
    }
}

impl Reference {
    fn sample(
        &self,
        teacher: &Model,
        (model, sampling): (&Model, Sampling),
        counts: Counts,
        context: &Context,
    ) -> anyhow::Result<Sample> {
        let (device, reporter) = (&context.device, context.reporter);
        let generator = Generator::new(model, sampling, device)?;
        let seeds: Vec<u64> = (0..counts.images).collect();
        let drawn = draw(&generator, &seeds, &self.features, reporter)?;
        let pairs = &seeds[..counts.pairs.min(counts.images) as usize];
        if self.pairs.get().is_none() {
            let teacher = Generator::of(teacher, device)?;
            let _ = self.pairs.set(batches(&teacher, pairs, reporter)?);
        }
        let theirs = self.pairs.get().context("the teacher's images")?;
        Ok(Sample {
            evaluations: generator.evaluations(),
            frechet: Some(frechet_distance(&drawn, &self.moments)?),
            paired: apart(theirs, &generator, pairs)?.rms,
            pixels: None,
            clip: None,
        })
    }
}
