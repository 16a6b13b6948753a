//! A latent teacher of a sweep: its texts, its autoencoder, and how far runs are from what it makes of some seeds.

use super::measured::Sample;
use super::plan::{Latent, Plan};
use super::trial::Work;
use crate::context::Context;
use crate::measure::beside::Latents;
use crate::measure::clip::Eye;
use crate::measure::draw::draw_into;
use crate::measure::gather::Gather;
use crate::measure::keep::Stage;
use crate::model::generate::Generator;
use crate::model::latent::{Finder, Negative, Parts, ToldArgs, Wanted};
use crate::screen::failure::wrong;
use anyhow::Context as _;
use fewstep::autoencoder::Autoencoder;
use fewstep::feature::clip::Clip;
use fewstep::import::AutoencoderFile;
use fewstep::model::{Card, Model, Sampling, hash_bytes, hash_file};
use fewstep::prompt::{self, EmbeddingType};
use serde_json::{Value, json};
use std::cell::{OnceCell, RefCell};
use std::path::{Path, PathBuf};

/// What a latent teacher has besides its network. What is large is made when it is first needed.
pub struct LatentTeacher<'a> {
    plan: &'a Plan,
    card: Card,
    finder: RefCell<Finder<'a>>,
    wanted: Option<Wanted>,
    file: Option<AutoencoderFile>,
    /// How closely all runs follow their text.
    guidance: f64,
    /// What figures depend on of all this.
    facts: Value,
    parts: OnceCell<Parts>,
    autoencoder: OnceCell<Option<Autoencoder>>,
    eye: OnceCell<Option<Eye>>,
    theirs: OnceCell<Latents>,
    context: &'a Context,
}

/// What to say where a part is missed.
const KEYS: &str = "a sweep names these parts by the keys autoencoder, text-encoder and vocabulary";

impl<'a> LatentTeacher<'a> {
    /// Of the teacher in a file or folder, with the hash of its file.
    pub fn open(
        plan: &'a Plan,
        (path, card, hash): (&Path, &Card, &str),
        context: &'a Context,
    ) -> anyhow::Result<Self> {
        let Latent { clip, pixels, .. } = &plan.latent;
        check(plan, path, card)?;
        let guidance = guidance(plan, card)?;
        let mut finder = Finder::new(path, &plan.latent.parts)?;
        finder.check_args(true, card.takes_text()).context(KEYS)?;
        let wanted = wanted(&plan.latent, path, card)?;
        let texts = match &wanted {
            Some(wanted) => Some(digest(wanted, &mut finder, card).context(KEYS)?),
            None => None,
        };
        let file = match pixels {
            Some(false) => None,
            Some(true) => Some(finder.autoencoder(card, "").context(KEYS)?),
            None => finder.autoencoder_if_any(card).context(KEYS)?,
        };
        if clip.is_some() && file.is_none() {
            return Err(wrong(format!(
                "{}: clip looks at pictures, and none are made: {}",
                plan.name,
                match pixels {
                    Some(false) => "leave out pixels = false",
                    _ => "name an autoencoder",
                }
            )));
        }
        let of_file = |file: &AutoencoderFile| match file.path() == path {
            true => Ok(hash.to_string()),
            false => hash_file(file.path()),
        };
        let of_clip = |path: &PathBuf| Clip::locate(path).and_then(|file| hash_file(&file));
        let facts = json!({
            "guidance": guidance,
            "texts": texts,
            "autoencoder": file.as_ref().map(of_file).transpose()?,
            "clip": clip.as_ref().map(of_clip).transpose()?,
        });
        Ok(Self {
            plan,
            card: card.clone(),
            finder: RefCell::new(finder),
            wanted,
            file,
            guidance,
            facts,
            parts: OnceCell::new(),
            autoencoder: OnceCell::new(),
            eye: OnceCell::new(),
            theirs: OnceCell::new(),
            context,
        })
    }

    /// What figures depend on besides the runs and the teacher.
    pub fn facts(&self) -> &Value {
        &self.facts
    }

    /// The teacher's sampling as runs are compared with it.
    pub fn sampling(&self, sampling: Sampling) -> Sampling {
        Sampling {
            guidance: self.guidance,
            ..sampling
        }
    }

    /// What distillations need of it. Texts are embedded at the first time.
    pub fn parts(&self) -> anyhow::Result<&Parts> {
        if self.parts.get().is_none() {
            let texts = match self.wanted.clone() {
                Some(wanted) => {
                    let finder = &mut *self.finder.borrow_mut();
                    Some(wanted.embed(finder, &self.card, self.context)?)
                }
                None => None,
            };
            let note = self.finder.borrow().note();
            let parts = Parts {
                texts,
                autoencoder: None,
                note,
            };
            let _ = self.parts.set(parts);
        }
        self.parts.get().context("the teacher's parts")
    }

    /// Measures a model, of the seeds 0 to `pairs`, beside the teacher.
    pub fn sample(
        &self,
        teacher: &Model,
        (model, sampling): (&Model, Sampling),
        pairs: u64,
    ) -> anyhow::Result<Sample> {
        let (device, reporter) = (&self.context.device, self.context.reporter);
        let seeds: Vec<u64> = (0..pairs).collect();
        let texts = self.parts()?.texts.as_ref();
        if self.theirs.get().is_none() {
            let sampling = self.sampling(teacher.card.sampling.clone());
            let generator = Generator::new(teacher, sampling, device)?.texts(texts);
            let drawn = Latents::draw(&generator, &seeds, Stage::none(), (device, reporter))?;
            let _ = self.theirs.set(drawn);
        }
        let generator = Generator::new(model, sampling, device)?
            .texts(texts)
            .autoencoder(self.autoencoder()?);
        let mut gather = Gather::new(None, self.eye()?).beside(self.theirs.get());
        draw_into(&mut gather, &generator, &seeds, Stage::none(), reporter)?;
        let found = gather.finish()?;
        let apart = found.apart.context("no latents")?;
        let count = found.cosines.len() as f64;
        let mean = 100.0 * found.cosines.iter().sum::<f64>() / count;
        Ok(Sample {
            evaluations: generator.evaluations(),
            frechet: None,
            paired: apart.latents.rms,
            pixels: apart.pixels.map(|pair| pair.rms),
            clip: (count > 0.0).then_some(mean),
        })
    }

    fn autoencoder(&self) -> anyhow::Result<Option<&Autoencoder>> {
        if self.autoencoder.get().is_none() {
            let load = |file: &AutoencoderFile| file.load(&self.context.device);
            let _ = self
                .autoencoder
                .set(self.file.as_ref().map(load).transpose()?);
        }
        Ok(self.autoencoder.get().and_then(Option::as_ref))
    }

    fn eye(&self) -> anyhow::Result<Option<&Eye>> {
        if self.eye.get().is_none() {
            let eye = match (&self.plan.latent.clip, &self.wanted) {
                (Some(path), Some(wanted)) => {
                    let finder = &mut *self.finder.borrow_mut();
                    let vocabulary = |clip: &Clip| finder.tokenizer(path, &clip.config().text);
                    let with = (&self.context.device, self.context.reporter);
                    Some(Eye::open(path, &wanted.prompts, vocabulary, with)?)
                }
                _ => None,
            };
            let _ = self.eye.set(eye);
        }
        Ok(self.eye.get().and_then(Option::as_ref))
    }
}

/// Refuses keys that are for other teachers.
fn check(plan: &Plan, path: &Path, card: &Card) -> anyhow::Result<()> {
    let (name, path) = (&plan.name, path.display());
    let given = [
        (plan.features.is_some(), "features"),
        (plan.reference.is_some(), "reference"),
        (plan.images.is_some(), "images"),
    ];
    if let Some((_, key)) = given.into_iter().find(|(given, _)| *given) {
        return Err(wrong(format!(
            "{name}: `{key}` is for Frechet distances, and {path} makes latents, whose runs are compared with it on `pairs` \
             seeds; leave it out"
        )));
    }
    let latent = &plan.latent;
    match card.takes_text() {
        true if latent.prompts.is_none() => Err(wrong(format!(
            "{name}: {path} takes a text: name a list of texts with prompts = \"FILE\""
        ))),
        true if plan.directions > 0 => Err(wrong(format!(
            "{name}: directions are not compared for a teacher that takes a text; leave `directions` out"
        ))),
        false if latent.prompts.is_some() || latent.clip.is_some() || latent.negative.is_some() => {
            Err(wrong(format!(
                "{name}: {path} takes no text; leave prompts, negative and clip out"
            )))
        }
        _ => Ok(()),
    }
}

/// How closely all runs follow their text: distances to pictures of different guidances do not compare.
fn guidance(plan: &Plan, card: &Card) -> anyhow::Result<f64> {
    let mut found: Option<(&str, f64)> = None;
    for trial in &plan.trials {
        let Work::Distil { recipe, .. } = &trial.work else {
            continue;
        };
        let (name, followed) = (trial.name.as_str(), recipe.followed());
        match found {
            Some((first, before)) if before != followed => {
                return Err(wrong(format!(
                    "{}: {first} follows its text at guidance {before} and {name} at {followed}: distances to the teacher at \
                     different ones do not compare; make a sweep for each",
                    plan.name
                )));
            }
            _ => found = Some((name, followed)),
        }
    }
    Ok(found.map_or(card.sampling.guidance, |(_, guidance)| guidance))
}

/// The texts, read but not embedded.
fn wanted(latent: &Latent, teacher: &Path, card: &Card) -> anyhow::Result<Option<Wanted>> {
    let Some(path) = &latent.prompts else {
        return Ok(None);
    };
    Ok(Some(Wanted {
        prompts: prompt::read(path)?,
        negative: Negative::of(true, latent.negative.as_ref()),
        sizes: ToldArgs::default().sizes(card, card.network.image_shape(), teacher)?,
        folder: latent.embeddings.clone(),
        kind: EmbeddingType::F32,
    }))
}

/// What tells texts, and what reads them, from others.
fn digest(wanted: &Wanted, finder: &mut Finder<'_>, card: &Card) -> anyhow::Result<String> {
    let (encoder, tokenizer) = finder.text_encoder(card)?;
    let negative = match &wanted.negative {
        Negative::Text(text) => json!(text),
        _ => json!(encoder.empty_is_zeros()),
    };
    let all = json!([
        encoder.digest()?,
        tokenizer.digest(),
        wanted.prompts,
        negative
    ]);
    Ok(hash_bytes(all.to_string().as_bytes()))
}
