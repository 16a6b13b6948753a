//! `fewstep evaluate`: how far a model's images, or those of a data set, are from a reference.

mod data;

use crate::asset::{Asset, FEATURES};
use crate::device::Context;
use crate::failure::wrong;
use crate::feature_set::{Collector, FeatureSet, sensible, stretches};
use crate::generate::Generator;
use crate::latent::{Finder, PartArgs, PromptArgs, is_latent, takes_text};
use crate::measure::{draw_into, together, too_few};
use crate::sampling::SamplingArgs;
use crate::say::say;
use crate::score::{Metric, Reference, lines, record, score};
use crate::typed::whole;
use anyhow::Context as _;
use clap::Args;
use data::{is_safetensors, of_data, read_reference};
use fewstep::checkpoint::{Card, hash_file};
use fewstep::data::Split;
use fewstep::import::{Checkpoint, DIFFUSERS_FILE};
use fewstep::metric::Features;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep evaluate student.safetensors --reference assets/fashion-mnist-statistics.safetensors
  fewstep evaluate teacher.safetensors --reference fashion-mnist/ --solver dpm-solver-pp --steps 5
  fewstep evaluate student.safetensors --paired teacher.safetensors --images 500
  fewstep evaluate fashion-mnist/ --split test --reference fashion-mnist/ --json
  fewstep evaluate student.safetensors --reference fashion-mnist/ --metrics frechet,kernel,prdc
  fewstep evaluate fashion-mnist/ --write-statistics statistics.safetensors
  fewstep evaluate sd-student.safetensors --prompts captions.csv --reference photos/ --features features.safetensors

Pictures of latent models are decoded before they are measured; with --prompts, seed i shows prompt i.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A model file (.safetensors, .pkl, .pt, .pth, .ckpt) or a folder of diffusers, or images: IDX files, a folder, or a
    /// zip of one
    file: PathBuf,
    /// What to compare with: statistics (a .safetensors file), or images
    #[arg(long, value_name = "FILE", required_unless_present_any = ["paired", "write_statistics"])]
    reference: Option<PathBuf>,
    /// What to measure; all but frechet need a reference of images [default: frechet]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        requires = "reference"
    )]
    metrics: Option<Vec<Metric>>,
    /// How many images to draw, or to take from a data set [default: 10000; all of a data set]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..=MOST_IMAGES))]
    images: Option<u64>,
    /// The first seed; the others follow. For a data set: which images --images takes
    #[arg(long, value_name = "SEED", default_value_t = 0, value_parser = whole::<u64>(0..))]
    seeds: u64,
    /// How many images to take from the reference, at random [default: all]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..=MOST_IMAGES))]
    reference_images: Option<u64>,
    /// Blocks of seeds to show the spread over; 0 or 1 for none
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole::<usize>(0..=1000))]
    blocks: usize,
    /// Which nearest neighbour the radii of precision, recall, density and coverage reach to
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = whole::<usize>(1..))]
    nearest: usize,
    /// The network whose features are compared [default: the bundled one for Fashion-MNIST]
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// Compare with this model's images of the same seeds, too
    #[arg(long, value_name = "TEACHER")]
    paired: Option<PathBuf>,
    /// Keep the moments of the images' features
    #[arg(long, value_name = "FILE")]
    write_statistics: Option<PathBuf>,
    /// Which part of FILE, if it is a data set with parts
    #[arg(long, value_name = "train|test", default_value = "train", value_parser = split)]
    split: Split,
    /// Cut and scale images of another size instead of padding them
    #[arg(long)]
    resize: bool,
    /// Leave out images that cannot be read
    #[arg(long)]
    skip_unreadable: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    parts: PartArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

fn split(text: &str) -> Result<Split, String> {
    match text {
        "train" => Ok(Split::Train),
        "test" => Ok(Split::Test),
        _ => Err("write train or test".into()),
    }
}

/// Images drawn from a model if nobody says how many.
const IMAGES: u64 = 10_000;
/// More than anybody wants by accident.
const MOST_IMAGES: u64 = 10_000_000;

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let metrics = verb.metrics.clone().unwrap_or(vec![Metric::Frechet]);
    let keep = metrics.iter().any(|metric| metric.needs_images());
    check_reference(verb, &metrics)?;
    let asset = Asset::find(verb.features.as_deref(), FEATURES)?;
    let features = Features::read(asset.path(), &context.device)?;
    // Before the images, which take longer.
    let reference = verb.reference.as_ref();
    let reference = reference
        .map(|path| read_reference(verb, path, keep, &features, context))
        .transpose()?;
    let mut facts = Map::new();
    facts.insert("file".into(), json!(verb.file.display().to_string()));
    let found = if is_model(&verb.file) {
        of_model(verb, keep, &features, &mut facts, context)?
    } else {
        of_data(verb, keep, &features, context)?
    };
    let images = found.moments.count;
    facts.insert("images".into(), json!(images));
    facts.insert("features".into(), json!(features.hash));
    let mut scores = Vec::new();
    if let Some(reference) = &reference {
        if metrics.contains(&Metric::Frechet)
            && let Some(warning) = too_few(images, features.card.network.features)
        {
            context.reporter.warn(warning);
        }
        if let Reference::Images(set) = reference {
            facts.insert("reference_images".into(), json!(set.moments.count));
        }
        if metrics.contains(&Metric::Prdc) {
            facts.insert("nearest".into(), json!(verb.nearest));
        }
        scores = score(&metrics, reference, &found, verb.nearest, context.reporter)?;
        record(&scores, images, &mut facts);
    }
    if let Some(path) = &verb.write_statistics {
        found.moments.write(path)?;
    }
    print(verb, &facts, &lines(&scores, images))
}

/// Refuses statistics where images are needed, before anything takes time.
fn check_reference(verb: &Verb, metrics: &[Metric]) -> anyhow::Result<()> {
    let Some(path) = verb
        .reference
        .as_deref()
        .filter(|path| is_safetensors(path))
    else {
        return Ok(());
    };
    let path = path.display();
    if let Some(metric) = metrics.iter().find(|metric| metric.needs_images()) {
        return Err(wrong(format!(
            "--metrics {} compares image by image, but {path} holds only the mean and covariance of its images; give \
             the images themselves as --reference: a data set, or a folder that `fewstep sample` wrote",
            metric.name()
        )));
    }
    if verb.reference_images.is_some() {
        return Err(wrong(format!(
            "--reference-images takes images from a data set, but {path} holds only their mean and covariance"
        )));
    }
    Ok(())
}

/// The seeds to draw.
fn last_seed(verb: &Verb) -> anyhow::Result<Vec<u64>> {
    let end = verb.seeds.checked_add(verb.images.unwrap_or(IMAGES));
    let end = end.ok_or_else(|| wrong("--seeds and --images go beyond the largest seed"))?;
    Ok((verb.seeds..end).collect())
}

/// Models are told from images by their names: a zip archive may be either, and so may a folder.
fn is_model(path: &Path) -> bool {
    if path.is_dir() {
        return path.join("unet").is_dir() || path.join(DIFFUSERS_FILE).is_file();
    }
    let endings = ["safetensors", "pkl", "pt", "pth", "ckpt"];
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| endings.contains(&e))
}

/// How many blocks to look at.
fn blocks(verb: &Verb, images: usize) -> usize {
    match verb.reference {
        Some(_) => sensible(verb.blocks, images, verb.nearest),
        None => 0,
    }
}

fn of_model(
    verb: &Verb,
    keep: bool,
    features: &Features,
    facts: &mut Map<String, Value>,
    context: &Context,
) -> anyhow::Result<FeatureSet> {
    let seeds = last_seed(verb)?;
    let file = Checkpoint::read(&verb.file)?;
    let (card, hash) = file.described()?;
    let sampling = verb.sampling.apply(&card)?;
    let noise = verb.sampling.noise;
    let device = &context.device;
    let mut finder = Finder::new(&verb.file, &verb.parts)?;
    finder.check_args(is_latent(&card), takes_text(&card))?;
    let autoencoder = match is_latent(&card) {
        true => Some(finder.autoencoder(&card, "")?),
        false => None,
    };
    let other = verb.paired.as_deref().map(Checkpoint::read);
    let other = other.transpose()?;
    let other_card = match &other {
        Some(file) => Some(comparable(verb, file, &card)?),
        None => None,
    };
    let guided = other_card.iter().map(|card| card.sampling.guidance);
    let guidance = std::iter::once(sampling.guidance)
        .chain(guided)
        .find(|w| *w != 1.0);
    let wanted = (verb.prompts).wanted(&card, guidance.unwrap_or(1.0), &verb.file)?;
    // The text encoder is gone before the network comes.
    let texts = wanted.map(|wanted| wanted.embed(&mut finder, &card, context));
    let texts = texts.transpose()?;
    let model = file.model(card, device)?;
    let autoencoder = autoencoder.map(|file| file.load(device)).transpose()?;
    let generator = Generator::new(&model, sampling, device)?
        .noise(noise)
        .texts(texts.as_ref())
        .autoencoder(autoencoder.as_ref());
    context
        .reporter
        .say(format!("{}: {}", verb.file.display(), generator.describe()));
    let blocks = stretches(seeds.len(), blocks(verb, seeds.len()));
    let mut collector = Collector::new(features, keep, blocks);
    let rate = draw_into(&mut collector, &generator, &seeds, context.reporter)?;
    facts.insert("sha256".into(), json!(hash));
    facts.insert("nfe".into(), json!(generator.evaluations()));
    facts.insert("sampling".into(), json!(generator.describe()));
    facts.insert("noise".into(), json!(noise.name()));
    facts.insert("seeds".into(), json!([verb.seeds, seeds.last()]));
    facts.insert("images_per_second".into(), json!(rate));
    if let Some(texts) = &texts {
        let prompts = json!({"count": texts.len(), "digest": texts.digest()});
        facts.insert("prompts".into(), prompts);
    }
    if let (Some(file), Some(card)) = (&other, other_card) {
        let other = file.model(card, device)?;
        let other = Generator::of(&other, device)?
            .noise(noise)
            .texts(texts.as_ref())
            .autoencoder(autoencoder.as_ref());
        let pair = together(&[&other, &generator], &seeds, context.reporter)?[1].distance;
        facts.insert("paired".into(), json!({"rms": pair.rms, "l1": pair.l1}));
    }
    Ok(collector.finish()?)
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

fn print(verb: &Verb, facts: &Map<String, Value>, scores: &[String]) -> anyhow::Result<ExitCode> {
    if verb.json {
        say!(
            "{}",
            serde_json::to_string_pretty(facts).context("cannot print")?
        );
        return Ok(ExitCode::SUCCESS);
    }
    let number = |key: &str| facts.get(key).and_then(Value::as_f64);
    say!("images            {}", facts["images"]);
    if let Some(rate) = number("images_per_second") {
        say!("images/s          {rate:.1}");
    }
    for score in scores {
        say!("{score}");
    }
    if let Some(pair) = facts.get("paired") {
        say!(
            "paired distance   rms {:.4}, l1 {:.4}",
            pair["rms"].as_f64().unwrap_or(f64::NAN),
            pair["l1"].as_f64().unwrap_or(f64::NAN)
        );
    }
    if let Some(path) = &verb.write_statistics {
        say!(
            "statistics        {} (SHA-256 {})",
            path.display(),
            hash_file(path)?
        );
    }
    Ok(ExitCode::SUCCESS)
}
