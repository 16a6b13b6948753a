//! `fewstep convert`: foreign models to our file, ours to what PyTorch and diffusers load, and a student of several step counts to
//! a plain network of one.

mod adapter;
mod args;
mod onnx;
mod pipeline;
mod prepare;
mod single;

pub use args::Verb;

use crate::context::Context;
use crate::output::Outputs;
use crate::screen::failure::wrong;
use crate::screen::say::say;
use args::{Target, Type};
use fewstep::adapter::AdapterLayout;
use fewstep::export::{Onnx, OnnxGraph};
use fewstep::import::{Export, Layout, Scalar};
use prepare::{Prepared, card, say_input};
use std::path::Path;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    if verb.step_branch && verb.to != Target::Pytorch {
        return Err(wrong("--step-branch is for --to pytorch only"));
    }
    if verb.scheduler.is_some() && verb.to != Target::Diffusers {
        return Err(wrong("--scheduler is for --to diffusers only"));
    }
    check_onnx(verb)?;
    if verb.to == Target::Diffusers {
        return pipeline::write(verb, context);
    }
    let output = verb.output.clone();
    if verb.to == Target::Onnx {
        onnx::check(&output, verb.overwrite)?;
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
    let scalar = verb.scalar();
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
    let nfe = verb.nfe.filter(|_| verb.to != Target::Onnx);
    let prepared = Prepared::of(verb, nfe, context)?;
    if verb.to == Target::SingleFile {
        return single::write(verb, prepared, context);
    }
    let checkpoint = prepared.checkpoint;
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
            _ => Layout::Tensors,
        },
        scalar,
    };
    say_input(verb, &checkpoint, context);
    export.write(&checkpoint, card.as_ref(), &output)?;
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
