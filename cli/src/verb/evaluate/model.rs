//! The images of a model.

use super::args::Verb;
use crate::context::{Context, label};
use crate::measure::beside::{Apart, Latents};
use crate::measure::clip::Eye;
use crate::measure::draw::{draw_into, together};
use crate::measure::feature_set::{Collector, stretches};
use crate::measure::gather::{Gather, Gathered};
use crate::measure::keep::Keep;
use crate::model::generate::Generator;
use crate::model::latent::{Finder, Texts};
use crate::model::source::{ModelSource, precision};
use crate::run::estimate::Need;
use crate::screen::failure::wrong;
use crate::screen::progress::{Reporter, figure};
use fewstep::autoencoder::Autoencoder;
use fewstep::import::{AutoencoderFile, Checkpoint, DIFFUSERS_FILE};
use fewstep::metric::Extract;
use fewstep::model::{Card, Sampling, hash_file};
use fewstep::noise::Source;
use serde_json::{Map, Value, json};
use std::path::Path;

/// A model that is to be measured, and perhaps another beside it: all that can be said of them before they are loaded.
pub struct Subject<'a> {
    source: ModelSource,
    /// What the file says of it.
    pub card: Card,
    hash: String,
    /// How it will be sampled.
    pub sampling: Sampling,
    finder: Finder<'a>,
    autoencoder: Option<AutoencoderFile>,
    other: Option<(Checkpoint, Card)>,
}

impl<'a> Subject<'a> {
    /// Looks at the files that were named.
    pub fn open(verb: &'a Verb) -> anyhow::Result<Self> {
        verb.seeds()?;
        let source = ModelSource::read(&verb.file, &verb.adapters)?;
        let (card, hash) = (source.card.clone(), source.hash.clone());
        let sampling = verb.sampling.apply(&card)?;
        let mut finder = Finder::new(source.home(), &verb.parts)?;
        // The vocabulary is for the CLIP model, too.
        let reads = verb.eye() && verb.parts.text_encoder.is_none();
        finder.check_args(card.is_latent(), card.takes_text() || reads)?;
        if verb.latents && !card.is_latent() {
            let path = verb.file.display();
            return Err(wrong(format!(
                "--latents is for latent models, and {path} makes pictures; leave it out"
            )));
        }
        let alone = match verb.paired.is_some() {
            true => "; or compare latents alone with --latents",
            false => "",
        };
        let autoencoder = match card.is_latent() && !verb.latents {
            true => Some(finder.autoencoder(&card, alone)?),
            false => None,
        };
        let other = verb.paired.as_deref().map(Checkpoint::read);
        let other = match other.transpose()? {
            Some(other) => {
                let card = comparable(verb, &other, &card)?;
                Some((other, card))
            }
            None => None,
        };
        Ok(Self {
            source,
            card,
            hash,
            sampling,
            finder,
            autoencoder,
            other,
        })
    }

    /// `[channels, height, width]` of its pictures.
    pub fn pictures(&self) -> [usize; 3] {
        let [channels, height, width] = self.card.network.image_shape();
        match &self.autoencoder {
            None => [channels, height, width],
            Some(file) => {
                let config = file.config();
                let factor = config.factor();
                [config.channels, height * factor, width * factor]
            }
        }
    }
}

/// Models are told from images by their names: a zip archive may be either, and so may a folder.
pub fn is_model(path: &Path) -> bool {
    if path.is_dir() {
        return path.join("unet").is_dir() || path.join(DIFFUSERS_FILE).is_file();
    }
    let endings = ["safetensors", "pkl", "pt", "pth", "ckpt"];
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| endings.contains(&e))
}

/// A model that is ready to draw.
pub struct Drawing<'a> {
    /// Draws.
    pub generator: Generator<'a>,
    /// All that an image depends on besides its seed, for [`Keep`].
    pub origin: Value,
    texts: Option<&'a Texts>,
    autoencoder: Option<&'a Autoencoder>,
    other: Option<Other>,
}

/// What a model is compared with.
struct Other {
    file: Checkpoint,
    card: Card,
    hash: String,
    /// What it makes, where that are latents: drawn before the model is loaded.
    latents: Option<Latents>,
}

/// Loads the model, says how it samples, and works with it.
pub fn with_model<R>(
    verb: &Verb,
    subject: Subject<'_>,
    (noise, keep): (Source, &Keep),
    facts: &mut Map<String, Value>,
    context: &Context,
    work: impl FnOnce(Drawing<'_>, &mut Map<String, Value>) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    let device = &context.device;
    let Subject {
        source,
        card,
        hash,
        sampling,
        mut finder,
        autoencoder,
        other,
    } = subject;
    let guided = other.iter().map(|(_, card)| card.sampling.guidance);
    let guidance = std::iter::once(sampling.guidance)
        .chain(guided)
        .find(|w| *w != 1.0);
    let shape = card.network.image_shape();
    let wanted = (verb.prompts).wanted(&card, guidance.unwrap_or(1.0), &verb.file, shape)?;
    // The text encoder is gone before the network comes.
    let texts = wanted.map(|wanted| {
        let together = &context.together;
        together.first(|| wanted.embed(&mut finder, &card, context))
    });
    let texts = texts.transpose()?;
    // Each of a guided batch is computed twice.
    let batch = match sampling.guidance {
        1.0 => Generator::batch_of(&card),
        _ => 2 * Generator::batch_of(&card),
    };
    let origin = json!({
        "model": hash,
        "sampling": sampling,
        "noise": noise.name(),
        "batch": Generator::batch_of(&card),
        "prompts": texts.as_ref().map(Texts::digest),
        "autoencoder": decoder(autoencoder.as_ref(), &source)?,
        "device": label(device),
    });
    let shape = card.network.image_shape();
    let need = Need::drawing(&card.network, source.precision()?, shape, batch);
    let less = "another machine may have more";
    need.check(less, context.ignore_memory, context.reporter)?;
    let other = match other {
        Some((file, card)) => {
            let other = Other::draw(verb, (file, card), texts.as_ref(), (noise, keep), context);
            Some(other?)
        }
        None => None,
    };
    let model = source.model(device)?;
    let autoencoder = autoencoder.map(|file| file.load(device)).transpose()?;
    let generator = Generator::new(&model, sampling, device)?
        .noise(noise)
        .texts(texts.as_ref())
        .autoencoder(autoencoder.as_ref());
    context
        .reporter
        .say(format!("{}: {}", verb.file.display(), generator.describe()));
    facts.insert("sha256".into(), json!(hash));
    facts.insert("nfe".into(), json!(generator.evaluations()));
    facts.insert("sampling".into(), json!(generator.describe()));
    facts.insert("noise".into(), json!(noise.name()));
    if let Some(texts) = &texts {
        let prompts = json!({"count": texts.len(), "digest": texts.digest()});
        facts.insert("prompts".into(), prompts);
    }
    let drawing = Drawing {
        generator,
        origin,
        texts: texts.as_ref(),
        autoencoder: autoencoder.as_ref(),
        other,
    };
    work(drawing, facts)
}

impl Other {
    /// Draws its latents, if it makes some; its network is gone when this returns.
    fn draw(
        verb: &Verb,
        (file, card): (Checkpoint, Card),
        texts: Option<&Texts>,
        (noise, keep): (Source, &Keep),
        context: &Context,
    ) -> anyhow::Result<Self> {
        let hash = hash_file(file.path())?;
        if !card.is_latent() {
            return Ok(Self {
                file,
                card,
                hash,
                latents: None,
            });
        }
        let (seeds, device) = (verb.seeds()?, &context.device);
        let origin = json!({
            "model": hash,
            "sampling": card.sampling,
            "noise": noise.name(),
            "batch": Generator::batch_of(&card),
            "prompts": texts.map(Texts::digest),
            "device": label(device),
            "seeds": [seeds.first(), seeds.len()],
        });
        let model = file.model_in(card.clone(), precision(&file, &card)?, device)?;
        let generator = Generator::of(&model, device)?.noise(noise).texts(texts);
        let told = generator.describe();
        context
            .reporter
            .say(format!("{}: {told}", file.path().display()));
        let stage = keep.stage("latents", origin)?;
        let latents = Latents::draw(&generator, &seeds, stage, (device, context.reporter))?;
        Ok(Self {
            latents: Some(latents),
            file,
            card,
            hash,
        })
    }

    /// Where it is said what was compared with.
    fn named(&self) -> Value {
        json!({"file": self.file.path().display().to_string(), "sha256": self.hash})
    }
}

impl Drawing<'_> {
    /// The other model's latents, if there is one that makes some.
    fn beside(&self) -> Option<&Latents> {
        self.other.as_ref()?.latents.as_ref()
    }

    /// Draws the images of some seeds and gathers what is wanted of them.
    pub fn gather(
        &self,
        gather: Gather<'_>,
        seeds: &[u64],
        keep: &Keep,
        reporter: Reporter,
    ) -> anyhow::Result<Gathered> {
        let mut origin = self.of(seeds);
        let mut gather = gather.beside(self.beside());
        origin["by"] = gather.maker().origin();
        if let Some(other) = self.other.as_ref().filter(|other| other.latents.is_some()) {
            origin["to"] = json!([other.hash, other.card.sampling]);
        }
        let stage = keep.stage("images", origin)?;
        draw_into(&mut gather, &self.generator, seeds, stage, reporter)?;
        Ok(gather.finish()?)
    }

    /// All that the images of some seeds depend on.
    fn of(&self, seeds: &[u64]) -> Value {
        let mut origin = self.origin.clone();
        origin["seeds"] = json!([seeds.first(), seeds.len()]);
        origin
    }
}

/// By what images are measured.
#[derive(Clone, Copy)]
pub struct By<'a> {
    /// A network of features.
    pub features: Option<&'a dyn Extract>,
    /// Whether every feature vector is needed.
    pub rows: bool,
    /// A CLIP model.
    pub eye: Option<&'a Eye>,
}

/// Draws the model's images and measures them: their features and CLIP scores, if networks for them are given, and the distance to those of
/// another model.
pub fn of_model(
    verb: &Verb,
    subject: Subject<'_>,
    by: By<'_>,
    keep: &Keep,
    facts: &mut Map<String, Value>,
    context: &Context,
) -> anyhow::Result<Gathered> {
    let (seeds, noise) = (verb.seeds()?, verb.sampling.noise);
    let reporter = context.reporter;
    let source = (noise, keep);
    with_model(verb, subject, source, facts, context, |drawing, facts| {
        facts.insert("seeds".into(), json!([verb.seeds, seeds.last()]));
        facts.insert("images".into(), json!(seeds.len()));
        let collector = by.features.map(|features| {
            let blocks = stretches(seeds.len(), verb.blocks(seeds.len()));
            let collector = Collector::new(features, by.rows, blocks);
            match verb.scored() {
                true => collector.with_score(seeds.len()),
                false => collector,
            }
        });
        let some = collector.is_some() || by.eye.is_some() || drawing.beside().is_some();
        let found = match some {
            true => drawing.gather(Gather::new(collector, by.eye), &seeds, keep, reporter)?,
            false => Gathered::default(),
        };
        let mut origin = drawing.of(&seeds);
        let Drawing {
            generator,
            texts,
            autoencoder,
            other,
            ..
        } = drawing;
        let Some(other) = other else {
            return Ok(found);
        };
        let mut paired = json!({"to": other.named()});
        let pixels = match found.apart {
            Some(apart) => {
                let Apart { latents, pixels } = apart;
                paired["latents"] = json!({"rms": latents.rms, "l1": latents.l1});
                pixels
            }
            None => {
                let model = other.file.model(other.card, &context.device)?;
                let theirs = Generator::of(&model, &context.device)?
                    .noise(noise)
                    .texts(texts)
                    .autoencoder(autoencoder);
                origin["to"] = json!(other.hash);
                let stage = keep.stage("pairs", origin)?;
                let compared = together(&[&theirs, &generator], &seeds, stage, reporter)?[1];
                if compared.rate > 0.0 {
                    let rate = figure(compared.rate);
                    reporter.say(format!("{rate} images a second"));
                }
                Some(compared.distance)
            }
        };
        if let Some(pixels) = pixels {
            paired["rms"] = json!(pixels.rms);
            paired["l1"] = json!(pixels.l1);
        }
        facts.insert("paired".into(), paired);
        Ok(found)
    })
}

/// The hash of the autoencoder, if there is one.
fn decoder(file: Option<&AutoencoderFile>, model: &ModelSource) -> anyhow::Result<Option<String>> {
    file.map(|file| model.hash_of(file.path())).transpose()
}

/// The card of the model to compare with, if it makes images of the same kind.
fn comparable(verb: &Verb, file: &Checkpoint, card: &Card) -> anyhow::Result<Card> {
    let (other, _) = file.described()?;
    let kind = |card: &Card| {
        (
            card.is_latent(),
            card.takes_text(),
            card.network.image_shape(),
        )
    };
    if kind(&other) == kind(card) {
        return Ok(other);
    }
    Err(wrong(format!(
        "--paired {}: it makes other images than {}, so that there is nothing to compare",
        file.path().display(),
        verb.file.display()
    )))
}
