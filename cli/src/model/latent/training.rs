//! The texts of a distillation.

use super::{Finder, Negative, PartArgs, Parts, Texts, ToldArgs, Wanted};
use crate::context::Context;
use crate::screen::failure::wrong;
use crate::screen::progress::bytes;
use crate::typed::Phrase;
use burn::tensor::Tensor;
use clap::{Args, ValueEnum};
use fewstep::denoiser::Contexts;
use fewstep::distill::Recipe;
use fewstep::model::Card;
use fewstep::prompt::{self, EmbeddingType};
use fewstep::{Device, Error};
use std::path::{Path, PathBuf};

/// What a latent teacher is distilled with.
#[derive(Args, Clone, Debug)]
pub struct TrainingArgs {
    /// The texts that trajectories draw from, for a teacher that takes a text: lines, .csv or .tsv with a column `text`,
    /// `caption` or `prompt`, .json or .jsonl
    #[arg(long, value_name = "FILE", help_heading = "Latent models")]
    prompts: Option<PathBuf>,
    /// What not to show, where anything is guided: previews, and with `teacher-guidance` the teacher [default: the empty
    /// text; of Stable Diffusion XL zeros]
    #[arg(long, value_name = "TEXT", value_parser = Phrase, help_heading = "Latent models")]
    negative: Option<String>,
    /// Folder that keeps the prompts' embeddings; runs may share it [default: `embeddings` in the run's folder]
    #[arg(long, value_name = "DIR", help_heading = "Latent models")]
    embeddings: Option<PathBuf>,
    /// How embeddings are rounded before anything is done with them; f16 halves the folder
    #[arg(
        long,
        value_name = "TYPE",
        value_enum,
        default_value = "f32",
        help_heading = "Latent models"
    )]
    embedding_type: Rounding,
    #[command(flatten)]
    told: ToldArgs,
    #[command(flatten)]
    parts: PartArgs,
}

/// The types of embeddings.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Rounding {
    F32,
    F16,
}

impl TrainingArgs {
    /// What the teacher needs besides its U-Net: the embeddings of its prompts, made here if they are not on disk yet, and,
    /// for previews, its autoencoder. Neither it nor the text encoder is in memory when this returns.
    pub fn equip(
        &self,
        (teacher, run): (&Path, &Path),
        recipe: &Recipe,
        card: &Card,
        context: &Context,
    ) -> anyhow::Result<Parts> {
        let mut finder = Finder::new(teacher, &self.parts)?;
        finder.check_args(card.is_latent(), card.takes_text())?;
        let guided = recipe.teacher_guidance != 1.0 || recipe.guidance != 1.0;
        let texts = self.texts(&mut finder, (teacher, run), guided, card, context)?;
        let latent = card.is_latent();
        let autoencoder = match latent {
            true => finder.autoencoder_if_any(card)?,
            false => None,
        };
        if latent && autoencoder.is_none() {
            let teacher = teacher.display();
            context.reporter.say(format!(
                "no previews: {teacher} has no autoencoder; --autoencoder names one"
            ));
        }
        Ok(Parts {
            texts,
            autoencoder,
            note: finder.note(),
        })
    }

    /// The texts alone, for who makes the teacher's trajectories and no previews; they are kept in `folder` unless another one
    /// was named.
    pub fn embed(
        &self,
        (teacher, folder): (&Path, &Path),
        recipe: &Recipe,
        card: &Card,
        context: &Context,
    ) -> anyhow::Result<Option<Texts>> {
        let mut finder = Finder::new(teacher, &self.parts)?;
        finder.check_args(card.is_latent(), card.takes_text())?;
        // As the distillation: what its texts are called depends on whether there is one to move away from.
        let guided = recipe.teacher_guidance != 1.0 || recipe.guidance != 1.0;
        self.texts(&mut finder, (teacher, folder), guided, card, context)
    }

    fn texts(
        &self,
        finder: &mut Finder,
        (teacher, run): (&Path, &Path),
        guided: bool,
        card: &Card,
        context: &Context,
    ) -> anyhow::Result<Option<Texts>> {
        let Some(prompts) = self.prompts(teacher, card)? else {
            return Ok(None);
        };
        if self.negative.is_some() && !guided {
            return Err(wrong(
                "--negative does nothing without guidance; set `guidance` or `teacher-guidance`, or leave it out",
            ));
        }
        let wanted = Wanted {
            prompts,
            negative: Negative::of(guided, self.negative.as_ref()),
            sizes: self.told.sizes(card, card.network.image_shape(), teacher)?,
            folder: Some(self.folder_in(run)),
            kind: match self.embedding_type {
                Rounding::F32 => EmbeddingType::F32,
                Rounding::F16 => EmbeddingType::F16,
            },
        };
        wanted.embed(finder, card, context).map(Some)
    }

    /// The folder of embeddings that was named.
    pub fn folder(&self) -> Option<&PathBuf> {
        self.embeddings.as_ref()
    }

    /// That of a run in a folder.
    fn folder_in(&self, run: &Path) -> PathBuf {
        let named = self.embeddings.clone();
        named.unwrap_or_else(|| run.join("embeddings"))
    }

    /// The list, for a teacher that takes a text.
    fn prompts(&self, teacher: &Path, card: &Card) -> anyhow::Result<Option<Vec<String>>> {
        let teacher = teacher.display();
        match (card.takes_text(), &self.prompts, &self.negative) {
            (true, Some(path), _) => Ok(Some(prompt::read(path)?)),
            (true, None, _) => Err(wrong(format!(
                "{teacher} takes a text: name a list of texts to distil it with by --prompts FILE"
            ))),
            (false, None, None) => Ok(None),
            (false, Some(path), _) => Err(wrong(format!(
                "--prompts {}: {teacher} takes no text; leave it out",
                path.display()
            ))),
            (false, None, Some(_)) => Err(wrong(format!(
                "--negative: {teacher} takes no text; leave it out"
            ))),
        }
    }

    /// What a dry run of a run in a folder says of the prompts: they are counted, not embedded.
    pub fn forecast(
        &self,
        (teacher, run): (&Path, &Path),
        card: &Card,
    ) -> anyhow::Result<Option<(&'static str, String)>> {
        let Some(prompts) = self.prompts(teacher, card)? else {
            return Ok(None);
        };
        let folder = self.folder_in(run);
        let (count, folder) = (prompts.len(), folder.display());
        let numbers = TOKENS + card.network.context_rows();
        let numbers = numbers * card.network.context_width().unwrap_or(0);
        let each = match self.embedding_type {
            Rounding::F32 => 4,
            Rounding::F16 => 2,
        };
        let size = bytes(count as u64 * numbers as u64 * each);
        Ok(Some((
            "prompts",
            format!(
                "{count}, embedded into {folder} before the run ({size}; not in the predicted time)"
            ),
        )))
    }
}

/// Tokens of a text that CLIP reads.
const TOKENS: usize = 77;

/// Texts that stand in for others where only the cost is asked: what a text says changes none of it.
pub fn stand_in(card: &Card, device: &Device) -> Result<Option<Contexts>, Error> {
    let Some(width) = card.network.context_width() else {
        return Ok(None);
    };
    let rows = TOKENS + card.network.context_rows();
    let texts = || Tensor::<3>::zeros([1, rows, width], device);
    Contexts::new(texts(), Some(texts())).map(Some)
}
