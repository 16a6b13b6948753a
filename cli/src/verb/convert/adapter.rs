//! Students of adapters: as the files that others read, and as whole models.

use crate::context::Context;
use crate::model::source::{AdapterArgs, ModelSource, refuse_text};
use crate::screen::failure::wrong;
use anyhow::Context as _;
use fewstep::adapter::{AdapterFile, AdapterLayout};
use fewstep::export::single::usage;
use fewstep::import::{Checkpoint, Scalar};
use fewstep::model::{Adaptation, Card};
use std::path::Path;
use tempfile::NamedTempFile;

/// The input with its adapters multiplied out, if that is asked for. `takes_base` says that a base is wanted for something else.
pub(super) fn merged(
    (input, merge): (&Path, bool),
    (adapters, takes_base): (&AdapterArgs, bool),
    context: &Context,
) -> anyhow::Result<Option<NamedTempFile>> {
    if !merge {
        let given = [
            (!adapters.lora.is_empty(), "--lora"),
            (adapters.base.is_some() && !takes_base, "--base"),
            (adapters.lora_without_text, "--lora-without-text"),
        ];
        if let Some((_, flag)) = given.into_iter().find(|(given, _)| *given) {
            return Err(wrong(format!(
                "{flag} is for --merge, which makes a whole model of adapters and their base{}; add it, or leave {flag} out",
                match flag {
                    "--base" => " (and for --to diffusers and single-file)",
                    _ => "",
                }
            )));
        }
        return Ok(None);
    }
    let source = ModelSource::read(input, adapters)?;
    if source.is_whole() {
        let path = input.display();
        return Err(wrong(format!(
            "--merge: {path} is a whole model; name adapters with --lora, or leave --merge out"
        )));
    }
    let model = source.model(&context.device)?;
    let file = tempfile::Builder::new()
        .suffix(".safetensors")
        .tempfile()
        .context("cannot create a temporary file")?;
    model.write(file.path())?;
    Ok(Some(file))
}

/// Writes the adapters of the input in the layout of others.
pub(super) fn write(
    [input, output]: [&Path; 2],
    adapters: &AdapterArgs,
    layout: AdapterLayout,
    scalar: Option<Scalar>,
    context: &Context,
) -> anyhow::Result<()> {
    let checkpoint = Checkpoint::read(input)?;
    let shown = input.display();
    if !AdapterFile::is_one(&checkpoint) {
        return Err(wrong(format!(
            "{shown} holds no adapters: they come from a recipe with `lora`; a whole model is written with --to fewstep, pytorch \
             or diffusers"
        )));
    }
    let stored = checkpoint.tensors().values().map(|info| info.scalar);
    let stored = stored.filter(|scalar| scalar.is_float() && *scalar != Scalar::F64);
    let scalar = scalar.or(stored.max_by_key(|scalar| scalar.size()));
    let file = AdapterFile::of(checkpoint)?;
    refuse_text(&file, adapters.lora_without_text)?;
    let own = file.card().cloned();
    let network = match (&own, &adapters.base) {
        (Some(card), _) => card.network.clone(),
        (None, Some(base)) => Checkpoint::read(base)?.card()?.network,
        (None, None) => {
            return Err(wrong(format!(
                "{shown} does not say which network it is for: name a model of its family with --base"
            )));
        }
    };
    let factors = file.factors(&network, None)?;
    // What is written says itself what a product is multiplied by.
    let card = own.map(|card| Card {
        adapter: card.adapter.map(|adapter| Adaptation {
            alpha: adapter.rank as f64,
            ..adapter
        }),
        ..card
    });
    factors.write(
        layout,
        &network,
        card.as_ref(),
        scalar.unwrap_or(Scalar::F32),
        output,
    )?;
    let count = factors.len();
    context
        .reporter
        .say(format!("{shown}: adapters of {count} layers"));
    if let Some(card) = &card {
        let usage = usage(card)?;
        context.reporter.say(format!(
            "settings elsewhere: {usage}; docs/lora.md says where each goes"
        ));
    }
    Ok(())
}
