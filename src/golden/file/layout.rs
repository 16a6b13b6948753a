//! Names and shapes of official models.

use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem};
use crate::golden::model::{configuration, is_latent_unet};
use crate::golden::part::whole;
use crate::network::{LatentUNetConfig, NetworkConfig};
use burn::tensor::Device;
use serde_json::Value;
use std::collections::BTreeMap;

/// A row for each model of a published size: tensors that only one side has, or of another shape, and wrong counts.
pub(crate) fn run(case: &Case, _: &Device, report: Report<'_>) -> Result<(), Problem> {
    let Some(models) = case.config()["models"].as_object() else {
        return Err(case.malformed("`models` is no table"));
    };
    for (name, model) in models {
        let config = match name.as_str() {
            "ldm_lsun_bedroom_ffhq_unet" => LatentUNetConfig::default(),
            "sd_v1_unet" => LatentUNetConfig::stable_diffusion(),
            other => {
                let missing = || Err(Problem::unsupported(format!("network {other:?}")));
                let row = whole::layout(case, name, model);
                report(name, row.unwrap_or_else(missing));
                continue;
            }
        };
        let network = NetworkConfig::LatentUnet(config).with_step_branch(true);
        report(name, differences(case, model, &network));
    }
    Ok(())
}

fn differences(case: &Case, model: &Value, network: &NetworkConfig) -> Result<Measure, Problem> {
    let Some(tensors) = model["tensors"].as_object() else {
        return Err(case.malformed("`tensors` is no table"));
    };
    let shape = |value: &Value| -> Option<Vec<usize>> {
        let sizes = value.as_array()?.iter();
        sizes.map(|n| usize::try_from(n.as_u64()?).ok()).collect()
    };
    let want = tensors.iter().map(|(name, s)| (name.clone(), shape(s)));
    let want: BTreeMap<String, Option<Vec<usize>>> = want.collect();
    let mut wrong = names(network, &want);
    let keys = network.keys();
    let count = |step: bool| {
        let some = keys.iter().filter(|key| !step || key.step);
        let sizes = some.map(|key| key.shape.iter().product::<usize>());
        let sizes: Vec<usize> = sizes.collect();
        (sizes.len(), sizes.iter().sum::<usize>())
    };
    let ((tensors, numbers), (step_tensors, step_numbers)) = (count(false), count(true));
    for (key, got) in [
        ("num_tensors", tensors),
        ("num_params", numbers),
        ("step_layer_tensors", step_tensors),
        ("step_layer_params", step_numbers),
    ] {
        wrong += usize::from(model[key].as_u64() != Some(got as u64));
    }
    Ok(Measure::new(wrong as f64, 0.0))
}

/// Names that only one side has, or whose shapes differ.
fn names(network: &NetworkConfig, want: &BTreeMap<String, Option<Vec<usize>>>) -> usize {
    let keys = network.keys().into_iter();
    let got: BTreeMap<String, Option<Vec<usize>>> =
        keys.map(|key| (key.name, Some(key.shape))).collect();
    let wrong = want
        .iter()
        .filter(|(name, shape)| got.get(*name) != Some(*shape));
    let more = got.keys().filter(|name| !want.contains_key(*name));
    wrong.count() + more.count()
}

/// A row for weights that belong to a latent model: their names and shapes. Weights of other networks are no case.
pub(crate) fn run_weights(case: &Case, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let net = &config["net"];
    if !is_latent_unet(net) {
        return Ok(());
    }
    let network = configuration(case, net)?;
    let listed = case.texts(config, "param_names")?;
    let want = case
        .tensors("w/")
        .map(|(name, data)| (name.to_string(), Some(data.shape().to_vec())));
    let want: BTreeMap<_, _> = want.collect();
    let mut wrong = names(&network, &want);
    wrong += listed
        .iter()
        .filter(|name| !want.contains_key(**name))
        .count();
    wrong += want.len().abs_diff(listed.len());
    let numbers = network.parameter_count();
    wrong += usize::from(config["num_params"].as_u64() != Some(numbers));
    report("names and shapes", Ok(Measure::new(wrong as f64, 0.0)));
    Ok(())
}
