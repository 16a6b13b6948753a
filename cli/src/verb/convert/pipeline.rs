//! The folder of a pipeline of diffusers.

use super::args::{Verb, Whose};
use super::prepare::{Prepared, card, say_input};
use crate::context::Context;
use crate::model::levels::list;
use crate::output::Outputs;
use crate::screen::failure::wrong;
use crate::screen::say::say;
use fewstep::export::pipeline::{
    Pipeline, Sampler, Schedule, Written, find, is_pipeline, step_biases,
};
use fewstep::import::{
    self, DIFFUSERS_FILE, DIFFUSERS_SETTINGS, Export, Layout, Note, diffusers_settings,
};
use fewstep::model::{Card, Kind, write_atomically};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes it, or of a teacher the U-Net alone.
pub(super) fn write(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let output = &*verb.output;
    let shown = output.display();
    if output.is_file() || output.file_name().is_none() {
        return Err(wrong(format!(
            "{shown}: --to diffusers writes a folder; name one"
        )));
    }
    let mut outputs = Outputs::default();
    // It takes the place of what is there when it is whole.
    outputs.folder(output.parent().unwrap_or(Path::new("")))?;
    let own = verb.scheduler == Some(Whose::Fewstep);
    let (prepared, biases) = match own && verb.nfe.is_none() {
        true => every_number(verb, context)?,
        false => (Prepared::of(verb, verb.nfe, context)?, BTreeMap::new()),
    };
    let checkpoint = &prepared.checkpoint;
    let card = card(verb, checkpoint)?;
    let student = card.kind == Kind::Student;
    if !student && verb.adapters.base.is_none() {
        if let Some(whose) = verb.scheduler {
            return Err(wrong(format!(
                "--scheduler {}: {} is a teacher, which is sampled by the scheduler of its base; leave it out",
                if whose == Whose::Fewstep {
                    "fewstep"
                } else {
                    "diffusers"
                },
                verb.input.display()
            )));
        }
        return unet(verb, &prepared, &card, context);
    }
    let there = output.is_dir() && output.read_dir()?.next().is_some();
    if there && !verb.overwrite {
        return Err(wrong(format!(
            "{shown} exists already; name another folder, or add --overwrite, which puts the student's U-Net and scheduler in the \
             place of those that are there"
        )));
    }
    if there && !is_pipeline(output) {
        return Err(wrong(format!(
            "{shown} is no folder of diffusers, and would be replaced as a whole; name another"
        )));
    }
    if card.network.has_step_branch() {
        let calls = card.sampling.allowed_evaluations()?.into_inner();
        return Err(wrong(format!(
            "{} is told how many steps there are, which diffusers cannot say: fold it for one number of calls by --nfe ({} to {}), \
             or keep all of them by --scheduler fewstep",
            verb.input.display(),
            calls.0,
            calls.1
        )));
    }
    // Said before anything is looked for: of a network that diffusers has no names for.
    diffusers_settings(&card.network)?;
    let sampler = match (student, own) {
        (false, _) => Sampler::Base,
        (true, false) => Sampler::Stock(Schedule::of(&card, &card.sampling)?),
        (true, true) => Sampler::Own {
            schedules: schedules(&card, prepared.range)?,
            biases,
        },
    };
    let (base, all) = base(verb, there)?;
    say_input(verb, checkpoint, context);
    let pipeline = Pipeline {
        checkpoint,
        card: &card,
        base: &base,
        all,
        scalar: verb.scalar(),
        sampler,
    };
    let written = pipeline.write(output)?;
    let about = about(&written, &base, output);
    about.iter().for_each(|line| context.reporter.say(line));
    say!("{shown}");
    Ok(ExitCode::SUCCESS)
}

/// The input folded for its usual number of calls, and what its step branch is worth for each number.
fn every_number(
    verb: &Verb,
    context: &Context,
) -> anyhow::Result<(Prepared, BTreeMap<usize, fewstep::export::pipeline::Biases>)> {
    let plain = Prepared::of(verb, None, context)?;
    let card = card(verb, &plain.checkpoint)?;
    if card.kind != Kind::Student || card.sampling.told_steps().is_none() {
        return Ok((plain, BTreeMap::new()));
    }
    // Said before a large model is loaded.
    Schedule::of(&card, &card.sampling)?;
    diffusers_settings(&card.network.with_step_branch(false))?;
    let (model, _) = import::open(plain.checkpoint.path(), &context.device)?;
    let biases = step_biases(&model)?;
    let calls = card.sampling.evaluations()?;
    let mut folded = Prepared::of(verb, Some(calls), context)?;
    folded.range = card.sampling.step_range;
    Ok((folded, biases))
}

/// What happens in each number of calls; `range` is that of a student that was folded for one of them.
fn schedules(card: &Card, range: Option<[usize; 2]>) -> anyhow::Result<Vec<Schedule>> {
    let mut card = card.clone();
    card.sampling.step_range = range.or(card.sampling.step_range);
    let calls = card.sampling.allowed_evaluations()?;
    let of = |calls| Ok(Schedule::of(&card, &card.sampling_with(calls)?)?);
    calls.map(of).collect()
}

/// The folder whose parts are taken, and whether all that is in it stays.
fn base(verb: &Verb, there: bool) -> anyhow::Result<(PathBuf, bool)> {
    if let Some(given) = &verb.adapters.base {
        let found = find([given.as_path()]).ok_or_else(|| {
            wrong(format!(
                "--base {}: it is no folder of a pipeline of diffusers (model_index.json, vae, text_encoder, tokenizer), whose parts \
                 would be taken; name one",
                given.display()
            ))
        })?;
        return Ok((found, false));
    }
    if there {
        return Ok((verb.output.clone(), true));
    }
    let note = Note::beside(&verb.input)?;
    let places = [
        Some(&verb.input),
        note.text_encoder.as_ref(),
        note.autoencoder.as_ref(),
        note.base.as_ref(),
    ];
    let places = places.into_iter().flatten().map(PathBuf::as_path);
    find(places).map(|base| (base, false)).ok_or_else(|| {
        let (input, output) = (verb.input.display(), verb.output.display());
        wrong(format!(
            "{input} is a U-Net alone, and nothing says where the other parts of a pipeline are: name the folder of its base with \
             --base, or copy that folder to {output} and add --overwrite"
        ))
    })
}

/// The U-Net alone and its settings, into a folder that may hold other parts.
fn unet(
    verb: &Verb,
    prepared: &Prepared,
    card: &Card,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let output = verb.output.join("unet").join(DIFFUSERS_FILE);
    if output.exists() && !verb.overwrite {
        let path = output.display();
        return Err(wrong(format!(
            "{path} exists already; name another folder, or add --overwrite"
        )));
    }
    let mut outputs = Outputs::default();
    outputs.file(&output)?;
    say_input(verb, &prepared.checkpoint, context);
    let export = Export {
        layout: Layout::Diffusers,
        scalar: verb.scalar(),
    };
    export.write(&prepared.checkpoint, Some(card), &output)?;
    let settings = serde_json::to_vec_pretty(&diffusers_settings(&card.network)?)?;
    write_atomically(&output.with_file_name(DIFFUSERS_SETTINGS), &settings)?;
    say!("{}", output.display());
    Ok(ExitCode::SUCCESS)
}

/// What was written, for people.
fn about(written: &Written, base: &Path, folder: &Path) -> Vec<String> {
    let calls = match written.calls() {
        none if none.is_empty() => String::new(),
        one if one == "1" => " of one network call".into(),
        calls => format!(" of {calls} network calls"),
    };
    let mut lines = vec![format!(
        "a {}{calls}, {} throughout; parts of {}. {}",
        written.pipeline,
        written.scalar,
        base.display(),
        written.needs()
    )];
    for schedule in &written.schedules {
        lines.push(format!(
            "{} calls: sigmas {}, first noise {:.6}, guidance (CFG) {}",
            schedule.calls(),
            list(&schedule.levels),
            schedule.start,
            written.guidance
        ));
    }
    lines.extend(
        written
            .snippet(folder)
            .lines()
            .map(|line| format!("    {line}")),
    );
    lines
}
