//! What a search makes small.

use crate::context::Context;
use crate::measure::draw::draw;
use crate::model::generate::Generator;
use crate::model::latent::Parts;
use fewstep::Images;
use fewstep::metric::{Features, Moments, PairedDistance, frechet_distance, paired_distance};
use fewstep::model::{Model, Sampling};

/// The first seed that students are measured with: not those that figures are measured with later, so that these do not
/// come out better than they are.
pub(super) const FIRST_SEED: u64 = 1_000_000;

/// What is made small.
pub enum Target {
    /// The Frechet distance of a student's images to a reference.
    Frechet {
        features: Box<Features>,
        reference: Box<Moments>,
    },
    /// The root mean square difference to the teacher's images, or latents, of the same seeds: needs no data. The
    /// teacher's, batch by batch.
    Paired(Vec<Images>),
}

impl Target {
    /// What the teacher makes of `images` seeds as its card says, but following class or text as closely as students are to.
    pub fn paired(
        (teacher, guidance): (&Model, f64),
        parts: &Parts,
        images: u64,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let sampling = Sampling {
            guidance,
            ..teacher.card.sampling.clone()
        };
        let generator = Generator::new(teacher, sampling, &context.device)?;
        let generator = generator.texts(parts.texts.as_ref());
        let seeds = seeds(images);
        let mut progress = context.reporter.start("teacher's images", 0, images);
        let mut all = Vec::new();
        for (at, seeds) in seeds.chunks(generator.batch()).enumerate() {
            all.push(generator.latents(seeds, &|| ())?);
            progress.set(
                ((at + 1) * generator.batch()).min(images as usize) as u64,
                "",
            );
        }
        progress.finish();
        Ok(Self::Paired(all))
    }

    /// For people.
    pub fn name(&self, teacher: &Model) -> &'static str {
        match self {
            Self::Frechet { .. } => "Frechet distance",
            Self::Paired(_) if teacher.card.is_latent() => "paired distance of latents",
            Self::Paired(_) => "paired distance",
        }
    }

    /// The distance of a student.
    pub fn measure(
        &self,
        student: &Model,
        parts: &Parts,
        images: u64,
        context: &Context,
    ) -> anyhow::Result<f64> {
        let generator = Generator::of(student, &context.device)?.texts(parts.texts.as_ref());
        let seeds = seeds(images);
        match self {
            Self::Frechet {
                features,
                reference,
            } => {
                let drawn = draw(&generator, &seeds, features.as_ref(), context.reporter)?;
                Ok(frechet_distance(&drawn, reference)?)
            }
            Self::Paired(theirs) => {
                let mut found = PairedDistance::default();
                let mut left = &seeds[..];
                let mut progress = context.reporter.start("pairs", 0, images);
                for theirs in theirs {
                    let (now, later) = left.split_at(theirs.dims()[0].min(left.len()));
                    left = later;
                    let ours = generator.latents(now, &|| ())?;
                    found = found.merge(paired_distance(theirs, &ours)?);
                    progress.set(found.images, "");
                }
                progress.finish();
                Ok(found.rms)
            }
        }
    }
}

fn seeds(images: u64) -> Vec<u64> {
    (FIRST_SEED..FIRST_SEED + images).collect()
}
