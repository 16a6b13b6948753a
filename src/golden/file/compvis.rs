//! Checkpoints of latent models: U-Net, averaged weights, autoencoder and text encoder in one file.

use super::checkpoint::{equal, name, same, shapes};
use crate::denoiser::{Condition, Guided, Preconditioned, Preconditioning};
use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem, normalised_each, worse};
use crate::golden::model::numbers;
use crate::golden::model::{configuration, guidance, table};
use crate::golden::part::whole;
use crate::golden::sampling::solver;
use crate::import::Checkpoint;
use crate::network::{Inputs, LatentAttention, NetworkConfig};
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde_json::Value;
use std::collections::BTreeSet;

/// The error of answers that the case's text allows.
const ANSWERS: f64 = 2e-4;

/// The relative error of sums that the case's text allows.
const SUMS: f64 = 1e-12;

/// A row for each thing that the case says about its file.
pub(crate) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let path = case.beside(case.text(config, "file")?)?;
    let file = Checkpoint::read(&path)?;
    let differences = |count: usize| Ok(Measure::new(count as f64, 0.0));
    let format = usize::from(case.text(config, "format")? != name(file.format));
    let root = usize::from(config["root_key"] != file.root.as_str());
    report("format", differences(format + root));
    report("names and shapes", differences(shapes(case, &file)?));
    let step = same(file.attributes.get("global_step"), &config["global_step"]);
    report("global_step", differences(usize::from(!step)));
    report("tensors", tensors(case, &file));

    let network = configuration(case, &config["net"])?;
    report(
        "step layers",
        step_layers(case, &network, &file).and_then(differences),
    );
    let plain = network.with_step_branch(false);
    report("network", inferred(&plain, &file).and_then(differences));
    whole::run_checkpoint(case, device, report)?;
    if config["ema_map"].is_null() {
        return Ok(());
    }
    report(
        "averaged names",
        averaged(case, &plain, &file).and_then(differences),
    );
    let raw = Checkpoint::read(&path)?.without_average();
    for (row, wanted, file) in [
        ("raw", "out/eps_raw", raw),
        ("averaged", "out/eps_ema", file),
    ] {
        report(row, answer(case, &plain, &file, wanted, device));
    }
    Ok(())
}

/// Tensors that are not the expected ones: bit for bit, or by their sums where only those are stored.
fn tensors(case: &Case, file: &Checkpoint) -> Result<Measure, Problem> {
    let mut wrong = 0;
    let mut sums = 0.0;
    for name in case.texts(case.config(), "names")? {
        let from = &case.config()["expected_from"][name];
        if let Some(from) = from.as_str() {
            let want = elsewhere(case, name, from)?;
            wrong += usize::from(!equal(file, name, &want, true)?);
            continue;
        }
        let whole = case.data(&format!("out/{name}"));
        if let Ok(want) = whole {
            wrong += usize::from(!equal(file, name, want, true)?);
            continue;
        }
        let want = case.values(&format!("outsum/{name}"))?;
        let head = case.values(&format!("outhead/{name}"))?;
        let values = file.values(name)?;
        let got = values.iter().map(|v| f64::from(*v));
        let first: Vec<f64> = got.clone().take(head.len()).collect();
        wrong += usize::from(first != head);
        let total: f64 = got.clone().sum();
        let size: f64 = got.clone().map(f64::abs).sum();
        let numbered = got
            .enumerate()
            .map(|(i, v)| (i as f64 * v, i as f64 * v.abs()));
        let (moment, reach) = numbered.fold((0.0, 0.0), |(m, r), (a, b)| (m + a, r + b));
        let &[want_total, want_size, want_moment] = want.as_slice() else {
            return Err(case.malformed(format!("outsum/{name} is not three numbers")));
        };
        for (got, want, scale) in [
            (total, want_total, size),
            (size, want_size, size),
            (moment, want_moment, reach),
        ] {
            sums = worse(sums, (got - want).abs() / scale);
        }
    }
    Ok(Measure::new(wrong as f64, 0.0).or_worse(Measure::new(sums, SUMS)))
}

/// An expected tensor in another file: one of the set's weights, or a part of the folder in another layout.
fn elsewhere(case: &Case, name: &str, from: &str) -> Result<TensorData, Problem> {
    let Some(part) = from.strip_prefix("diffusers_sd/") else {
        let other = case.companion(from)?;
        return Ok(other.data(&format!("w/{name}"))?.clone());
    };
    let layout = case.companion("diffusers_sd.safetensors")?;
    let map = match part {
        "unet" => Some("unet_map"),
        _ => whole::vae_map(layout.config(), part),
    };
    let map = map.ok_or_else(|| case.malformed(format!("{from:?} is no part of the folder")))?;
    let theirs = layout.text(&layout.config()[map], name)?;
    let folder = case.beside("diffusers_sd")?.join(part);
    let other = Checkpoint::read(&folder.join("diffusion_pytorch_model.safetensors"))?;
    let values = other.values(theirs)?;
    let count = values.len();
    Ok(TensorData::new(values, [count]))
}

/// Step layers that the file has or the case does not list.
fn step_layers(case: &Case, network: &NetworkConfig, file: &Checkpoint) -> Result<usize, Problem> {
    let listed = case.texts(case.config(), "missing_step_layers")?;
    let listed: BTreeSet<&str> = listed.into_iter().collect();
    let keys = network.keys();
    let missing = keys.iter().map(|key| key.name.as_str());
    let missing = missing.filter(|name| !file.tensors().contains_key(*name));
    let missing: BTreeSet<&str> = missing.collect();
    Ok(listed.symmetric_difference(&missing).count())
}

/// Whether names and shapes tell the network, but for its heads, and fit it.
fn inferred(network: &NetworkConfig, file: &Checkpoint) -> Result<usize, Problem> {
    file.check_keys(network)?;
    let one_head = |network: &NetworkConfig| {
        let mut network = network.clone();
        if let NetworkConfig::LatentUnet(config) = &mut network {
            config.resolution = 64;
            match &mut config.attention {
                LatentAttention::Pixels { head_channels } => *head_channels = 1,
                LatentAttention::Text { heads, .. } => *heads = 1.into(),
            }
        }
        network
    };
    let found = file.network_config()?;
    Ok(usize::from(one_head(&found) != one_head(network)))
}

/// Parameters whose averaged weights are not found under the name that the case says.
fn averaged(case: &Case, network: &NetworkConfig, file: &Checkpoint) -> Result<usize, Problem> {
    let map = &case.config()["ema_map"];
    let Some(table) = map.as_object() else {
        return Err(case.malformed("`ema_map` is no table"));
    };
    let want = table
        .iter()
        .map(|(theirs, ours)| (ours.as_str(), theirs.as_str()));
    let want: BTreeSet<(Option<&str>, &str)> = want.collect();
    let found = file.parameter_names(network)?;
    let got = found
        .iter()
        .map(|(ours, theirs)| (Some(ours.as_str()), theirs.as_str()));
    let got: BTreeSet<(Option<&str>, &str)> = got.collect();
    Ok(want.symmetric_difference(&got).count())
}

/// What the network of the file answers.
fn answer(
    case: &Case,
    config: &NetworkConfig,
    file: &Checkpoint,
    wanted: &str,
    device: &Device,
) -> Result<Measure, Problem> {
    let network = file.load_network(config, device)?;
    let images = case.images("in/x", config, device)?;
    let batch = images.dims()[0];
    let times = case.values("in/t")?;
    if times.len() != batch {
        return Err(case.malformed("in/t is not one time for each image"));
    }
    let inputs = Inputs {
        noise: &times,
        ..Inputs::default()
    };
    let got = network.forward(images, inputs);
    let error = normalised_each(&numbers(&got), &case.values(wanted)?, batch);
    Ok(Measure::new(error, ANSWERS))
}

/// A row for each part of a folder of another layout: the U-Net's names, settings and answers; other parts are not here.
pub(crate) fn run_folder(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let folder = case.beside(case.text(config, "folder")?)?;
    let file = Checkpoint::read(&folder)?;
    let network = configuration(case, &config["net"])?.with_step_branch(false);
    let names = || -> Result<Measure, Problem> {
        let Value::Object(map) = &config["unet_map"] else {
            return Err(case.malformed("`unet_map` is no table"));
        };
        let found = file.parameter_names(&network)?;
        let want = map
            .iter()
            .map(|(ours, theirs)| (ours.as_str(), theirs.as_str()));
        let want: BTreeSet<(&str, Option<&str>)> = want.collect();
        let got = found
            .iter()
            .map(|(ours, theirs)| (ours.as_str(), Some(theirs.as_str())));
        let got: BTreeSet<(&str, Option<&str>)> = got.collect();
        Ok(Measure::new(
            want.symmetric_difference(&got).count() as f64,
            0.0,
        ))
    };
    report("unet names", names());
    let said = file.network_config().map_err(Problem::from);
    let wrong = said.map(|said| Measure::new(f64::from(u8::from(said != network)), 0.0));
    report("unet settings", wrong);
    let same = || -> Result<Measure, Problem> {
        let other = Checkpoint::read(&case.beside(case.text(config, "compvis_file")?)?)?;
        let (ours, theirs) = (
            file.parameter_names(&network)?,
            other.parameter_names(&network)?,
        );
        let mut wrong = 0;
        for ((key, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            let equal = file.values(ours)? == other.values(theirs)?;
            wrong += usize::from(!equal || !theirs.ends_with(key.as_str()));
        }
        Ok(Measure::new(wrong as f64, 0.0))
    };
    report("unet tensors", same());
    report("unet", folder_answer(case, &network, &file, device));
    for run in case.list(&config["sampling"], "runs")? {
        let id = case.text(run, "id")?;
        report(
            &format!("{id} sampled"),
            sampled(case, run, &network, &file, device),
        );
    }
    whole::run_folder(case, device, report)
}

fn folder_answer(
    case: &Case,
    network: &NetworkConfig,
    file: &Checkpoint,
    device: &Device,
) -> Result<Measure, Problem> {
    let of = &case.config()["unet"];
    let images = case.images(case.text(of, "x")?, network, device)?;
    let batch = images.dims()[0];
    let times = case.values(case.text(of, "timesteps")?)?;
    let width = network.context_width().unwrap_or(0);
    let context = case.text_tokens(of, "context", [batch, width], device)?;
    if times.len() != batch {
        return Err(case.malformed("`timesteps` is not one time for each image"));
    }
    let inputs = Inputs {
        noise: &times,
        context: context.as_ref(),
        ..Inputs::default()
    };
    let got = file.load_network(network, device)?.forward(images, inputs);
    let want = case.values(case.text(of, "eps")?)?;
    let error = normalised_each(&numbers(&got), &want, batch);
    Ok(Measure::new(error, case.tolerance("eps")?))
}

/// A run of the U-Net from the folder, guided by the texts that the case says the text encoder gives.
fn sampled(
    case: &Case,
    run: &Value,
    network: &NetworkConfig,
    file: &Checkpoint,
    device: &Device,
) -> Result<Measure, Problem> {
    let config = case.config();
    let sampling = &config["sampling"];
    let latents = case.images(case.text(sampling, "latents")?, network, device)?;
    let texts = case.tensor::<3>(case.text(config, "context")?, device, DType::F32)?;
    let [count, ..] = texts.dims();
    let rows = case.counts(sampling, "context_rows")?;
    let empty = case.count(sampling, "uncond_row")?;
    let batch = latents.dims()[0];
    let width = network.context_width().unwrap_or(0);
    let fits = rows.len() == batch && rows.iter().chain([&empty]).all(|row| *row < count);
    if !fits || texts.dims()[2] != width {
        return Err(case.malformed("`sampling` has not one text for each of its latents"));
    }
    let row = |row: usize| texts.clone().narrow(0, row, 1);
    let told = Condition {
        context: Some(Tensor::cat(rows.into_iter().map(row).collect(), 0)),
        negative: Some(Tensor::cat(vec![row(empty); batch], 0)),
        ..Condition::default()
    };
    let denoiser = Guided {
        denoiser: Preconditioned::new(
            file.load_network(network, device)?,
            Preconditioning::Discrete(table(case, &config["net"])?),
        ),
        weight: guidance(case, run)?,
    };
    let mut run = run.clone();
    run["tol"] = run["traj_tol"].clone();
    let solver = solver::configuration(case, &run, "solver")?;
    solver::compare(case, &run, solver, &denoiser, latents, &told)
}
