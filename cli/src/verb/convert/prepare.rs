//! The input of the verb as it is to be written.

use super::adapter;
use super::args::{Prediction, Target, Verb};
use crate::context::Context;
use crate::screen::failure::wrong;
use anyhow::Context as _;
use fewstep::adapter::AdapterFile;
use fewstep::import::{self, Checkpoint, Predicts};
use fewstep::model::Card;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::NamedTempFile;

/// The input as it is to be written: with its adapters multiplied out, folded, and told what it predicts, as far as that was typed.
pub(super) struct Prepared {
    pub(super) checkpoint: Checkpoint,
    /// The numbers of steps of a student that was folded for one of them only for now.
    pub(super) range: Option<[usize; 2]>,
    /// What was made on the way, which goes with this value.
    _files: [Option<NamedTempFile>; 2],
}

impl Prepared {
    pub(super) fn of(verb: &Verb, nfe: Option<usize>, context: &Context) -> anyhow::Result<Self> {
        let whole = matches!(verb.to, Target::Diffusers | Target::SingleFile);
        let merged = adapter::merged((&verb.input, verb.merge), (&verb.adapters, whole), context)?;
        let input = merged.as_ref().map_or(&*verb.input, |file| file.path());
        let folded = folded((verb, nfe), input, context)?;
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
        Ok(Self {
            checkpoint,
            range: None,
            _files: [merged, folded],
        })
    }
}

/// The input as a plain network for one number of calls, if that is asked for.
fn folded(
    (verb, nfe): (&Verb, Option<usize>),
    input: &Path,
    context: &Context,
) -> anyhow::Result<Option<NamedTempFile>> {
    let Some(nfe) = nfe else {
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
pub(super) fn card(verb: &Verb, checkpoint: &Checkpoint) -> anyhow::Result<Card> {
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

/// Says what the input is.
pub(super) fn say_input(verb: &Verb, checkpoint: &Checkpoint, context: &Context) {
    let count = checkpoint.tensors().len();
    let (path, format) = (verb.input.display(), checkpoint.format);
    context
        .reporter
        .say(format!("{path}: {format}, {count} tensors"));
}
