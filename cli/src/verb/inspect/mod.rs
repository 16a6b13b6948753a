//! `fewstep inspect`: what a file is.

mod adapter;
mod network;
mod table;

use crate::screen::say::say;
use anyhow::Context as _;
use clap::Args;
use fewstep::Error;
use fewstep::denoiser::Preconditioning;
use fewstep::import::{AutoencoderFile, Checkpoint, Format, Global, TextEncoderFile, globals};
use fewstep::model::{Card, hash_file, kind_name};
use fewstep::text::Tokenizer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep inspect runs/nfe2/student.safetensors
  fewstep inspect edm-cifar10-32x32-uncond-vp.pkl
  fewstep inspect runs/nfe2/state.safetensors --json
  fewstep inspect stable-diffusion-v1-5/

Nothing in a file is executed. `globals` are the names of Python's that a pickle mentions: what Python would import,
and in the case of functions call. A file with names that weights have no use for is described, but not loaded.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A model, a training state, a feature network, statistics; an EDM or SFD pickle; a PyTorch file; safetensors; the folder
    /// of a diffusers model
    file: PathBuf,
    /// Print JSON, with everything as the file has it
    #[arg(long)]
    json: bool,
}

/// What is known about a file, in the order to show it.
type Facts = Vec<(String, Value)>;

/// Runs the verb.
pub fn run(verb: &Verb) -> anyhow::Result<ExitCode> {
    let facts = describe(&verb.file)?;
    if verb.json {
        let facts: serde_json::Map<_, _> = facts.into_iter().collect();
        let text = serde_json::to_string_pretty(&facts).context("cannot print")?;
        say!("{text}");
    } else {
        for line in table::lines(&facts) {
            say!("{line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(path: &Path) -> anyhow::Result<Facts> {
    let file = match Checkpoint::read(path) {
        Ok(file) => file,
        Err(error) => {
            let mut facts = refused(path, error)?;
            facts.push(("sha256".into(), json!(hash_file(path)?)));
            return Ok(facts);
        }
    };
    let mut facts = match file.format {
        Format::Safetensors => of_safetensors(&file)?,
        _ => of_pickle(&file)?,
    };
    facts.extend(adapter::facts(path, &file));
    facts.extend(part_facts(path, &file));
    // Of a folder, those of the U-Net; of shards, of all of them.
    facts.push(("bytes".into(), json!(file.size())));
    facts.push(("sha256".into(), json!(file.hash()?)));
    Ok(facts)
}

/// The other parts of a latent model, or of a file that is no model but holds such a part.
fn part_facts(path: &Path, file: &Checkpoint) -> Facts {
    let card = file.card().ok();
    if card.as_ref().is_some_and(|card| !card.is_latent()) {
        return Facts::new();
    }
    let config = |config: serde_json::Result<Value>, parameters: u64| {
        let mut config = config.unwrap_or_default();
        config["parameters"] = json!(parameters);
        config
    };
    let autoencoder = AutoencoderFile::open(path).map(|part| {
        let of = part.config();
        config(serde_json::to_value(of), of.parameter_count())
    });
    let encoder = TextEncoderFile::open(path, None).map(|part| {
        let of = part.configs().into_iter();
        let all = of.map(|of| config(serde_json::to_value(of), of.parameter_count()));
        // One by itself, as of all models with one.
        let mut all: Vec<Value> = all.collect();
        match all.len() {
            1 => all.remove(0),
            _ => Value::Array(all),
        }
    });
    let mut parts = vec![("autoencoder", autoencoder, true)];
    let text = card.as_ref().is_none_or(Card::takes_text);
    parts.extend(text.then_some(("text-encoder", encoder, true)));
    if path.is_dir() && text {
        let read = Tokenizer::read(path).map(|tokenizer| json!(tokenizer.digest()));
        parts.push(("vocabulary", read, false));
    }
    let mut facts = Facts::new();
    for (name, part, named) in parts {
        let value = match (part, &card) {
            (Ok(value), _) => value,
            (Err(Error::MissingPart { .. }), None) => continue,
            (Err(Error::MissingPart { .. }), Some(_)) if named => {
                json!(format!("none here; --{name} names one"))
            }
            (Err(error), _) => json!(format!("cannot be used: {error}")),
        };
        facts.push((name.into(), value));
    }
    facts
}

fn of_safetensors(file: &Checkpoint) -> anyhow::Result<Facts> {
    let mut facts = Vec::new();
    let mut put = |name: &str, value: Value| facts.push((name.to_string(), value));
    let mut metadata = file.metadata.clone();
    let card: Option<Value> = metadata
        .remove("fewstep")
        .and_then(|text| serde_json::from_str(&text).ok());
    let kind = kind_of(card.as_ref());
    put("kind", json!(kind));
    if matches!(kind, "teacher" | "student") {
        for (name, value) in model_facts(file, &file.card()?)? {
            put(name, value);
        }
    } else if let Some(Value::Object(card)) = card {
        if kind == "training state" {
            for (name, value) in state_facts(&Value::Object(card.clone())) {
                put(name, value);
            }
        }
        // What the card of the model says is in there already.
        let told = ["kind", "card"];
        for (name, value) in card
            .into_iter()
            .filter(|(name, _)| !told.contains(&name.as_str()))
        {
            put(&name, value);
        }
    } else {
        match file.card() {
            // Official names: it can be sampled and converted.
            Ok(card) => {
                for (name, value) in model_facts(file, &card)? {
                    put(name, value);
                }
            }
            Err(error) => put("not-loadable", json!(error.to_string())),
        }
    }
    facts.extend(tensor_facts(file, kind == "training state"));
    // There is nothing in such a file that could name code.
    facts.push(("globals".into(), json!([])));
    if !metadata.is_empty() {
        facts.push(("metadata".into(), json!(metadata)));
    }
    Ok(facts)
}

/// An EDM or SFD pickle, or a PyTorch file.
fn of_pickle(file: &Checkpoint) -> anyhow::Result<Facts> {
    let mut facts = Vec::new();
    let mut put = |name: &str, value: Value| facts.push((name.to_string(), value));
    let kind = match (file.format, file.training.is_empty()) {
        (format, true) => format.to_string(),
        (format, false) => format!("{format}, student"),
    };
    put("kind", json!(kind));
    if !file.root.is_empty() {
        put("root", json!(file.root));
    }
    let classes = [&file.class, &file.network].into_iter().flatten();
    let classes: Vec<&str> = classes.map(String::as_str).collect();
    if !classes.is_empty() {
        put("classes", json!(classes.join(", ")));
    }
    match file.card() {
        Ok(card) => {
            for (name, value) in model_facts(file, &card)? {
                put(name, value);
            }
        }
        // Not everything that PyTorch saves is a model of ours.
        Err(error) => put("not-loadable", json!(error.to_string())),
    }
    for (name, map) in [
        ("attributes", &file.attributes),
        ("init-kwargs", &file.init),
        ("training-kwargs", &file.training),
    ] {
        if !map.is_empty() {
            put(name, json!(map));
        }
    }
    facts.extend(tensor_facts(file, false));
    facts.push(("globals".into(), global_facts(&file.globals)));
    Ok(facts)
}

/// A pickle that is not loaded: what it mentions, and why not.
fn refused(path: &Path, error: Error) -> anyhow::Result<Facts> {
    let globals = match globals(path) {
        Ok(globals) if !globals.is_empty() => globals,
        _ => return Err(error.into()),
    };
    Ok(vec![
        ("kind".into(), json!("pickle that is not loaded")),
        ("not-loadable".into(), json!(error.to_string())),
        ("globals".into(), global_facts(&globals)),
    ])
}

/// Parameters are counted without constants and, in a training state, without moments and averages.
fn tensor_facts(file: &Checkpoint, is_state: bool) -> Facts {
    let mut types: BTreeMap<String, usize> = BTreeMap::new();
    let mut parameters = 0;
    for (name, info) in file.tensors() {
        *types.entry(info.scalar.to_string()).or_default() += 1;
        let is_weight = !is_state || name.starts_with("weight/");
        if is_weight && !name.ends_with("resample_filter") {
            parameters += info.count();
        }
    }
    let types: Vec<_> = types
        .iter()
        .map(|(name, count)| format!("{name} ({count})"))
        .collect();
    let mut facts = vec![
        ("tensors".into(), json!(file.tensors().len())),
        ("parameters".into(), json!(parameters)),
        ("dtype".into(), json!(types.join(", "))),
    ];
    if let n @ 1.. = file.scaled() {
        facts.push(("scaled".into(), json!(format!("{n} have a factor"))));
    }
    facts
}

fn global_facts(globals: &[Global]) -> Value {
    let lines = globals.iter().map(|global| {
        let Global {
            name,
            offset,
            mentions,
            allowed,
            ..
        } = global;
        let verdict = if *allowed {
            ""
        } else {
            ", NOT NEEDED BY WEIGHTS"
        };
        let mentions = match mentions {
            1 => String::new(),
            more => format!(", mentioned {more} times"),
        };
        format!("{name} (byte {offset}{mentions}{verdict})")
    });
    json!(lines.collect::<Vec<_>>())
}

fn kind_of(card: Option<&Value>) -> &'static str {
    let Some(card) = card else {
        return "safetensors file without a card";
    };
    kind_name(card).unwrap_or("safetensors file with an unknown card")
}

/// What a training state says of the model that is made: its card, or in one of old its recipe.
fn state_facts(state: &Value) -> Vec<(&'static str, Value)> {
    let mut facts = Vec::new();
    let (recipe, card) = (&state["recipe"], &state["card"]);
    let networks = [&card["network"], &recipe["network"]];
    if let Some(network) = networks.into_iter().find(|network| network.is_object()) {
        facts.push(("network", network.clone()));
    }
    for sampling in [&recipe["sampling"], recipe] {
        let [smallest, largest] = ["sigma-min", "sigma-max"].map(|key| sampling[key].clone());
        if smallest.is_number() && largest.is_number() {
            facts.push(("sigma-range", json!([smallest, largest])));
            break;
        }
    }
    facts
}

/// What a card says: the file's own, or one that follows from what a foreign file holds.
fn model_facts(file: &Checkpoint, card: &Card) -> anyhow::Result<Vec<(&'static str, Value)>> {
    let sampling = &card.sampling;
    let evaluations = match sampling.step_range {
        Some(_) => {
            let (smallest, largest) = sampling.allowed_evaluations()?.into_inner();
            json!([smallest, largest])
        }
        None => json!(sampling.evaluations()?),
    };
    let json = |value: serde_json::Result<Value>| value.context("cannot print the card");
    let preconditioning = match &card.answer.preconditioning {
        Preconditioning::Edm(sigma_data) => ("sigma-data", json!(sigma_data)),
        // With what is predicted, where the noise levels do not say it.
        _ => ("preconditioning", json(serde_json::to_value(&card.answer))?),
    };
    let mut facts = vec![
        ("network", json(serde_json::to_value(&card.network))?),
        ("multiply-adds", json!(card.network.multiply_adds())),
        preconditioning,
        (
            "sigma-range",
            json!([sampling.sigma_min, sampling.sigma_max]),
        ),
        ("evaluations", evaluations),
        ("sampling", json(serde_json::to_value(sampling))?),
    ];
    if let Some(taken) = file.taken() {
        facts.push(("weights", json!(taken)));
    }
    let classes = card.network.classes();
    if !card.class_names.is_empty() {
        facts.push((table::CLASSES, json!(card.class_names)));
    } else if classes > 0 {
        let none = format!(
            "none in the file; `sample --class` takes a number, 0 to {}",
            classes - 1
        );
        facts.push((table::CLASSES, json!(none)));
    }
    let from = if file.has_card() {
        facts.push(("trained-on", json!(card.trained_on)));
        facts.push(("recipe", card.recipe.clone()));
        if let Some(parent) = &card.parent {
            facts.push(("parent", json!(parent)));
        }
        facts.push(("version", json!(card.version)));
        facts.push(("format", json!(card.format)));
        "in the file"
    } else {
        "none in the file; `convert` writes one of what is said here"
    };
    facts.push(("card", json(serde_json::to_value(card))?));
    facts.push(("card-from", json!(from)));
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::model::File;

    #[test]
    fn files_are_told_apart() {
        assert_eq!(kind_of(None), "safetensors file without a card");
        assert_eq!(kind_of(Some(&json!({"kind": "student"}))), "student");
        let state = json!({"round": 3, "recipe": {"kind": "x"}});
        assert_eq!(kind_of(Some(&state)), "training state");
        assert_eq!(
            kind_of(Some(&json!([1]))),
            "safetensors file with an unknown card"
        );
    }

    #[test]
    fn a_state_tells_the_range_of_its_model() {
        let teacher =
            json!({"network": {"kind": "x"}, "sampling": {"sigma-min": 1.0, "sigma-max": 2.0}});
        let facts = state_facts(&json!({"recipe": teacher}));
        assert_eq!(facts[0], ("network", json!({"kind": "x"})));
        assert_eq!(facts[1], ("sigma-range", json!([1.0, 2.0])));
        let student = json!({"sigma-min": 3.0, "sigma-max": 4.0});
        assert_eq!(
            state_facts(&json!({"recipe": student})),
            [("sigma-range", json!([3.0, 4.0]))]
        );
        assert!(state_facts(&json!({"recipe": {"size": 3}})).is_empty());
    }

    #[test]
    fn a_foreign_file_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        File::default().write(&path).unwrap();
        let facts: std::collections::HashMap<_, _> = describe(&path).unwrap().into_iter().collect();
        assert_eq!(facts["kind"], "safetensors file without a card");
        assert_eq!(facts["tensors"], 0);
        assert_eq!(facts["sha256"].as_str().unwrap().len(), 64);
    }
}
