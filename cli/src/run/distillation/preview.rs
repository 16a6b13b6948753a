//! A picture of how far a distillation is: the teacher's row, and the student's below it.

use crate::model::generate::Generator;
use crate::model::latent::{Parts, decode};
use crate::picture::sheet;
use burn::tensor::Tensor;
use fewstep::distill::Recipe;
use fewstep::model::{Model, Sampling};
use fewstep::{Device, Images};
use std::path::Path;

/// Seeds of a latent model, each of which may take minutes.
const LATENT_SEEDS: usize = 4;

/// What previews are made with.
pub(super) struct Preview<'a> {
    teacher: &'a Model,
    parts: &'a Parts,
    device: Device,
    /// The teacher's row and its title, the same at every tick; pictures, not latents.
    row: Option<(Images, String)>,
}

impl<'a> Preview<'a> {
    pub(super) fn new(teacher: &'a Model, parts: &'a Parts, device: &Device) -> Self {
        Self {
            teacher,
            parts,
            device: device.clone(),
            row: None,
        }
    }

    /// Writes the picture. The autoencoder of a latent model is in memory only after both networks were asked, and the
    /// student is gone by then.
    pub(super) fn write(
        &mut self,
        recipe: &Recipe,
        (student, round): (Model, u64),
        path: &Path,
    ) -> anyhow::Result<()> {
        let latent = self.teacher.card.is_latent();
        let seeds = match (latent, &self.parts.autoencoder) {
            (false, _) => sheet::PREVIEW_SEEDS.as_slice(),
            (true, Some(_)) => &sheet::PREVIEW_SEEDS[..LATENT_SEEDS],
            // Nothing to see, which was said before the run.
            (true, None) => return Ok(()),
        };
        let of_teacher = match self.row {
            Some(_) => None,
            None => {
                let mut sampling = recipe.teacher_sampling(&self.teacher.card, recipe.steps);
                if recipe.teacher_guidance == 1.0 {
                    // Taught without guidance, both are sampled with it.
                    sampling.guidance = recipe.guidance;
                }
                Some(self.draw(recipe, self.teacher, sampling, seeds)?)
            }
        };
        let sampling = student.card.sampling.clone();
        let labels = Generator::of(&student, &self.device)?.labels(seeds)?;
        let (of_student, calls) = self.draw(recipe, &student, sampling, seeds)?;
        drop(student);
        let autoencoder = self.parts.autoencoder.as_ref().filter(|_| latent);
        let autoencoder = autoencoder
            .map(|file| file.load(&self.device))
            .transpose()?;
        let show = |images: Images| match &autoencoder {
            Some(autoencoder) => decode(autoencoder, images),
            None => Ok(images),
        };
        if let Some((images, calls)) = of_teacher {
            let title = format!("teacher, {calls} evaluations");
            self.row = Some((show(images)?, title));
        }
        let title = format!(
            "student, {calls} evaluations, round {round} of {}",
            recipe.rounds()
        );
        let rows = self.row.iter().cloned();
        let rows = rows.chain([(show(of_student)?, title)]);
        let (rows, titles): (Vec<Images>, Vec<String>) = rows.unzip();
        Ok(sheet::sheet(&rows, &titles, &labels)?.write_png(path, &[])?)
    }

    /// What a model makes of some seeds, and in how many calls; of a latent model, latents. No more of them are in memory than
    /// a round has.
    fn draw(
        &self,
        recipe: &Recipe,
        model: &Model,
        sampling: Sampling,
        seeds: &[u64],
    ) -> anyhow::Result<(Images, usize)> {
        let generator = Generator::new(model, sampling, &self.device)?;
        let generator = generator.texts(self.parts.texts.as_ref());
        let most = recipe.micro_batch.unwrap_or(recipe.batch);
        let rows = seeds.chunks(generator.batch().min(most));
        let rows = rows.map(|seeds| generator.latents(seeds, &|| ()));
        let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
        Ok((Tensor::cat(rows, 0), generator.evaluations()))
    }
}
