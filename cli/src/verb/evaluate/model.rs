//! The images of a model.

use super::args::Verb;
use crate::context::Context;
use crate::measure::draw::{draw_into, together};
use crate::measure::feature_set::{Collector, FeatureSet, stretches};
use crate::model::generate::Generator;
use crate::model::latent::{Finder, is_latent, takes_text};
use crate::run::estimate::Need;
use crate::screen::failure::wrong;
use fewstep::import::{AutoencoderFile, Checkpoint, DIFFUSERS_FILE};
use fewstep::metric::Extract;
use fewstep::model::{Card, Sampling, hash_file};
use serde_json::{Map, Value, json};
use std::path::Path;

/// A model that is to be measured, and perhaps another beside it: all that can be said of them before they are loaded.
pub struct Subject<'a> {
    file: Checkpoint,
    card: Card,
    hash: String,
    sampling: Sampling,
    finder: Finder<'a>,
    autoencoder: Option<AutoencoderFile>,
    other: Option<(Checkpoint, Card)>,
}

impl<'a> Subject<'a> {
    /// Looks at the files that were named.
    pub fn open(verb: &'a Verb) -> anyhow::Result<Self> {
        verb.seeds()?;
        let file = Checkpoint::read(&verb.file)?;
        let (card, hash) = file.described()?;
        let sampling = verb.sampling.apply(&card)?;
        let mut finder = Finder::new(&verb.file, &verb.parts)?;
        finder.check_args(is_latent(&card), takes_text(&card))?;
        let autoencoder = match is_latent(&card) {
            true => Some(finder.autoencoder(&card, "")?),
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
            file,
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

/// Draws the model's images and measures them: their features, if a network for them is given, and the distance to those of
/// another model.
pub fn of_model(
    verb: &Verb,
    subject: Subject<'_>,
    keep: bool,
    features: Option<&dyn Extract>,
    facts: &mut Map<String, Value>,
    context: &Context,
) -> anyhow::Result<Option<FeatureSet>> {
    let seeds = verb.seeds()?;
    let noise = verb.sampling.noise;
    let device = &context.device;
    let Subject {
        file,
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
    let wanted = (verb.prompts).wanted(&card, guidance.unwrap_or(1.0), &verb.file)?;
    // The text encoder is gone before the network comes.
    let texts = wanted.map(|wanted| wanted.embed(&mut finder, &card, context));
    let texts = texts.transpose()?;
    // Each of a guided batch is computed twice.
    let batch = match sampling.guidance {
        1.0 => Generator::batch_of(&card),
        _ => 2 * Generator::batch_of(&card),
    };
    let need = Need::drawing(&card.network, card.network.image_shape(), batch);
    let less = "another machine may have more";
    need.check(less, context.ignore_memory, context.reporter)?;
    let model = file.model(card, device)?;
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
    facts.insert("seeds".into(), json!([verb.seeds, seeds.last()]));
    facts.insert("images".into(), json!(seeds.len()));
    if let Some(texts) = &texts {
        let prompts = json!({"count": texts.len(), "digest": texts.digest()});
        facts.insert("prompts".into(), prompts);
    }
    let found = match features {
        Some(features) => {
            let blocks = stretches(seeds.len(), verb.blocks(seeds.len()));
            let mut collector = Collector::new(features, keep, blocks);
            if verb.scored() {
                collector = collector.with_score(seeds.len());
            }
            let rate = draw_into(&mut collector, &generator, &seeds, context.reporter)?;
            facts.insert("images_per_second".into(), json!(rate));
            Some(collector.finish()?)
        }
        None => None,
    };
    if let Some((file, card)) = other {
        let hash = hash_file(file.path())?;
        let other = file.model(card, device)?;
        let other = Generator::of(&other, device)?
            .noise(noise)
            .texts(texts.as_ref())
            .autoencoder(autoencoder.as_ref());
        let found = together(&[&other, &generator], &seeds, context.reporter)?[1];
        let pair = found.distance;
        let to = json!({"file": file.path().display().to_string(), "sha256": hash});
        let paired = json!({"rms": pair.rms, "l1": pair.l1, "to": to});
        facts.insert("paired".into(), paired);
        facts
            .entry("images_per_second")
            .or_insert(json!(found.rate));
    }
    Ok(found)
}

/// The card of the model to compare with, if it makes images of the same kind.
fn comparable(verb: &Verb, file: &Checkpoint, card: &Card) -> anyhow::Result<Card> {
    let (other, _) = file.described()?;
    let kind = |card: &Card| {
        (
            is_latent(card),
            takes_text(card),
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
