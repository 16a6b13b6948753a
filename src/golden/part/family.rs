//! Whole families of latent models: the same model as a folder of diffusers and as a single file.

use crate::denoiser::{Condition, Denoiser, Preconditioned, Preconditioning};
use crate::golden::case::Case;
use crate::golden::gradient::Gradients;
use crate::golden::measure::{
    EXACT, Measure, Named, Problem, Report, normalised_each, times_error, worse,
};
use crate::golden::model::{numbers, trainable, with_whole};
use crate::golden::part::text_encoder::rows;
use crate::import::{Checkpoint, Predicts, TextEncoderFile, diffusers};
use crate::network::{Added, Inputs, LatentAttention, NetworkConfig};
use crate::text::{TextReader, Tokenizer};
use burn::tensor::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// A model in one of its two forms.
struct Form {
    network: NetworkConfig,
    model: Preconditioned,
    reader: TextReader,
    /// Rows of the texts, and widths of tokens and of a text as a whole.
    shape: [usize; 2],
    whole: Option<usize>,
}

/// Rows for the folder and for the single file.
pub(crate) fn run(case: &Case, device: &Device, report: Report<'_>) -> Result<(), Problem> {
    let config = case.config();
    let folder = case.below(case.text(config, "folder")?)?;
    let single = case.below(case.text(config, "single_file")?)?;
    report("prompts", prompts(case, &folder));
    let of_folder = form(case, &folder, None, device)?;
    // Neither heads nor, in all of them, what is predicted stands in a single file.
    let of_single = form(case, &single, Some((&folder, &of_folder.network)), device)?;
    let same = of_single.network == of_folder.network;
    report(
        "single network",
        Ok(Measure::new(f64::from(u8::from(!same)), 0.0)),
    );
    for (name, form) in [("folder", &of_folder), ("single", &of_single)] {
        rows_of(case, name, form, device, report)?;
    }
    Ok(())
}

/// The model of a path; of a single file with the heads of the network, and of the text encoders, of a folder.
fn form(
    case: &Case,
    path: &Path,
    told: Option<(&Path, &NetworkConfig)>,
    device: &Device,
) -> Result<Form, Problem> {
    let config = case.config();
    let predicts = match case.text(config, "prediction")? {
        "epsilon" => Predicts::Noise,
        "v" => Predicts::Velocity,
        other => return Err(Problem::unsupported(format!("prediction {other:?}"))),
    };
    let file = Checkpoint::read(path)?;
    // Of a folder, what it says is compared.
    let file = match told {
        Some(_) => file.predicting(predicts),
        None => file,
    };
    let mut card = file.card()?;
    let rescaled = rescaled(case)?;
    if let Some((_, folder)) = told {
        card.network = with_what_is_not_told(card.network, folder);
        if rescaled {
            card.answer.preconditioning = rescale(card.answer.preconditioning);
        }
    }
    let heads = match told {
        Some((folder, _)) => Some(TextEncoderFile::open(folder, None)?.config().heads),
        None => None,
    };
    let text = TextEncoderFile::open(path, heads)?;
    let network = file.load_network(&card.network, device)?;
    let right = matches!(
        (&card.answer.preconditioning, predicts),
        (Preconditioning::Discrete(_), Predicts::Noise)
            | (Preconditioning::Velocity(_), Predicts::Velocity)
    );
    let table = card.answer.preconditioning.table();
    if !right || table.is_some_and(|table| rescaled != table.has_zero_terminal_snr()) {
        return Err(case.malformed("its files say of what is predicted another than it does"));
    }
    Ok(Form {
        network: card.network,
        model: Preconditioned::new(network, card.answer.preconditioning),
        reader: text.load(device)?,
        shape: text.shape(rows(case, "in/input_ids")?[0].len()),
        whole: text.whole_width(),
    })
}

fn rescaled(case: &Case) -> Result<bool, Problem> {
    case.flag(case.config(), "rescale_betas_zero_snr")
}

fn rescale(form: Preconditioning) -> Preconditioning {
    match form {
        Preconditioning::Discrete(table) => {
            Preconditioning::Discrete(table.with_zero_terminal_snr())
        }
        Preconditioning::Velocity(table) => {
            Preconditioning::Velocity(table.with_zero_terminal_snr())
        }
        other => other,
    }
}

/// The network of a single file with what only settings say: heads, and the size of the latents.
fn with_what_is_not_told(single: NetworkConfig, folder: &NetworkConfig) -> NetworkConfig {
    let (mut single, folder) = match (single, folder) {
        (NetworkConfig::LatentUnet(single), NetworkConfig::LatentUnet(folder)) => (single, folder),
        (other, _) => return other,
    };
    single.resolution = folder.resolution;
    if let (LatentAttention::Text { heads, .. }, LatentAttention::Text { heads: said, .. }) =
        (&mut single.attention, &folder.attention)
    {
        heads.clone_from(said);
    }
    NetworkConfig::LatentUnet(single)
}

/// Prompts whose ids are others.
fn prompts(case: &Case, folder: &Path) -> Result<Measure, Problem> {
    let tokenizer = Tokenizer::read(folder)?;
    let want = rows(case, "in/input_ids")?;
    let prompts = case.texts(case.config(), "prompts")?;
    let pairs = prompts.iter().zip(&want);
    let wrong = pairs.filter(|(prompt, want)| tokenizer.encode(prompt).ids != **want);
    let wrong = wrong.count() + prompts.len().abs_diff(want.len());
    Ok(Measure::new(wrong as f64, 0.0))
}

fn rows_of(
    case: &Case,
    name: &str,
    form: &Form,
    device: &Device,
    report: Report<'_>,
) -> Result<(), Problem> {
    let config = case.config();
    let added = form.network.added();
    if (case.text(config, "added").ok() == Some("text_time")) != added.is_some() {
        return Err(case.malformed(format!("the {name} is not one of {}", config["added"])));
    }
    let ids = rows(case, "in/input_ids")?;
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let made = form.reader.embed(&ids)?;
    if made.dims()[1..] != form.shape {
        return Err(case.malformed("its texts are of another shape than its file says"));
    }
    report(&format!("{name} context"), context(case, form, &made));
    // What networks are told is compared apart from what the text encoders make.
    let told = told(case, form, added, device)?;
    for eval in case.list(config, "evals")? {
        let own = || {
            let images = case.images(case.text(eval, "x")?, &form.network, device)?;
            let got = raw(&form.model, images, case.number(eval, "t")?, &told);
            compare(case, case.text(eval, "raw")?, &got, "raw")
        };
        report(&format!("{name} at {}", eval["t"]), own());
    }
    for eval in case.list(config, "denoise")? {
        let own = || {
            let noisy = case.images(case.text(eval, "x")?, &form.network, device)?;
            let sigma = case.number(eval, "sigma")?;
            let condition = Condition {
                context: Some(told.clone()),
                ..Condition::default()
            };
            let got = form.model.denoise(noisy, sigma, &condition);
            let answer = compare(case, case.text(eval, "out")?, &got, "denoised")?;
            let Some(table) = form.model.preconditioning.table() else {
                return Err(case.malformed("its network has no table of noise levels"));
            };
            let told = [table.position_of_sigma(sigma)];
            let off = times_error(&told, &[case.number(eval, "t")?]);
            Ok(answer.or_worse(Measure::new(off, EXACT)))
        };
        report(&format!("{name} from {}", eval["sigma"]), own());
    }
    if !config["grad"].is_null() {
        report(
            &format!("{name} gradients"),
            gradients(case, form, added, device),
        );
    }
    Ok(())
}

fn compare(case: &Case, want: &str, got: &Tensor<4>, tolerance: &str) -> Result<Measure, Problem> {
    let batch = got.dims()[0];
    let error = normalised_each(&numbers(got), &case.values(want)?, batch);
    Ok(Measure::new(error, case.tolerance(tolerance)?))
}

/// What the text encoders make: tokens, and the text as a whole.
fn context(case: &Case, form: &Form, made: &Tensor<3>) -> Result<Measure, Problem> {
    let tolerance = case.tolerance("context")?;
    let want = case.data("out/context")?.shape();
    let &[texts, tokens, width] = want.as_slice() else {
        return Err(case.malformed("out/context has not 3 dimensions"));
    };
    if [texts, width] != [made.dims()[0], form.shape[1]] || tokens > form.shape[0] {
        return Err(case.malformed("out/context has another shape than what the encoders make"));
    }
    let values = |t: Tensor<3>| -> Vec<f64> { t.into_data().iter::<f64>().collect() };
    let got = values(made.clone().narrow(1, 0, tokens));
    let mut error = normalised_each(&got, &case.values("out/context")?, texts);
    if let Some(whole) = form.whole {
        let behind = made.clone().narrow(1, tokens, form.shape[0] - tokens);
        let flat = behind.reshape([texts, (form.shape[0] - tokens) * width]);
        let got = flat.narrow(1, 0, whole).into_data();
        let got: Vec<f64> = got.iter::<f64>().collect();
        error = worse(
            error,
            normalised_each(&got, &case.values("out/pooled")?, texts),
        );
    }
    Ok(Measure::new(error, tolerance))
}

/// What the network is told, of the case's own numbers.
fn told(
    case: &Case,
    form: &Form,
    added: Option<Added>,
    device: &Device,
) -> Result<Tensor<3>, Problem> {
    let tokens = case.tensor::<3>("out/context", device, DType::F32)?;
    let (Some(added), true) = (added, form.whole.is_some()) else {
        return Ok(tokens);
    };
    with_whole(case, tokens, "out/pooled", added, device)
}

fn raw(model: &Preconditioned, images: Tensor<4>, time: f64, told: &Tensor<3>) -> Tensor<4> {
    let inputs = Inputs {
        noise: &[time],
        context: Some(told),
        ..Inputs::default()
    };
    model.network.forward(images, inputs)
}

/// Norms of the gradients of sum |raw - target| / B, under the names of diffusers.
fn gradients(
    case: &Case,
    form: &Form,
    added: Option<Added>,
    device: &Device,
) -> Result<Measure, Problem> {
    let of = &case.config()["grad"];
    let device = device.clone().autodiff();
    let images = case.images(case.text(of, "x")?, &form.network, &device)?;
    let target = case.images(case.text(of, "target")?, &form.network, &device)?;
    let batch = images.dims()[0];
    if target.dims() != images.dims() {
        return Err(case.malformed("`grad` has latents and target of different shapes"));
    }
    let told = told(case, form, added, &device)?;
    let model = trainable(&form.model, &device);
    let answer = raw(&model, images, case.number(of, "t")?, &told);
    let loss = (answer - target).abs().sum().div_scalar(batch as f64);
    let tape = loss.backward();
    let found = Gradients::read(&model.network, &tape);
    let NetworkConfig::LatentUnet(config) = &form.network else {
        return Err(case.malformed("its network is none of latents"));
    };
    let ours: BTreeMap<String, String> = diffusers::names(config)
        .into_iter()
        .map(|(ours, theirs)| (theirs, ours))
        .collect();
    let names = case.texts(of, "names")?;
    let got: Vec<f64> = names
        .iter()
        .map(|theirs| ours.get(*theirs).and_then(|ours| found.norm(ours)))
        .map(|norm| norm.unwrap_or(f64::NAN))
        .collect();
    let want = case.values(case.text(of, "norms")?)?;
    let mut worst = Named::default();
    worst.relative(names.into_iter(), &got, &want);
    let measure = Measure::new(worst.error, case.tolerance("gradnorm")?);
    Ok(measure.of_tensor(worst.tensor))
}
