//! What all runs of a sweep share.

use super::plan::Plan;
use super::trial::Work;
use crate::bundle::asset::{Asset, FEATURES, STATISTICS, TEACHER};
use crate::context::Context;
use crate::measure::feature_set::check_shape;
use crate::screen::failure::wrong;
use fewstep::Images;
use fewstep::distill::Distance;
use fewstep::import;
use fewstep::metric::{Features, Moments};
use fewstep::model::{Model, hash_file};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// A sweep with everything that its runs share.
pub struct Sweep<'a> {
    pub plan: &'a Plan,
    pub folder: PathBuf,
    pub teacher: Model,
    pub teacher_hash: String,
    pub features: Features,
    pub reference: Moments,
    pub reference_hash: String,
    /// Whether what does not fit may be thrown away.
    pub overwrite: bool,
    /// Where trajectories are kept between runs.
    pub cache: Option<&'a Path>,
    /// The teacher's images of the paired seeds, batch by batch, once they were needed.
    pub pairs: OnceCell<Vec<Images>>,
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
        let device = &context.device;
        let asset = Asset::find(plan.teacher.as_deref(), TEACHER)?;
        let (teacher, teacher_hash) = import::open(asset.path(), device)?;
        if teacher.card.is_latent() {
            return Err(wrong(format!(
                "{}: {} makes latents, which sweeps cannot measure yet; use `fewstep distill` and `fewstep evaluate`",
                plan.name,
                asset.path().display()
            )));
        }
        let asset = Asset::find(plan.features.as_deref(), FEATURES)?;
        let features = Features::read(asset.path(), device)?;
        let whose = format!("{}: the teacher's pictures", plan.name);
        let remedy = "name others with `features`, and statistics by them with `reference`";
        let shape = teacher.card.network.image_shape();
        check_shape(&features, shape, [&whose, "the features", remedy])?;
        let asset = Asset::find(plan.reference.as_deref(), STATISTICS)?;
        let reference = Moments::read(asset.path())?;
        let reference_hash = hash_file(asset.path())?;
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
        Ok(Self {
            plan,
            folder: out.join(&plan.name),
            teacher,
            teacher_hash,
            features,
            reference,
            reference_hash,
            overwrite,
            cache,
            pairs: OnceCell::new(),
            context,
        })
    }
}
