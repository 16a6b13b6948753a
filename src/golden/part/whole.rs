//! Autoencoders and text encoders inside larger cases: layouts, checkpoints of whole models, diffusers folders.

use crate::autoencoder::AutoencoderConfig;
use crate::golden::case::Case;
use crate::golden::measure::Report;
use crate::golden::measure::{Measure, Problem};
use crate::golden::part::autoencoder::{self, bytes, compare, same};
use crate::golden::part::text_encoder;
use crate::import::{AutoencoderFile, TextEncoderFile};
use crate::text::{TextEncoderConfig, Tokenizer};
use burn::tensor::{DType, Device};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const FIRST_STAGE: &str = "first_stage_model.";
const TEXT_STAGE: &str = "cond_stage_model.transformer.";
/// The error of decoded pictures that the text of the `pickle` cases allows.
const ANSWERS: f64 = 2e-4;

/// Which kind of names a folder of an autoencoder has, and the table with them.
const VAE_MAPS: [(&str, &str); 2] = [("new_names", "vae_map"), ("old_names", "vae_map_old_names")];

/// The table with the names of a folder's autoencoder.
pub(crate) fn vae_map(config: &Value, folder: &str) -> Option<&'static str> {
    let found = VAE_MAPS
        .iter()
        .find(|(kind, _)| config["vae_folders"][*kind] == folder);
    found.map(|(_, map)| *map)
}

/// Shape by official name.
type Shapes = BTreeMap<String, Vec<usize>>;

fn whole(prefix: &str, keys: Vec<(String, Vec<usize>)>) -> Shapes {
    let keys = keys.into_iter();
    keys.map(|(name, shape)| (format!("{prefix}{name}"), shape))
        .collect()
}

/// Names that only one side has, or whose shapes differ.
fn differences(got: &Shapes, want: &Shapes) -> usize {
    let wrong = want
        .iter()
        .filter(|(name, shape)| got.get(*name) != Some(*shape));
    let more = got.keys().filter(|name| !want.contains_key(*name));
    wrong.count() + more.count()
}

/// The names and shapes of an autoencoder or text encoder of a published size; `None` for other networks.
pub(crate) fn layout(case: &Case, name: &str, model: &Value) -> Option<Result<Measure, Problem>> {
    let got = match name {
        "vq_f4" => AutoencoderConfig::vq_f4()
            .keys()
            .map(|k| whole(FIRST_STAGE, k)),
        "kl_f8" => AutoencoderConfig::kl_f8()
            .keys()
            .map(|k| whole(FIRST_STAGE, k)),
        "clip_vit_l14_text" => TextEncoderConfig::clip_vit_l14()
            .keys()
            .map(|keys| whole(TEXT_STAGE, keys)),
        _ => return None,
    };
    Some(
        got.map_err(Problem::from)
            .and_then(|got| published(case, model, &got)),
    )
}

fn published(case: &Case, model: &Value, got: &Shapes) -> Result<Measure, Problem> {
    let Some(tensors) = model["tensors"].as_object() else {
        return Err(case.malformed("`tensors` is no table"));
    };
    let shape = |value: &Value| -> Option<Vec<usize>> {
        let sizes = value.as_array()?.iter();
        sizes.map(|n| usize::try_from(n.as_u64()?).ok()).collect()
    };
    let want: Option<Shapes> = tensors
        .iter()
        .map(|(name, sizes)| Some((name.clone(), shape(sizes)?)))
        .collect();
    let want = want.ok_or_else(|| case.malformed("`tensors` has a shape that is none"))?;
    let mut wrong = differences(got, &want);
    let numbers: usize = got.values().map(|s| s.iter().product::<usize>()).sum();
    for (key, count) in [("num_tensors", got.len()), ("num_params", numbers)] {
        wrong += usize::from(model[key].as_u64() != Some(count as u64));
    }
    // Both kinds of diffusers' names, where the case has them, must lead back to ours.
    for key in ["diffusers", "diffusers_old"] {
        for (ours, theirs) in model[key].as_object().into_iter().flatten() {
            let levels = AutoencoderConfig::kl_f8().channel_multipliers.len();
            let theirs = theirs.as_str().unwrap_or_default();
            let back = crate::import::part::official(theirs, levels);
            wrong += usize::from(ours.strip_prefix(FIRST_STAGE) != Some(&back));
        }
    }
    Ok(Measure::new(wrong as f64, 0.0))
}

/// The names and shapes of weights that are an autoencoder's or a text encoder's; `None` for those of other networks.
pub(crate) fn weights(case: &Case) -> Option<Result<Measure, Problem>> {
    let net = &case.config()["net"];
    let got = match net["arch"].as_str()? {
        "vq" | "kl" => autoencoder::configuration(case, net)
            .and_then(|config| Ok(whole(FIRST_STAGE, config.keys()?))),
        "clip_text" => text_encoder::configuration(case, net)
            .and_then(|config| Ok(whole(TEXT_STAGE, config.keys()?))),
        _ => return None,
    };
    let compared = |got: Shapes| -> Result<Measure, Problem> {
        let shape = |(name, data): (&str, &burn::tensor::TensorData)| {
            (name.to_string(), data.shape().as_slice().to_vec())
        };
        let want: Shapes = case.tensors("w/").map(shape).collect();
        let listed = case.texts(case.config(), "param_names")?.into_iter();
        let listed: BTreeSet<&str> = listed.collect();
        let unlisted = want.keys().filter(|name| !listed.contains(name.as_str()));
        let mut wrong = differences(&got, &want) + unlisted.count();
        wrong += want.len().abs_diff(listed.len());
        let numbers: usize = got.values().map(|s| s.iter().product::<usize>()).sum();
        let said = case.config()["num_params"].as_u64();
        wrong += usize::from(said != Some(numbers as u64));
        Ok(Measure::new(wrong as f64, 0.0))
    };
    Some(got.and_then(compared))
}

/// Rows for the autoencoder and the text encoder of a checkpoint of a whole model.
pub(crate) fn run_checkpoint(
    case: &Case,
    device: &Device,
    report: Report<'_>,
) -> Result<(), Problem> {
    let config = case.config();
    let path = case.beside(case.text(config, "file")?)?;
    let want = autoencoder::configuration(case, &config["first_stage"])?;
    let file = AutoencoderFile::open(&path)?;
    report("autoencoder", same(Ok(file.config().clone()), &want));
    if case.data("out/decoded").is_ok() {
        let decoded = || {
            let latents = case.tensor::<4>("in/x", device, DType::F32)?;
            let [_, c, h, w] = latents.dims();
            let one = latents.slice([0..1, 0..c, 0..h, 0..w]);
            let image = file.load(device)?.decode(one)?;
            compare(case, "out/decoded", &image, ANSWERS)
        };
        report("decoded", decoded());
    }
    if !config["text_encoder"].is_null() {
        let want = text_encoder::configuration(case, &config["text_encoder"])?;
        let found = TextEncoderFile::open(&path, Some(want.heads));
        report(
            "text encoder",
            same(found.map(|file| *file.config()), &want),
        );
    }
    Ok(())
}

/// Rows for the autoencoder, text encoder and tokenizer of a diffusers folder.
pub(crate) fn run_folder(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let folder = case.beside(case.text(config, "folder")?)?;
    let whole = AutoencoderFile::open(&case.beside(case.text(config, "compvis_file")?)?)?;
    for (kind, map) in VAE_MAPS {
        // A folder may have the old names of attention only, as the published ones do, or the new ones.
        if config["vae_folders"][kind].is_null() {
            continue;
        }
        let inner = case.text(&config["vae_folders"], kind)?;
        if inner.contains(['/', '\\', '.']) {
            return Err(case.malformed(format!("{inner:?} is not the name of a folder")));
        }
        let file = AutoencoderFile::open(&folder.join(inner))?;
        report(map, names(case, map, &file));
        report(inner, vae(case, &file, &whole, device));
    }
    report("tokenizer", tokens(case, &folder));
    report("text encoder", context(case, &folder, device));
    for run in case.list(&config["sampling"], "runs")? {
        let id = case.text(run, "id")?;
        report(&format!("{id} decoded"), sampled(case, run, &whole, device));
    }
    Ok(())
}

/// Tensors whose name in the file is not the one that the case says.
fn names(case: &Case, map: &str, file: &AutoencoderFile) -> Result<Measure, Problem> {
    let Some(map) = case.config()[map].as_object() else {
        return Err(case.malformed(format!("`{map}` is no table")));
    };
    let want: BTreeSet<(String, Option<&str>)> = map
        .iter()
        .map(|(ours, theirs)| (ours.clone(), theirs.as_str()))
        .collect();
    let got = file.names().iter();
    let got: BTreeSet<(String, Option<&str>)> = got
        .map(|(ours, theirs)| (format!("{FIRST_STAGE}{ours}"), Some(theirs.as_str())))
        .collect();
    Ok(Measure::new(
        want.symmetric_difference(&got).count() as f64,
        0.0,
    ))
}

/// Sizes, weights and answers of one of the folder's autoencoders; its weights are those of the whole model's file.
fn vae(
    case: &Case,
    file: &AutoencoderFile,
    whole: &AutoencoderFile,
    device: &Device,
) -> Result<Measure, Problem> {
    let config = case.config();
    let want = autoencoder::configuration(case, &config["first_stage"])?;
    let mut worst = same(Ok(file.config().clone()), &want)?;
    let mut wrong = 0;
    for name in whole.names().keys() {
        wrong += usize::from(file.values(name)? != whole.values(name)?);
    }
    worst = worst.or_worse(Measure::new(wrong as f64, 0.0));
    let autoencoder = file.load(device)?;
    let of = &config["vae"];
    let latents = autoencoder::images(case, of, "z", device)?;
    // Here the latents are the decoder's, not the diffusion model's.
    let image = autoencoder.decode(latents.mul_scalar(want.scale))?;
    let decoded = compare(
        case,
        case.text(of, "decoded")?,
        &image,
        case.tolerance("decoded")?,
    )?;
    let encoding = autoencoder.encode(autoencoder::images(case, of, "image", device)?)?;
    let want = case.text(of, "moments")?;
    let moments = compare(case, want, &encoding.moments, case.tolerance("moments")?)?;
    Ok(worst.or_worse(decoded).or_worse(moments))
}

/// Prompts whose ids are others.
fn tokens(case: &Case, folder: &std::path::Path) -> Result<Measure, Problem> {
    let config = case.config();
    let tokenizer = Tokenizer::read(folder)?;
    let want = text_encoder::rows(case, case.text(config, "input_ids")?)?;
    let prompts = case.texts(config, "prompts")?;
    let wrong = prompts
        .iter()
        .zip(&want)
        .filter(|(prompt, want)| tokenizer.encode(prompt).ids != **want);
    let wrong = wrong.count() + prompts.len().abs_diff(want.len());
    Ok(Measure::new(wrong as f64, 0.0))
}

/// The context of the prompts, from the folder and from the whole model's file.
fn context(case: &Case, folder: &std::path::Path, device: &Device) -> Result<Measure, Problem> {
    let config = case.config();
    let sizes = text_encoder::configuration(case, &config["text_encoder"])?;
    let file = TextEncoderFile::open(folder, None)?;
    let mut worst = same(Ok(*file.config()), &sizes)?;
    let compvis = case.beside(case.text(config, "compvis_file")?)?;
    let whole = TextEncoderFile::open(&compvis, Some(sizes.heads))?;
    let rows = text_encoder::rows(case, case.text(config, "input_ids")?)?;
    for file in [file, whole] {
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let got = file.load(device)?.embed(&rows)?;
        let error = text_encoder::error(case, case.text(config, "context")?, got)?;
        worst = worst.or_worse(Measure::new(error, case.tolerance("context")?));
    }
    Ok(worst)
}

/// The pictures of a run, decoded from the latents that the case says it ends with.
fn sampled(
    case: &Case,
    run: &Value,
    file: &AutoencoderFile,
    device: &Device,
) -> Result<Measure, Problem> {
    let states = case.tensor::<5>(case.text(run, "traj")?, device, DType::F32)?;
    let [steps, b, c, h, w] = states.dims();
    let last = states.slice([steps - 1..steps, 0..b, 0..c, 0..h, 0..w]);
    let image = file.load(device)?.decode(last.reshape([b, c, h, w]))?;
    let tolerance = case.number(run, "image_tol")?;
    let worst = compare(case, case.text(run, "image")?, &image, tolerance)?;
    Ok(worst.or_worse(bytes(case, case.text(run, "u8")?, &image, tolerance)?))
}
