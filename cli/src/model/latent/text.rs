//! Prompts and their embeddings.

use super::{Finder, ToldArgs};
use crate::context::Context;
use crate::screen::failure::wrong;
use crate::typed::Phrase;
use anyhow::Context as _;
use clap::Args;
use fewstep::denoiser::Contexts;
use fewstep::model::Card;
use fewstep::network::{NetworkConfig, PictureSizes};
use fewstep::prompt::{self, EmbeddingCache, EmbeddingType, Embeddings};
use fewstep::{Device, Error};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Prompts that are cut off and are shown one by one; of more only the number is.
const SHOWN: usize = 3;

/// What a picture is to show.
#[derive(Args, Clone, Debug, Default)]
pub struct PromptArgs {
    /// What to show, for a model that takes a text
    #[arg(
        long,
        value_name = "TEXT",
        value_parser = Phrase,
        conflicts_with = "prompts",
        help_heading = "Latent models"
    )]
    pub prompt: Option<String>,
    /// A list of prompts: seed 0 takes the first, and after the last comes the first again. Lines of text, .csv or .tsv
    /// with a column `text`, `caption` or `prompt`, .json or .jsonl
    #[arg(long, value_name = "FILE", help_heading = "Latent models")]
    pub prompts: Option<PathBuf>,
    /// What not to show [default: the empty text; of Stable Diffusion XL zeros]
    #[arg(long, value_name = "TEXT", value_parser = Phrase, help_heading = "Latent models")]
    pub negative: Option<String>,
    #[command(flatten)]
    told: ToldArgs,
    /// Keep the embeddings of prompts in a folder, and take from it those that are there
    #[arg(long, value_name = "DIR", help_heading = "Latent models")]
    pub embeddings: Option<PathBuf>,
}

impl PromptArgs {
    /// The prompts as typed or read, if there are any.
    pub fn list(&self) -> anyhow::Result<Option<Vec<String>>> {
        Ok(match (&self.prompt, &self.prompts) {
            (Some(prompt), _) => Some(vec![prompt.clone()]),
            (None, Some(path)) => Some(prompt::read(path)?),
            (None, None) => None,
        })
    }

    /// What was asked for, read but not embedded; `None` for a model that takes no text. `file` is the model's, for
    /// messages; `shape` is that of the latents, `[channels, height, width]`.
    pub fn wanted(
        &self,
        card: &Card,
        guidance: f64,
        file: &Path,
        shape: [usize; 3],
    ) -> anyhow::Result<Option<Wanted>> {
        let sizes = self.told.sizes(card, shape, file)?;
        let file = file.display();
        if !card.takes_text() {
            let given = [
                (self.prompt.is_some(), "--prompt"),
                (self.prompts.is_some(), "--prompts"),
                (self.negative.is_some(), "--negative"),
                (self.embeddings.is_some(), "--embeddings"),
            ];
            return match given.into_iter().find(|(given, _)| *given) {
                None => Ok(None),
                Some((_, flag)) => {
                    Err(wrong(format!("{flag}: {file} takes no text; leave it out")))
                }
            };
        }
        let Some(prompts) = self.list()? else {
            return Err(wrong(format!(
                "{file} makes pictures of texts: say what to show with --prompt 'a text', or --prompts FILE for a list"
            )));
        };
        if self.negative.is_some() && guidance == 1.0 {
            return Err(wrong(
                "--negative does nothing without guidance; add --guidance 7.5 or so, or leave it out",
            ));
        }
        Ok(Some(Wanted {
            prompts,
            negative: Negative::of(guidance != 1.0, self.negative.as_ref()),
            sizes,
            folder: self.embeddings.clone(),
            kind: EmbeddingType::F32,
        }))
    }
}

/// What guidance moves away from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Negative {
    /// Nothing is guided.
    Unguided,
    /// Nothing in particular: the empty text, or zeros for a model that was trained to be told these.
    Nothing,
    /// This text.
    Text(String),
}

impl Negative {
    /// What was typed.
    pub fn of(guided: bool, typed: Option<&String>) -> Self {
        match (guided, typed) {
            (false, _) => Self::Unguided,
            (true, None) => Self::Nothing,
            (true, Some(text)) => Self::Text(text.clone()),
        }
    }
}

/// Texts that are to be embedded.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What to show, one or more.
    pub prompts: Vec<String>,
    /// What not to show.
    pub negative: Negative,
    /// What is told of the picture's size, where the model is told some.
    pub sizes: Option<PictureSizes>,
    /// Where to keep embeddings; a temporary folder if there is none.
    pub folder: Option<PathBuf>,
    /// How embeddings are rounded.
    pub kind: EmbeddingType,
}

/// Texts with their embeddings, which are on disk.
#[derive(Debug)]
pub struct Texts {
    prompts: Vec<String>,
    negative: Option<String>,
    /// Whether zeros stand for a text to move away from.
    zeros: bool,
    sizes: Option<PictureSizes>,
    network: NetworkConfig,
    /// Of the prompts and, after them, of the negative text.
    embeddings: Embeddings,
    /// Goes away with them.
    _folder: Option<TempDir>,
}

impl Wanted {
    /// Embeds what is not embedded yet; the text encoder is gone when this returns.
    pub fn embed(
        self,
        finder: &mut Finder<'_>,
        card: &Card,
        context: &Context,
    ) -> anyhow::Result<Texts> {
        let (encoder, tokenizer) = finder.text_encoder(card)?;
        let temporary = match &self.folder {
            Some(_) => None,
            None => Some(tempfile::tempdir().context("cannot create a temporary folder")?),
        };
        let folder = temporary.as_ref().map(TempDir::path);
        let folder = self.folder.as_deref().or(folder).unwrap_or(Path::new("."));
        let cache = EmbeddingCache::open(folder, self.kind)?;
        let (negative, zeros) = match self.negative {
            Negative::Unguided => (None, false),
            Negative::Nothing if encoder.empty_is_zeros() => (None, true),
            Negative::Nothing => (Some(String::new()), false),
            Negative::Text(text) => (Some(text), false),
        };
        let mut all = self.prompts.clone();
        all.extend(negative.clone());
        let reporter = context.reporter;
        let mut progress = reporter.start("prompts", 0, all.len() as u64);
        let mut report = |done: usize| progress.set(done as u64, "");
        let embeddings = cache.embed(&all, &tokenizer, &encoder, &context.device, &mut report)?;
        progress.finish();
        let usage = embeddings.usage();
        if self.folder.is_some() {
            reporter.say(format!(
                "embeddings in {}: {} read, {} computed",
                folder.display(),
                usage.read,
                usage.written
            ));
        }
        let texts = Texts {
            prompts: self.prompts,
            negative,
            zeros,
            sizes: self.sizes,
            network: card.network.clone(),
            embeddings,
            _folder: temporary,
        };
        for warning in texts.warnings(tokenizer.length()) {
            reporter.warn(warning);
        }
        Ok(texts)
    }
}

impl Texts {
    /// How many prompts there are.
    pub fn len(&self) -> usize {
        self.prompts.len()
    }

    /// The prompt of a seed: always the same, whatever the other seeds are.
    pub fn of(&self, seed: u64) -> &str {
        &self.prompts[self.index(seed)]
    }

    /// What pictures depend on besides the texts: sizes that are told, and that zeros stand for a text. `None` where there is nothing.
    pub fn besides(&self) -> Option<Value> {
        let numbers = self.sizes.map(|sizes| sizes.numbers());
        let both = numbers.is_some() || self.zeros;
        both.then(|| json!({"sizes": numbers, "negative": self.zeros.then_some("zeros")}))
    }

    /// What not to show, where anything is guided and it is a text.
    pub fn negative(&self) -> Option<&str> {
        self.negative.as_deref()
    }

    fn index(&self, seed: u64) -> usize {
        (seed % self.prompts.len() as u64) as usize
    }

    /// SHA-256 of the prompts and of what embedded them.
    pub fn digest(&self) -> String {
        self.embeddings.digest()
    }

    /// The prompts as a distillation draws from them, on disk; `guided` with the text to move away from.
    pub fn contexts(&self, guided: bool, device: &Device) -> Result<Contexts, Error> {
        let prompts = self.embeddings.part(0..self.prompts.len())?;
        let negative = match (guided, &self.negative) {
            (true, Some(_)) => Some(self.embeddings.batch(&[self.prompts.len()], device)?),
            _ => None,
        };
        let contexts = Contexts::of(Arc::new(prompts), negative)?;
        let contexts = match guided && self.zeros {
            true => contexts.away_from_zeros(device),
            false => contexts,
        };
        match &self.sizes {
            Some(sizes) => contexts.sized(&self.network, sizes),
            None => Ok(contexts),
        }
    }

    /// What to say, once for all texts, of marks that mean something to other programs.
    fn plain_text(&self) -> Option<String> {
        let prompts = self.prompts.iter().chain(&self.negative);
        let marked = prompts.enumerate();
        let marked: Vec<_> = marked
            .filter_map(|(index, text)| Some((index, prompt::markup(text)?)))
            .collect();
        let (index, mark) = marked.first()?;
        let others = match marked.len() - 1 {
            0 => String::new(),
            more => format!(" and in {more} more"),
        };
        let name = self.name(*index);
        Some(format!(
            "`{mark}` in {name}{others} is read as plain text, brackets and numbers included: weights and names of other \
             networks mean nothing here"
        ))
    }

    /// What to call a text in a message.
    fn name(&self, index: usize) -> String {
        match (self.prompts.get(index), self.prompts.len()) {
            (None, _) => "the negative text".to_string(),
            (Some(_), 1) => "the prompt".to_string(),
            (Some(_), _) => format!("prompt {}", index + 1),
        }
    }

    /// What to say of texts that are cut off, or that other programs would read otherwise.
    fn warnings(&self, tokens: usize) -> Vec<String> {
        let cut = self.embeddings.truncated();
        let text = |index: usize| self.prompts.get(index).or(self.negative.as_ref());
        let shown = cut.iter().take(SHOWN).map(|(index, cut)| {
            let text = text(*index).map_or("", String::as_str);
            let (name, cut) = (self.name(*index), cut.describe(text));
            format!("{name} has more than {tokens} tokens and is {cut}")
        });
        let mut lines: Vec<String> = self.plain_text().into_iter().chain(shown).collect();
        if cut.len() > SHOWN {
            let more = cut.len() - SHOWN;
            lines.push(format!(
                "{more} more prompts are cut off at {tokens} tokens"
            ));
        }
        lines
    }
}
