//! `fewstep convert`: foreign models to our file, ours to what PyTorch loads, and a student of several step counts to a
//! plain network of one.

mod adapter;
mod onnx;

use crate::context::Context;
use crate::model::source::AdapterArgs;
use crate::output::Outputs;
use crate::screen::failure::wrong;
use crate::screen::say::say;
use crate::typed::{real, whole};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use fewstep::adapter::{AdapterFile, AdapterLayout};
use fewstep::export::{Onnx, OnnxGraph};
use fewstep::import::{
    self, Checkpoint, DIFFUSERS_FILE, DIFFUSERS_SETTINGS, Export, Layout, Predicts, Scalar,
    diffusers_settings,
};
use fewstep::model::{Card, write_atomically};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tempfile::NamedTempFile;

const EXAMPLES: &str = "\
Examples:
  fewstep convert edm-cifar10-32x32-uncond-vp.pkl teacher.safetensors
  fewstep convert network-snapshot-000200.pkl student.safetensors --dtype f16
  fewstep convert student.safetensors official.safetensors --to pytorch
  fewstep convert student.safetensors nfe3.safetensors --nfe 3
  fewstep convert student.safetensors sd-student --to diffusers
  fewstep convert student.safetensors student.onnx --to onnx --whole
  fewstep convert model.ckpt tensors.safetensors --to tensors
  fewstep convert runs/lora/student.safetensors lora.safetensors --to kohya --dtype f16
  fewstep convert runs/lora/student.safetensors pytorch_lora_weights.safetensors --to diffusers-lora
  fewstep convert runs/lora/student.safetensors whole.safetensors --merge --base teacher.safetensors

Nothing in a foreign file is executed, and every number stays what it was unless --dtype says otherwise.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A model file: ours, an EDM, SFD, CompVis or PyTorch one, or a folder of the diffusers library
    input: PathBuf,
    /// The safetensors file to write; with --to onnx the .onnx file; with --to diffusers the folder, which gets a sub-folder `unet`
    output: PathBuf,
    /// What to write
    #[arg(long, value_name = "WHAT", default_value = "fewstep")]
    to: Target,
    /// Type of the numbers: f32, f16 or bf16 [default: as in the file; with --to onnx f32]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<Type>,
    /// With --to pytorch: add a step branch of zeros, for the official SFD network, which always has one
    #[arg(long)]
    step_branch: bool,
    /// Dropout rate of the network in training, for files that do not say it (PyTorch files and safetensors)
    #[arg(long, value_name = "RATE", value_parser = real(0.0, 0.999))]
    dropout: Option<f64>,
    /// What the network of a single file of Stable Diffusion was trained to predict, if the file does not say it: noise or v
    #[arg(long, value_name = "WHAT")]
    prediction: Option<Prediction>,
    /// Fold the step condition of a student of several step counts into its weights, for so many network calls an image; with
    /// --to onnx for any model
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=100_000))]
    nfe: Option<usize>,
    /// With --to onnx: all of sampling in one graph, from noise to images (of latent models to latents), instead of the denoiser
    #[arg(long)]
    whole: bool,
    /// Multiply the adapters of a student, or of --lora, into their base: a whole model
    #[arg(long)]
    merge: bool,
    #[command(flatten)]
    adapters: AdapterArgs,
    /// Replace the output if it exists
    #[arg(long)]
    overwrite: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// A model file for this program
    Fewstep,
    /// A state dict that the official network loads with strict=True; this program reads it, too
    Pytorch,
    /// The U-Net of a Stable Diffusion folder of the diffusers library
    Diffusers,
    /// The adapters of a student (a recipe with `lora`), for load_lora_weights of the diffusers library
    DiffusersLora,
    /// The same for ComfyUI, AUTOMATIC1111 and all that read the LoRA files of kohya's scripts
    Kohya,
    /// A graph for onnxruntime and others: the denoiser, or with --whole all of sampling
    Onnx,
    /// All tensors as they are, for files of anything else
    Tensors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Prediction {
    Noise,
    V,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    F32,
    F16,
    Bf16,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    if verb.step_branch && verb.to != Target::Pytorch {
        return Err(wrong("--step-branch is for --to pytorch only"));
    }
    check_onnx(verb)?;
    let output = match verb.to {
        Target::Diffusers => verb.output.join("unet").join(DIFFUSERS_FILE),
        _ => verb.output.clone(),
    };
    if verb.to == Target::Onnx {
        onnx::check(&output)?;
    } else if let Some(ending) = foreign_ending(&output) {
        let path = verb.output.display();
        return Err(wrong(format!(
            "{path}: what is written is safetensors, which nothing would look for in a .{ending} file; name it .safetensors"
        )));
    }
    if output.exists() && !verb.overwrite {
        let path = output.display();
        return Err(wrong(format!(
            "{path} exists already; name another file, or add --overwrite"
        )));
    }
    let mut outputs = Outputs::default();
    outputs.file(&output)?;
    let scalar = verb.dtype.map(|t| match t {
        Type::F32 => Scalar::F32,
        Type::F16 => Scalar::F16,
        Type::Bf16 => Scalar::BF16,
    });
    if let Some(layout) = adapter_layout(verb)? {
        adapter::write(
            [&verb.input, &output],
            &verb.adapters,
            layout,
            scalar,
            context,
        )?;
        say!("{}", output.display());
        return Ok(ExitCode::SUCCESS);
    }
    let merged = adapter::merged((&verb.input, verb.merge), &verb.adapters, context)?;
    let input = merged.as_ref().map_or(&*verb.input, |file| file.path());
    let folded = match verb.to {
        Target::Onnx => None,
        _ => folded(verb, input, context)?,
    };
    let input = folded.as_ref().map_or(input, |file| file.path());
    let checkpoint = Checkpoint::read(input)?;
    if AdapterFile::is_one(&checkpoint) && verb.to != Target::Tensors {
        let shown = verb.input.display();
        return Err(wrong(format!(
            "{shown} holds adapters (LoRA) of a model: --merge makes a whole model of both, --to diffusers-lora or kohya \
             writes them for others"
        )));
    }
    let checkpoint = match verb.prediction {
        None => checkpoint,
        Some(_) if checkpoint.has_card() => {
            let path = verb.input.display();
            return Err(wrong(format!(
                "--prediction: the card of {path} says itself what it predicts; leave it out"
            )));
        }
        Some(Prediction::Noise) => checkpoint.predicting(Predicts::Noise),
        Some(Prediction::V) => checkpoint.predicting(Predicts::Velocity),
    };
    if verb.to == Target::Onnx {
        let graph = match verb.whole {
            true => OnnxGraph::Whole,
            false => OnnxGraph::Denoiser,
        };
        let how = Onnx {
            weights: scalar.unwrap_or(Scalar::F32),
            ..Onnx::new(graph)
        };
        onnx::write(&checkpoint, verb.nfe, how, (&output, &context.device))?;
        return Ok(ExitCode::SUCCESS);
    }
    let card = match verb.to {
        Target::Tensors => None,
        _ => Some(card(verb, &checkpoint)?),
    };
    let export = Export {
        layout: match verb.to {
            Target::Fewstep => Layout::Model,
            Target::Pytorch => Layout::StateDict {
                step_branch: verb.step_branch,
            },
            Target::Diffusers => Layout::Diffusers,
            _ => Layout::Tensors,
        },
        scalar,
    };
    let count = checkpoint.tensors().len();
    let (path, format) = (verb.input.display(), checkpoint.format);
    context
        .reporter
        .say(format!("{path}: {format}, {count} tensors"));
    export.write(&checkpoint, card.as_ref(), &output)?;
    if let (Target::Diffusers, Some(card)) = (verb.to, &card) {
        let settings = serde_json::to_vec_pretty(&diffusers_settings(&card.network)?)?;
        write_atomically(&output.with_file_name(DIFFUSERS_SETTINGS), &settings)?;
    }
    say!("{}", output.display());
    Ok(ExitCode::SUCCESS)
}

/// Refuses what does not go with ONNX, or only with it.
fn check_onnx(verb: &Verb) -> anyhow::Result<()> {
    let out_of_place = match verb.to {
        Target::Onnx if verb.dropout.is_some() => {
            "--dropout is for training, and --to onnx writes what samples; leave it out"
        }
        Target::Onnx if verb.dtype == Some(Type::Bf16) => {
            "--dtype bf16: --to onnx writes weights of f32, or of f16 for half the size (computed with in f32 in any case)"
        }
        Target::Onnx => return Ok(()),
        _ if verb.whole => "--whole is for --to onnx only",
        _ => return Ok(()),
    };
    Err(wrong(out_of_place))
}

/// The layout of adapters that is asked for, if it is one.
fn adapter_layout(verb: &Verb) -> anyhow::Result<Option<AdapterLayout>> {
    let layout = match verb.to {
        Target::DiffusersLora => AdapterLayout::Diffusers,
        Target::Kohya => AdapterLayout::Kohya,
        _ => return Ok(None),
    };
    let out_of_place = [
        (verb.merge, "--merge"),
        (verb.nfe.is_some(), "--nfe"),
        (verb.dropout.is_some(), "--dropout"),
        (!verb.adapters.lora.is_empty(), "--lora"),
    ];
    match out_of_place.into_iter().find(|(given, _)| *given) {
        None => Ok(Some(layout)),
        Some((_, flag)) => Err(wrong(format!(
            "{flag} makes a whole model, and --to diffusers-lora and kohya write adapters alone; leave one of them out"
        ))),
    }
}

/// The ending of a name that promises another format.
fn foreign_ending(output: &Path) -> Option<&str> {
    let ending = output.extension()?.to_str()?;
    ["pt", "pth", "ckpt", "pkl", "bin", "onnx"]
        .contains(&ending)
        .then_some(ending)
}

/// The input as a plain network for one number of calls, if that is asked for.
fn folded(verb: &Verb, input: &Path, context: &Context) -> anyhow::Result<Option<NamedTempFile>> {
    let Some(nfe) = verb.nfe else {
        return Ok(None);
    };
    if verb.to == Target::Tensors {
        return Err(wrong(
            "--nfe makes a model, and --to tensors none; leave one of them out",
        ));
    }
    let (model, hash) = import::open(input, &context.device)?;
    let file = tempfile::Builder::new()
        .suffix(".safetensors")
        .tempfile()
        .context("cannot create a temporary file")?;
    model.fold(nfe, hash)?.write(file.path())?;
    Ok(Some(file))
}

/// The card of the input, with the dropout rate that was typed.
fn card(verb: &Verb, checkpoint: &Checkpoint) -> anyhow::Result<Card> {
    let (mut card, _) = checkpoint.described()?;
    let Some(rate) = verb.dropout else {
        return Ok(card);
    };
    let mut network = serde_json::to_value(&card.network).context("cannot write the card")?;
    let said = network
        .get("dropout")
        .and_then(Value::as_f64)
        .unwrap_or(0.0);
    if said != 0.0 && said != rate {
        let path = verb.input.display();
        return Err(wrong(format!(
            "--dropout {rate}: {path} says itself that it is {said}"
        )));
    }
    network["dropout"] = json!(rate);
    card.network = serde_json::from_value(network).context("cannot write the card")?;
    card.network.check()?;
    Ok(card)
}
