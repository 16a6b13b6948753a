//! `fewstep evaluate`: the Frechet distance of a model's images, or of a data set, to a reference.

use crate::asset::{Asset, FEATURES};
use crate::device::Context;
use crate::failure::wrong;
use crate::generate::{Generator, SamplingArgs};
use crate::measure::{draw, moments_of, together, too_few};
use anyhow::Context as _;
use clap::Args;
use fewstep::checkpoint::hash_file;
use fewstep::data::{Dataset, Options, Padding, Split};
use fewstep::import;
use fewstep::metric::{Features, Moments, frechet_distance};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep evaluate student.safetensors --reference assets/fashion-mnist-statistics.safetensors
  fewstep evaluate teacher.safetensors --reference fashion-mnist/ --solver dpm-solver-pp --steps 5
  fewstep evaluate student.safetensors --paired teacher.safetensors --images 500
  fewstep evaluate fashion-mnist/ --split test --reference fashion-mnist/ --json
  fewstep evaluate fashion-mnist/ --write-statistics statistics.safetensors";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A model file (.safetensors, .pkl, .pt, .pth, .ckpt), or images: IDX files, a folder, or a zip of one
    file: PathBuf,
    /// What to compare with: statistics (a .safetensors file), or images
    #[arg(long, value_name = "FILE", required_unless_present_any = ["paired", "write_statistics"])]
    reference: Option<PathBuf>,
    /// How many images to draw
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    images: u64,
    /// The first seed; the others follow
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seeds: u64,
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
    sampling: SamplingArgs,
}

fn split(text: &str) -> Result<Split, String> {
    match text {
        "train" => Ok(Split::Train),
        "test" => Ok(Split::Test),
        _ => Err("write train or test".into()),
    }
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let seeds = last_seed(verb)?;
    let asset = Asset::find(verb.features.as_deref(), FEATURES)?;
    let features = Features::read(asset.path(), &context.device)?;
    let mut facts = Map::new();
    facts.insert("file".into(), json!(verb.file.display().to_string()));
    let moments = if is_model(&verb.file) {
        of_model(verb, &seeds, &features, &mut facts, context)?
    } else {
        of_data(verb, &features, context)?
    };
    facts.insert("images".into(), json!(moments.count));
    facts.insert("features".into(), json!(features.hash));
    if let Some(reference) = &verb.reference {
        if let Some(warning) = too_few(moments.count, features.card.network.features) {
            context.reporter.warn(warning);
        }
        let reference = read_reference(verb, reference, &features, context)?;
        facts.insert(
            "frechet".into(),
            json!(frechet_distance(&moments, &reference)?),
        );
    }
    if let Some(path) = &verb.write_statistics {
        moments.write(path)?;
    }
    print(verb, &facts)
}

/// The seeds to draw.
fn last_seed(verb: &Verb) -> anyhow::Result<Vec<u64>> {
    let end = verb.seeds.checked_add(verb.images);
    let end = end.ok_or_else(|| wrong("--seeds and --images go beyond the largest seed"))?;
    Ok((verb.seeds..end).collect())
}

/// Models are told from images by their names: a zip archive may be either.
fn is_model(path: &Path) -> bool {
    let endings = ["safetensors", "pkl", "pt", "pth", "ckpt"];
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| endings.contains(&e))
}

fn is_safetensors(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "safetensors")
}

fn of_model(
    verb: &Verb,
    seeds: &[u64],
    features: &Features,
    facts: &mut Map<String, Value>,
    context: &Context,
) -> anyhow::Result<Moments> {
    let (model, hash) = import::open(&verb.file, &context.device)?;
    let sampling = verb.sampling.apply(&model)?;
    let generator = Generator::new(&model, sampling, &context.device)?;
    context
        .reporter
        .say(format!("{}: {}", verb.file.display(), generator.describe()));
    let drawn = draw(&generator, seeds, features, context.reporter)?;
    facts.insert("sha256".into(), json!(hash));
    facts.insert("nfe".into(), json!(generator.evaluations()));
    facts.insert("sampling".into(), json!(generator.describe()));
    facts.insert("images_per_second".into(), json!(drawn.rate));
    if let Some(path) = &verb.paired {
        let (other, _) = import::open(path, &context.device)?;
        let other = Generator::of(&other, &context.device)?;
        let pair = together(&[&other, &generator], seeds, context.reporter)?[1].distance;
        facts.insert("paired".into(), json!({"rms": pair.rms, "l1": pair.l1}));
    }
    Ok(drawn.moments)
}

fn of_data(verb: &Verb, features: &Features, context: &Context) -> anyhow::Result<Moments> {
    if verb.paired.is_some() {
        return Err(wrong(
            "--paired needs a model file: a data set has no seeds",
        ));
    }
    let data = open(verb, &verb.file, verb.split, features, context)?;
    moments_of(&data, features, &context.device, context.reporter)
}

fn open(
    verb: &Verb,
    path: &Path,
    split: Split,
    features: &Features,
    context: &Context,
) -> anyhow::Result<Dataset> {
    let network = &features.card.network;
    let options = Options {
        padding: if verb.resize {
            Padding::Resize
        } else {
            Padding::Pad
        },
        split,
        skip_unreadable: verb.skip_unreadable,
        ..Options::new(network.size, network.channels)
    };
    let data = Dataset::open(path, &options)?;
    for skipped in data.skipped() {
        let name = skipped.name.display();
        context
            .reporter
            .warn(format!("left out {name}: {}", skipped.reason));
    }
    Ok(data)
}

fn read_reference(
    verb: &Verb,
    path: &Path,
    features: &Features,
    context: &Context,
) -> anyhow::Result<Moments> {
    if is_safetensors(path) {
        let default = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let asset = Asset::find(Some(path), default)?;
        return Ok(Moments::read(asset.path())?);
    }
    let data = open(verb, path, Split::Train, features, context)?;
    moments_of(&data, features, &context.device, context.reporter)
}

fn print(verb: &Verb, facts: &Map<String, Value>) -> anyhow::Result<ExitCode> {
    if verb.json {
        println!(
            "{}",
            serde_json::to_string_pretty(facts).context("cannot print")?
        );
        return Ok(ExitCode::SUCCESS);
    }
    let number = |key: &str| facts.get(key).and_then(Value::as_f64);
    println!("images            {}", facts["images"]);
    if let Some(rate) = number("images_per_second") {
        println!("images/s          {rate:.1}");
    }
    if let Some(distance) = number("frechet") {
        println!("Frechet distance  {distance:.4}");
    }
    if let Some(pair) = facts.get("paired") {
        println!(
            "paired distance   rms {:.4}, l1 {:.4}",
            pair["rms"].as_f64().unwrap_or(f64::NAN),
            pair["l1"].as_f64().unwrap_or(f64::NAN)
        );
    }
    if let Some(path) = &verb.write_statistics {
        println!(
            "statistics        {} (SHA-256 {})",
            path.display(),
            hash_file(path)?
        );
    }
    Ok(ExitCode::SUCCESS)
}
