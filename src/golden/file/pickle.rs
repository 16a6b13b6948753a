//! Foreign checkpoints: names, shapes, settings and exact tensors.

use super::checkpoint::{equal, name, same, shapes};
use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem};
use crate::import::Checkpoint;
use crate::network::{Family, NetworkConfig};
use burn::tensor::TensorData;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A row for each thing that the case says about its file. An error is a number of differences; none is allowed.
pub(crate) fn run(case: &Case, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let checkpoint = Checkpoint::read(&case.beside(case.text(config, "file")?)?)?;
    let differences = |count: usize| Ok(Measure::new(count as f64, 0.0));
    let format = usize::from(case.text(config, "format")? != name(checkpoint.format));
    let root = usize::from(config["root_key"] != checkpoint.root.as_str());
    report("format", differences(format + root));
    report("names and shapes", differences(shapes(case, &checkpoint)?));
    for (key, got) in [
        ("attributes", &checkpoint.attributes),
        ("training_kwargs", &checkpoint.training),
    ] {
        if let Value::Object(want) = &config[key] {
            report(key, differences(settings(got, want)));
        }
    }
    if !config["global_step"].is_null() {
        let same = same(
            checkpoint.attributes.get("global_step"),
            &config["global_step"],
        );
        report("global_step", differences(usize::from(!same)));
    }
    let whole = checkpoint.tensors().contains_key("model.map_layer0.weight");
    if whole && config["net"].is_object() {
        let found = checkpoint
            .network_config()
            .and_then(|n| checkpoint.check_keys(&n).map(|()| n));
        let result = found.map_err(Problem::from);
        let result = result.and_then(|n| differences(network(case, &config["net"], &n)?));
        report("network", result);
    }
    report("tensors", tensors(case, &checkpoint).and_then(differences));
    Ok(())
}

/// Settings that are missing or have another value.
fn settings(got: &Map<String, Value>, want: &Map<String, Value>) -> usize {
    let wrong = want
        .iter()
        .filter(|(key, value)| !same(got.get(*key), value));
    wrong.count()
}

/// Sizes of the network that were told or inferred wrong.
fn network(case: &Case, want: &Value, got: &NetworkConfig) -> Result<usize, Problem> {
    let Some(got) = got.plan() else {
        // Not one of EDM's, which the case describes.
        return Ok(1);
    };
    let family = match got.family {
        Family::Song(_) => "song",
        Family::Dhariwal => "adm",
    };
    let counts = [
        ("img_resolution", got.resolution),
        ("img_channels", got.channels),
        ("label_dim", got.classes),
        ("model_channels", got.model_channels),
        ("num_blocks", got.blocks),
        ("augment_dim", got.augment_labels),
    ];
    let mut wrong = usize::from(case.text(want, "arch")? != family);
    for (key, count) in counts {
        wrong += usize::from(case.count(want, key)? != count);
    }
    for (key, list) in [
        ("channel_mult", got.multipliers),
        ("attn_resolutions", got.attention),
    ] {
        let want = case.list(want, key)?.iter().map(Value::as_u64);
        wrong += usize::from(!want.eq(list.iter().map(|n| Some(*n as u64))));
    }
    wrong += usize::from(case.number(want, "dropout")? != got.dropout);
    Ok(wrong + usize::from(case.flag(want, "has_step_layers")? != got.step_branch))
}

/// Tensors that are not the expected ones, bit for bit.
fn tensors(case: &Case, checkpoint: &Checkpoint) -> Result<usize, Problem> {
    let config = case.config();
    let repeated: BTreeMap<&str, &TensorData> = case.tensors("out/").collect();
    let other = match config["expected_from"].is_null() {
        true => None,
        false => Some(case.companion(case.text(config, "expected_from")?)?),
    };
    let weights: BTreeMap<&str, &TensorData> =
        other.iter().flat_map(|case| case.tensors("w/")).collect();
    let mut wrong = 0;
    for name in case.texts(config, "names")? {
        let expected: Vec<_> = [weights.get(name), repeated.get(name)]
            .into_iter()
            .flatten()
            .collect();
        if expected.is_empty() {
            return Err(case.malformed(format!("there is no expected tensor for {name}")));
        }
        for want in expected {
            wrong += usize::from(!equal(checkpoint, name, want, other.is_some())?);
        }
    }
    Ok(wrong)
}
