//! `fewstep inspect`: what a file is.

use anyhow::Context as _;
use clap::Args;
use fewstep::checkpoint::{Card, File, Model, hash_file};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep inspect runs/nfe2/student.safetensors
  fewstep inspect runs/nfe2/state.safetensors --json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A safetensors file: a model, a training state, a feature network, statistics, or anything else
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(verb: &Verb) -> anyhow::Result<ExitCode> {
    let facts = describe(&verb.file)?;
    if verb.json {
        let facts: serde_json::Map<_, _> = facts.into_iter().collect();
        let text = serde_json::to_string_pretty(&facts).context("cannot print")?;
        println!("{text}");
    } else {
        for (name, value) in &facts {
            match value {
                Value::String(text) => println!("{name:<16}{text}"),
                other => println!("{name:<16}{other}"),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All that is known about a file, in the order to show it.
fn describe(path: &Path) -> anyhow::Result<Vec<(String, Value)>> {
    let file = File::read(path)?;
    let mut facts = Vec::new();
    let mut put = |name: &str, value: Value| facts.push((name.to_string(), value));
    let card: Option<Value> = file
        .json
        .as_ref()
        .and_then(|text| serde_json::from_str(text).ok());
    let kind = kind_of(card.as_ref());
    put("kind", json!(kind));
    if matches!(kind, "teacher" | "student") {
        let card = Model::card(&file, path)?;
        for (name, value) in model_facts(&card)? {
            put(name, value);
        }
    } else if let Some(Value::Object(card)) = card {
        for (name, value) in card.into_iter().filter(|(name, _)| name != "kind") {
            put(&name, value);
        }
    }
    let mut types: BTreeMap<String, usize> = BTreeMap::new();
    let mut parameters = 0;
    for data in file.tensors.values() {
        *types
            .entry(format!("{:?}", data.dtype()).to_lowercase())
            .or_default() += 1;
        parameters += data.num_elements();
    }
    put("tensors", json!(file.tensors.len()));
    put("parameters", json!(parameters));
    let types: Vec<_> = types
        .iter()
        .map(|(name, count)| format!("{name} ({count})"))
        .collect();
    put("dtype", json!(types.join(", ")));
    if !file.metadata.is_empty() {
        put("metadata", json!(file.metadata));
    }
    put("sha256", json!(hash_file(path)?));
    Ok(facts)
}

fn kind_of(card: Option<&Value>) -> &'static str {
    let Some(card) = card else {
        return "safetensors file without a card";
    };
    match card["kind"].as_str() {
        Some("teacher") => "teacher",
        Some("student") => "student",
        Some("features") => "features",
        Some("moments") => "statistics",
        _ if card.get("round").is_some() && card.get("recipe").is_some() => "training state",
        _ => "safetensors file with an unknown card",
    }
}

fn model_facts(card: &Card) -> anyhow::Result<Vec<(&'static str, Value)>> {
    let sampling = &card.sampling;
    let per_step = sampling.solver.build()?.evaluations_per_step();
    let calls = |steps: usize| steps * per_step - usize::from(sampling.analytic_first_step);
    let evaluations = match sampling.step_range {
        Some([smallest, largest]) => json!([calls(smallest), calls(largest)]),
        None => json!(calls(sampling.steps)),
    };
    let json = |value: serde_json::Result<Value>| value.context("cannot print the card");
    let mut facts = vec![
        ("network", json(serde_json::to_value(&card.network))?),
        ("multiply-adds", json!(card.network.multiply_adds())),
        ("sigma-data", json!(card.sigma_data)),
        (
            "sigma-range",
            json!([sampling.sigma_min, sampling.sigma_max]),
        ),
        ("evaluations", evaluations),
        ("sampling", json(serde_json::to_value(sampling))?),
        ("trained-on", json!(card.trained_on)),
        ("recipe", card.recipe.clone()),
    ];
    if let Some(parent) = &card.parent {
        facts.push(("parent", json!(parent)));
    }
    facts.push(("version", json!(card.version)));
    facts.push(("format", json!(card.format)));
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

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
