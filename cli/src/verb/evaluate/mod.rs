//! `fewstep evaluate`: how far a model's images, or those of a data set, are from a reference.

mod args;
mod data;
mod eye;
mod model;
mod protocol;
mod published;
mod used;

pub use args::Verb;

use crate::context::Context;
use crate::measure::draw::too_few;
use crate::measure::gather::Gathered;
use crate::measure::keep::Keep;
use crate::measure::score::{Metric, Reference, lines, record, score};
use crate::output::Outputs;
use crate::page::{self, Evaluation};
use crate::screen::failure::wrong;
use crate::screen::say::say;
use anyhow::Context as _;
use data::{holds_statistics, of_data, read_reference, scores_of_data, unpaired};
use fewstep::metric::Moments;
use fewstep::model::hash_file;
use model::{By, Subject, is_model, of_model};
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
    let leads = context.together.leads();
    let mut outputs = Outputs::default();
    if leads {
        outputs.file_if(verb.write_statistics.as_deref())?;
        outputs.file_if(verb.report.as_deref())?;
        if let Some(folder) = &verb.prompts.embeddings {
            outputs.folder(folder)?;
        }
    }
    let keep = Keep::new(&verb.keep, verb.identity(), context)?;
    let subject = match is_model(&verb.file) {
        true => Some(Subject::open(verb)?),
        false => None,
    };
    let features = features(verb, &metrics, subject.as_ref(), context)?;
    let eye = match verb.eye() {
        true => Some(eye::open(verb, context)?),
        false => None,
    };
    let compares = metrics.iter().any(|metric| metric.compares());
    // Before the images, which take longer.
    let reference = match (&verb.reference, &features) {
        (Some(path), Some(features)) if compares => {
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
    let found = match subject {
        Some(subject) => {
            let by = By {
                features: network.map(Used::network),
                rows,
                eye: eye.as_ref(),
            };
            of_model(verb, subject, by, &keep, &mut facts, context)?
        }
        None if network.is_none() && eye.is_none() => return Err(unpaired()),
        None => {
            let set = network.map(|network| of_data(verb, rows, network, &keep, context));
            let cosines = eye
                .as_ref()
                .map(|eye| scores_of_data(verb, eye, &keep, context));
            Gathered {
                set: set.transpose()?,
                cosines: cosines.transpose()?.unwrap_or_default(),
                apart: None,
            }
        }
    };
    let mut scores = Vec::new();
    if let (Some(found), Some(network)) = (&found.set, network) {
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
    if let Some(eye) = &eye {
        let score = eye.score(&found.cosines);
        facts.entry("images").or_insert(json!(found.cosines.len()));
        facts.insert("clip".into(), score.json());
        scores.push(score.line());
    }
    // What was found first: what was asked for besides can still fail.
    print(verb, &facts, &scores)?;
    if leads {
        write_report(verb, &facts)?;
        write_statistics(verb, found.set.as_ref().map(|set| &set.moments))?;
        keep.done();
    }
    Ok(ExitCode::SUCCESS)
}

/// The page of what was found, where one is wanted.
fn write_report(verb: &Verb, facts: &Map<String, Value>) -> anyhow::Result<()> {
    match (&verb.report, Evaluation::of(facts)) {
        (Some(path), Some(found)) => page::write_evaluation(found, path),
        _ => Ok(()),
    }
}

/// As a paper measures.
fn by_protocol(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let leads = context.together.leads();
    let mut outputs = Outputs::default();
    if leads {
        outputs.file_if(verb.write_statistics.as_deref())?;
        outputs.file_if(verb.report.as_deref())?;
    }
    let keep = Keep::new(&verb.keep, verb.identity(), context)?;
    let mut facts = Map::new();
    facts.insert("file".into(), json!(verb.file.display().to_string()));
    let found = protocol::measure(verb, &keep, &mut facts, context)?;
    match verb.json {
        true => print(verb, &facts, &[])?,
        false => protocol::print(&facts, &found),
    }
    if leads {
        write_report(verb, &facts)?;
        write_statistics(verb, Some(&found.moments))?;
        keep.done();
    }
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
    metrics: &[Metric],
    subject: Option<&Subject<'_>>,
    context: &Context,
) -> anyhow::Result<Option<Used>> {
    let compared = verb.reference.as_ref();
    let compared = compared.filter(|_| metrics.iter().any(|metric| metric.compares()));
    if let (Some(path), None) = (&verb.reference, compared) {
        let path = path.display();
        context.reporter.warn(format!(
            "--reference {path} is not used: what --metrics asks for is of the images alone"
        ));
    }
    if compared.is_none() && verb.write_statistics.is_none() && !verb.scored() {
        if let Some(path) = &verb.network.features {
            let path = path.display();
            context.reporter.warn(format!(
                "--features {path} is not used: --reference is what features are for, and --paired compares pixels"
            ));
        }
        return Ok(None);
    }
    let used = verb.network.read(context)?;
    if verb.scored() && !used.is_published() {
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
    let compares = metrics.iter().find(|metric| metric.compares());
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
        let to = text(&pair["to"]["file"]);
        for (of, what) in [(pair, "pixels"), (&pair["latents"], "latents")] {
            if let (Some(rms), Some(l1)) = (of["rms"].as_f64(), of["l1"].as_f64()) {
                say!("paired distance   rms {rms:.4}, l1 {l1:.4} ({what}, to {to})");
            }
        }
    }
    Ok(())
}
