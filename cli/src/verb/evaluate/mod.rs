//! `fewstep evaluate`: how far a model's images, or those of a data set, are from a reference.

mod args;
mod data;
mod model;
mod protocol;
mod published;
mod used;

pub use args::Verb;

use crate::context::Context;
use crate::measure::draw::too_few;
use crate::measure::keep::Keep;
use crate::measure::score::{Metric, Reference, lines, record, score};
use crate::output::Outputs;
use crate::screen::failure::wrong;
use crate::screen::say::say;
use anyhow::Context as _;
use data::{holds_statistics, of_data, read_reference, unpaired};
use fewstep::metric::Moments;
use fewstep::model::hash_file;
use model::{Subject, is_model, of_model};
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use used::Used;

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    if verb.protocol.is_some() {
        return by_protocol(verb, context);
    }
    let metrics = verb.metrics.clone().unwrap_or(vec![Metric::Frechet]);
    let rows = metrics.iter().any(|metric| metric.needs_images());
    check_reference(verb, &metrics)?;
    let mut outputs = Outputs::default();
    outputs.file_if(verb.write_statistics.as_deref())?;
    if let Some(folder) = &verb.prompts.embeddings {
        outputs.folder(folder)?;
    }
    let keep = Keep::new(&verb.keep, context.reporter)?;
    let subject = match is_model(&verb.file) {
        true => Some(Subject::open(verb)?),
        false => None,
    };
    let features = features(verb, subject.as_ref(), context)?;
    // Before the images, which take longer.
    let reference = match (&verb.reference, &features) {
        (Some(path), Some(features)) => {
            Some(read_reference(verb, path, rows, features, &keep, context)?)
        }
        _ => None,
    };
    let mut facts = Map::new();
    facts.insert("file".into(), json!(verb.file.display().to_string()));
    if let Some(features) = &features {
        features.record(&mut facts);
    }
    let network = features.as_ref();
    let found = match (subject, network) {
        (Some(subject), network) => of_model(
            verb,
            subject,
            rows,
            network.map(Used::network),
            &keep,
            &mut facts,
            context,
        )?,
        (None, Some(network)) => Some(of_data(verb, rows, network, &keep, context)?),
        (None, None) => return Err(unpaired()),
    };
    let mut scores = Vec::new();
    if let (Some(found), Some(network)) = (&found, network) {
        let images = found.moments.count;
        facts.insert("images".into(), json!(images));
        if let Some(reference) = &reference {
            let network = network.network();
            if metrics.contains(&Metric::Frechet)
                && let Some(warning) = too_few(images, network.size())
            {
                context.reporter.warn(warning);
            }
            if let Reference::Images(set) = reference {
                facts.insert("reference_images".into(), json!(set.moments.count));
            }
            if metrics.contains(&Metric::Prdc) {
                facts.insert("nearest".into(), json!(verb.nearest));
            }
            let scored = score(&metrics, reference, found, verb.nearest, context.reporter)?;
            record(&scored, images, &mut facts);
            scores = lines(&scored, images);
        }
        if let Some((mean, deviation)) = found.inception_score {
            let score = json!({"mean": mean, "deviation": deviation});
            facts.insert("inception_score".into(), score);
            scores.push(format!(
                "inception score   {mean:.4} +- {deviation:.4} over ten parts"
            ));
        }
    }
    // What was found first: what was asked for besides can still fail.
    print(verb, &facts, &scores)?;
    write_statistics(verb, found.as_ref().map(|found| &found.moments))?;
    keep.done();
    Ok(ExitCode::SUCCESS)
}

/// As a paper measures.
fn by_protocol(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let mut outputs = Outputs::default();
    outputs.file_if(verb.write_statistics.as_deref())?;
    let keep = Keep::new(&verb.keep, context.reporter)?;
    let mut facts = Map::new();
    facts.insert("file".into(), json!(verb.file.display().to_string()));
    let found = protocol::measure(verb, &keep, &mut facts, context)?;
    match verb.json {
        true => print(verb, &facts, &[])?,
        false => protocol::print(&facts, &found),
    }
    write_statistics(verb, Some(&found.moments))?;
    keep.done();
    Ok(ExitCode::SUCCESS)
}

/// Writes the moments, if asked for.
fn write_statistics(verb: &Verb, moments: Option<&Moments>) -> anyhow::Result<()> {
    let (Some(path), Some(moments)) = (&verb.write_statistics, moments) else {
        return Ok(());
    };
    match path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("npz"))
    {
        true => moments.write_npz(path)?,
        false => moments.write(path)?,
    }
    if !verb.json {
        let hash = hash_file(path)?;
        say!("statistics        {} (SHA-256 {hash})", path.display());
    }
    Ok(())
}

/// The network whose features are compared, if any are: pixels need none.
fn features(
    verb: &Verb,
    subject: Option<&Subject<'_>>,
    context: &Context,
) -> anyhow::Result<Option<Used>> {
    if verb.reference.is_none() && verb.write_statistics.is_none() && !verb.scored() {
        if let Some(path) = &verb.network.features {
            let path = path.display();
            context.reporter.warn(format!(
                "--features {path} is not used: --paired compares pixels; --reference is what features are for"
            ));
        }
        return Ok(None);
    }
    let used = verb.network.read(context)?;
    if verb.scored() && !used.takes_any() {
        return Err(wrong(
            "--metrics inception-score is for --features inception",
        ));
    }
    if let Some(subject) = subject {
        used.check(&verb.file, subject.pictures())?;
    }
    Ok(Some(used))
}

/// Refuses statistics where images are needed, before anything takes time.
fn check_reference(verb: &Verb, metrics: &[Metric]) -> anyhow::Result<()> {
    let compares = metrics
        .iter()
        .find(|metric| **metric != Metric::InceptionScore);
    if let (Some(metric), None, Some(_)) = (compares, &verb.reference, &verb.metrics) {
        return Err(wrong(format!(
            "--metrics {} compares with other images: name them, or their statistics, with --reference",
            metric.name()
        )));
    }
    let Some(path) = verb
        .reference
        .as_deref()
        .filter(|path| holds_statistics(path))
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

fn print(verb: &Verb, facts: &Map<String, Value>, scores: &[String]) -> anyhow::Result<()> {
    if verb.json {
        say!(
            "{}",
            serde_json::to_string_pretty(facts).context("cannot print")?
        );
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    if let (Some(file), Some(hash)) = (facts.get("features_file"), facts.get("features")) {
        say!("features          {} (SHA-256 {})", text(file), text(hash));
    }
    say!("images            {}", facts["images"]);
    for score in scores {
        say!("{score}");
    }
    if let Some(pair) = facts.get("paired") {
        say!(
            "paired distance   rms {:.4}, l1 {:.4} (pixels, to {})",
            pair["rms"].as_f64().unwrap_or(f64::NAN),
            pair["l1"].as_f64().unwrap_or(f64::NAN),
            text(&pair["to"]["file"])
        );
    }
    Ok(())
}
