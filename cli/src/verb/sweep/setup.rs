//! What all runs of a sweep share.

use super::gauge::{Counts, Gauge, Reference};
use super::latent::LatentTeacher;
use super::plan::Plan;
use super::trial::Work;
use crate::bundle::asset::{Asset, FEATURES, STATISTICS, TEACHER};
use crate::context::Context;
use crate::measure::feature_set::check_shape;
use crate::screen::failure::wrong;
use fewstep::distill::Distance;
use fewstep::import;
use fewstep::metric::{Features, Moments};
use fewstep::model::{Model, hash_file};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// Images behind a Frechet distance, and seeds behind a paired one, unless a sweep says otherwise; of latents, which take far
/// longer.
const IMAGES: u64 = 2000;
const PAIRS: u64 = 200;
const PAIRS_LATENT: u64 = 8;

/// A sweep with everything that its runs share.
pub struct Sweep<'a> {
    pub plan: &'a Plan,
    pub folder: PathBuf,
    pub teacher: Model,
    pub teacher_hash: String,
    /// What runs are measured by.
    pub gauge: Gauge<'a>,
    pub counts: Counts,
    /// Whether what does not fit may be thrown away.
    pub overwrite: bool,
    /// Where trajectories are kept between runs.
    pub cache: Option<&'a Path>,
    pub context: &'a Context,
}

impl<'a> Sweep<'a> {
    pub fn open(
        plan: &'a Plan,
        out: &Path,
        overwrite: bool,
        cache: Option<&'a Path>,
        context: &'a Context,
    ) -> anyhow::Result<Self> {
        let asset = Asset::find(plan.teacher.as_deref(), TEACHER)?;
        let (teacher, teacher_hash) = import::open(asset.path(), &context.device)?;
        let latent = teacher.card.is_latent();
        let gauge = match latent {
            true => {
                let of = (asset.path(), &teacher.card, teacher_hash.as_str());
                Gauge::Latents(Box::new(LatentTeacher::open(plan, of, context)?))
            }
            false => Gauge::Images(Box::new(reference(plan, &teacher, context)?)),
        };
        for trial in &plan.trials {
            if let Work::Distil { recipe, .. } = &trial.work
                && recipe.distance == Distance::L1Lpips
            {
                return Err(wrong(format!(
                    "{}: {}: distance = \"l1-lpips\" is not for sweeps yet; use `fewstep distill --perceptual`",
                    plan.name, trial.name
                )));
            }
        }
        let (images, pairs) = match latent {
            true => (0, PAIRS_LATENT),
            false => (plan.images.unwrap_or(IMAGES), PAIRS),
        };
        Ok(Self {
            plan,
            folder: out.join(&plan.name),
            teacher,
            teacher_hash,
            gauge,
            counts: Counts {
                images,
                pairs: plan.pairs.unwrap_or(pairs),
            },
            overwrite,
            cache,
            context,
        })
    }

    /// Images that are drawn for each figure.
    pub fn drawn(&self) -> u64 {
        match self.counts.images {
            0 => self.counts.pairs,
            images => images,
        }
    }
}

/// What Frechet distances are to.
fn reference(plan: &Plan, teacher: &Model, context: &Context) -> anyhow::Result<Reference> {
    if let Some(key) = plan.latent.said() {
        return Err(wrong(format!(
            "{}: `{key}` is for latent teachers, and this one makes pictures; leave it out",
            plan.name
        )));
    }
    let asset = Asset::find(plan.features.as_deref(), FEATURES)?;
    let features = Features::read(asset.path(), &context.device)?;
    let whose = format!("{}: the teacher's pictures", plan.name);
    let remedy = "name others with `features`, and statistics by them with `reference`";
    let shape = teacher.card.network.image_shape();
    check_shape(&features, shape, [&whose, "the features", remedy])?;
    let asset = Asset::find(plan.reference.as_deref(), STATISTICS)?;
    Ok(Reference {
        features,
        moments: Moments::read(asset.path())?,
        hash: hash_file(asset.path())?,
        pairs: OnceCell::new(),
    })
}
