//! One file with everything.

use super::args::Verb;
use super::prepare::{Prepared, card, say_input};
use crate::context::Context;
use crate::screen::failure::wrong;
use crate::screen::say::say;
use anyhow::Context as _;
use fewstep::export::single::{SingleFile, usage};
use fewstep::import::{Note, Parts, Scalar, diffusers_settings};
use fewstep::model::Kind;
use std::process::ExitCode;

/// Writes it.
pub(super) fn write(
    verb: &Verb,
    prepared: Prepared,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let checkpoint = &prepared.checkpoint;
    let card = card(verb, checkpoint)?;
    let shown = verb.input.display();
    if card.network.has_step_branch() {
        let calls = card.sampling.allowed_evaluations()?.into_inner();
        return Err(wrong(format!(
            "{shown} is told how many steps there are, which programs elsewhere cannot say: fold it for one number of calls by --nfe \
             ({} to {})",
            calls.0, calls.1
        )));
    }
    // Said before anything is looked for: of a network that these programs do not know.
    diffusers_settings(&card.network)?;
    let mut parts = Parts::of(&verb.input)?;
    if let Some(base) = &verb.adapters.base {
        parts.given = Note {
            autoencoder: Some(base.clone()),
            text_encoder: Some(base.clone()),
            ..Note::default()
        };
    }
    let whose = || {
        format!(
            "the other parts of {shown} come from the model that it was distilled from: name its file or folder with --base"
        )
    };
    let autoencoder = parts.autoencoder().with_context(whose)?;
    let (text, _) = parts.text().with_context(whose)?;
    say_input(verb, checkpoint, context);
    let of = [autoencoder.path(), text.path()].map(|path| path.display().to_string());
    let single = SingleFile {
        checkpoint,
        card: &card,
        autoencoder: autoencoder.for_network(&card.network),
        text,
        scalar: verb.scalar().unwrap_or(Scalar::F16),
    };
    single.write(&verb.output)?;
    context.reporter.say(format!(
        "autoencoder of {}, text encoder of {}",
        of[0], of[1]
    ));
    if card.kind == Kind::Student {
        let usage = usage(&card)?;
        context.reporter.say(format!(
            "settings elsewhere: {usage}; docs/files.md says where each goes"
        ));
    }
    say!("{}", verb.output.display());
    Ok(ExitCode::SUCCESS)
}
