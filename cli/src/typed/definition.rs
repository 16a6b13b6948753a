//! What holds for all options of all verbs.

use super::phrase::{option_in, refusal};
use clap::builder::{OsStr, Resettable};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, Error};
use std::any::TypeId;
use std::ffi::OsString;
use std::path::PathBuf;

/// The definitions of a command and of those below it, in which
///
/// * a value may begin with a dash, so that the parser of `--seeds -1` can say what a seed is; but not a path, which may be
///   anything and would swallow the next option where it was forgotten;
/// * an empty variable of the environment is one that is not set, as it is in shells and in files of containers.
pub fn prepared(command: Command) -> Command {
    let command = command.mut_args(|arg| unset_if_empty(with_dashes(arg)));
    command.mut_subcommands(prepared)
}

/// What was typed, by prepared definitions.
pub fn matches(mut definition: Command, words: &[OsString]) -> Result<ArgMatches, Error> {
    let found = definition.try_get_matches_from_mut(words);
    found.map_err(|error| match error.kind() {
        // In `--prompt --seeds 3` the 3 is what clap does not know.
        ErrorKind::UnknownArgument => forgotten(&definition, words).unwrap_or(error),
        _ => error,
    })
}

/// The first option whose value was forgotten, so that the next option took its place.
fn forgotten(definition: &Command, words: &[OsString]) -> Option<Error> {
    let mut words = words.iter().skip(1).take_while(|word| *word != "--");
    let mut verb = definition;
    let mut last: Option<&Arg> = None;
    words.find_map(|word| {
        if let Some(arg) = last.take() {
            let option = option_in(verb, word)?;
            let reason = format!("{option} is an option, and before it a value is missing");
            return Some(refusal(reason, verb, Some(arg), word));
        }
        let typed = word.to_str()?;
        verb = definition.find_subcommand(typed).unwrap_or(verb);
        last = verb.get_arguments().find(|arg| {
            let long = arg.get_long_and_visible_aliases().unwrap_or_default();
            takes_dashes(arg)
                && long
                    .iter()
                    .any(|long| typed.strip_prefix("--") == Some(*long))
        });
        None
    })
}

/// Whether an option takes one value that may begin with a dash.
fn takes_dashes(arg: &Arg) -> bool {
    let one_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
        && arg
            .get_num_args()
            .is_none_or(|range| range.max_values() == 1);
    let path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    one_value && !arg.is_positional() && !path
}

fn with_dashes(arg: Arg) -> Arg {
    match takes_dashes(&arg) {
        true => arg.allow_hyphen_values(true),
        false => arg,
    }
}

fn unset_if_empty(arg: Arg) -> Arg {
    let empty = arg
        .get_env()
        .is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()));
    match empty {
        true => arg.env(Resettable::<OsStr>::Reset),
        false => arg,
    }
}
