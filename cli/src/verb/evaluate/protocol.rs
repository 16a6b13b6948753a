//! Distances measured exactly as a paper measures them.

use super::args::Verb;
use super::model::{Subject, is_model, with_model};
use super::published::{ALL, Data, figure};
use super::used::{FeatureArgs, Rule, Used};
use crate::context::Context;
use crate::measure::feature_set::Collector;
use crate::measure::gather::Gather;
use crate::measure::keep::Keep;
use crate::measure::score::Metric;
use crate::screen::failure::wrong;
use crate::screen::say::say;
use anyhow::Context as _;
use fewstep::metric::{FrechetReference, Moments};
use fewstep::model::Card;
use fewstep::noise::Source;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Images of a repeat.
pub const IMAGES: u64 = 50_000;
/// How often it is measured; the least counts.
const REPEATS: u64 = 3;
/// Where `fewstep fetch` puts statistics.
const FETCHED: &str = "weights";

/// What came of it: the moments of the repeat that counts.
pub struct Found {
    /// Of the least distance.
    pub moments: Moments,
    /// Lines for people.
    pub lines: Vec<String>,
}

/// Measures a model by the protocol.
pub fn measure(
    verb: &Verb,
    keep: &Keep,
    facts: &mut Map<String, Value>,
    context: &Context,
) -> anyhow::Result<Found> {
    check(verb)?;
    let images = verb.images.unwrap_or(IMAGES);
    let last = REPEATS
        .checked_mul(images)
        .and_then(|all| verb.seeds.checked_add(all));
    last.ok_or_else(|| wrong("--seeds and --images go beyond the largest seed"))?;
    let subject = Subject::open(verb)?;
    let (card, sampling) = (subject.card.clone(), subject.sampling.clone());
    let (data, path) = reference(verb, &card)?;
    let features = inception(verb, &path, data, context)?;
    features.check(&verb.file, subject.pictures())?;
    let reference = features.adopt(&path, Moments::read_any(&path)?)?;
    features.record(facts);
    // The classes and the noise of the official tools, which draw on a GPU.
    let noise = match verb.sampling.noise {
        Source::Ours => Source::TorchCuda,
        other => other,
    };
    let deviations = deviations(verb, images, noise);
    let compared = FrechetReference::new(&reference);
    let reporter = context.reporter;
    let (repeats, least) = with_model(
        verb,
        subject,
        (noise, keep),
        facts,
        context,
        |drawing, _| {
            let mut repeats = Vec::new();
            let mut least: Option<(f64, Moments)> = None;
            for repeat in 0..REPEATS {
                let first = verb.seeds + repeat * images;
                let seeds: Vec<u64> = (first..first + images).collect();
                let collector = Collector::new(features.network(), false, Vec::new());
                let gather = Gather::new(Some(collector), None);
                let set = drawing.gather(gather, &seeds, keep, reporter)?.set;
                let found = set.context("no features")?.moments;
                let distance = compared.distances(&[&found])?.remove(0);
                reporter.say(format!("repeat {} of {REPEATS}: {distance:.4}", repeat + 1));
                repeats.push(([first, first + images - 1], distance));
                if least.as_ref().is_none_or(|(least, _)| distance < *least) {
                    least = Some((distance, found));
                }
            }
            Ok((repeats, least))
        },
    )?;
    let (distance, moments) = least.ok_or_else(|| wrong("there are no images"))?;
    let calls = facts.get("nfe").and_then(Value::as_u64).unwrap_or(0);
    let figure = data.and_then(|data| figure(&data, &card, &sampling, calls as usize));
    let each = |(seeds, distance): &([u64; 2], f64)| json!({"seeds": seeds, "frechet": distance});
    let protocol = json!({
        "name": "edm",
        "repeats": repeats.iter().map(each).collect::<Vec<_>>(),
        "deviations": deviations,
    });
    facts.insert("images".into(), json!(images));
    facts.insert("reference".into(), json!(path.display().to_string()));
    facts.insert("protocol".into(), protocol);
    facts.insert("frechet".into(), json!(distance));
    let mut lines: Vec<String> = (1..)
        .zip(&repeats)
        .map(|(i, ([first, last], distance))| {
            format!("repeat {i}          {distance:.4}   seeds {first} to {last}")
        })
        .collect();
    lines.push(format!(
        "Frechet distance  {distance:.4}   the least of {REPEATS}, to {}",
        path.display()
    ));
    let title = data.map_or("these data", |data| data.title);
    lines.push(match &figure {
        Some(figure) => format!(
            "published         {}   {}, {calls} evaluations, {title} ({})",
            figure.fid, figure.method, figure.source
        ),
        None => format!(
            "published         no figure known for {}, {calls} evaluations, {title}",
            sampling.solver
        ),
    });
    if let Some(figure) = figure {
        let published =
            json!({"frechet": figure.fid, "method": figure.method, "source": figure.source});
        facts.insert("published".into(), published);
    }
    lines.extend(
        deviations
            .iter()
            .map(|deviation| format!("not the protocol  {deviation}")),
    );
    Ok(Found { moments, lines })
}

/// Prints what came of it.
pub fn print(facts: &Map<String, Value>, found: &Found) {
    let text = |key: &str| facts.get(key).and_then(Value::as_str).unwrap_or_default();
    say!(
        "features          {} (SHA-256 {})",
        text("features_file"),
        text("features")
    );
    say!(
        "images            {REPEATS} x {}, {}",
        facts["images"],
        text("sampling")
    );
    found.lines.iter().for_each(|line| say!("{line}"));
}

/// Refuses what the protocol settles otherwise.
fn check(verb: &Verb) -> anyhow::Result<()> {
    if !is_model(&verb.file) {
        return Err(wrong(format!(
            "--protocol edm draws its images, and {} is no model; measure pictures that are there with --features inception \
             --reference FILE",
            verb.file.display()
        )));
    }
    let other = |typed: &PathBuf| typed.as_path() != Path::new("inception");
    let metrics = verb.metrics.as_deref().unwrap_or_default();
    let settled = [
        (
            verb.network.features.as_ref().is_some_and(other),
            "--features",
        ),
        (metrics.iter().any(|m| *m != Metric::Frechet), "--metrics"),
        (verb.paired.is_some(), "--paired"),
        (verb.reference_images.is_some(), "--reference-images"),
    ];
    match settled.into_iter().find(|(given, _)| *given) {
        Some((_, flag)) => Err(wrong(format!(
            "{flag} does not go with --protocol edm, which measures one thing in one way; leave it out, or measure without \
             the protocol"
        ))),
        None => Ok(()),
    }
}

/// In what it is not the published protocol.
fn deviations(verb: &Verb, images: u64, noise: Source) -> Vec<String> {
    let mut found = Vec::new();
    if images != IMAGES {
        found.push(format!(
            "{images} images a repeat, not {IMAGES}: the distance of fewer images is larger, and compares with no published one"
        ));
    }
    if verb.seeds != 0 {
        found.push(format!("seeds from {}, not from 0", verb.seeds));
    }
    if noise != Source::TorchCuda {
        found.push(format!("noise {noise}, not torch-cuda"));
    }
    if verb.network.features_resize == Some(Rule::Bilinear) {
        found.push("a bilinear resize, not TensorFlow's".into());
    }
    found
}

/// The data of the model and their statistics: those that were named, or those that `fetch` got for such a model.
fn reference(verb: &Verb, card: &Card) -> anyhow::Result<(Option<Data>, PathBuf)> {
    let fitting = || ALL.iter().copied().filter(|data| data.fits(card));
    if let Some(path) = &verb.reference {
        let name = path.file_name().and_then(|name| name.to_str());
        let data = fitting().find(|data| Some(data.file) == name);
        return Ok((data, path.clone()));
    }
    let path = |data: &Data| Path::new(FETCHED).join(data.file);
    let there: Vec<Data> = fitting().filter(|data| path(data).is_file()).collect();
    match (there.as_slice(), fitting().count()) {
        ([data], 1) => Ok((Some(*data), path(data))),
        ([], 1) => {
            let data = fitting().next();
            Ok((data, data.map(|data| path(&data)).unwrap_or_default()))
        }
        _ => {
            let names: Vec<_> = fitting().map(|data| data.fetch).collect();
            let fetch = match names.is_empty() {
                true => "the `.npz` file of its data".into(),
                false => format!(
                    "what `fewstep fetch {}` got",
                    names.join("` or `fewstep fetch ")
                ),
            };
            Err(wrong(format!(
                "--protocol edm cannot tell which data {} was trained on: name their statistics with --reference, {fetch}",
                verb.file.display()
            )))
        }
    }
}

/// The network; what is missing of it and of the statistics is said in one line.
fn inception(
    verb: &Verb,
    statistics: &Path,
    data: Option<Data>,
    context: &Context,
) -> anyhow::Result<Used> {
    let network = FeatureArgs {
        features: Some(PathBuf::from("inception")),
        ..verb.network.clone()
    };
    let mut missing = Vec::new();
    if !network.weights().is_file() {
        let path = network.weights();
        missing.push(format!(
            "the Inception network at {} (`fewstep fetch inception`, or --inception FILE)",
            path.display()
        ));
    }
    if !statistics.is_file() {
        let fetch = data.map_or(String::new(), |data| {
            format!("`fewstep fetch {}`, or ", data.fetch)
        });
        missing.push(format!(
            "the statistics at {} ({fetch}--reference FILE)",
            statistics.display()
        ));
    }
    if !missing.is_empty() {
        return Err(wrong(format!(
            "--protocol edm needs {}",
            missing.join(" and ")
        )));
    }
    network.read(context)
}
