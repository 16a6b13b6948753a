//! Free texts, which may begin with a dash.

use clap::builder::{StringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use std::ffi::OsStr;

/// Reads a text. One that is an option of the command is taken for what follows a forgotten text.
#[derive(Clone, Copy, Debug)]
pub struct Phrase;

impl TypedValueParser for Phrase {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, Error> {
        if let Some(option) = option_in(command, value) {
            let reason = format!(
                "{option} is an option of `fewstep {}`, and no text stands before it; a text that begins like an option is \
                 typed with a space in front of it",
                command.get_name()
            );
            return Err(refusal(reason, command, arg, value));
        }
        StringValueParser::new().parse_ref(command, arg, value)
    }
}

/// The option of a command that a value is, such as `--seeds` or `--seeds=3`, where its own value was forgotten.
pub(super) fn option_in(command: &Command, value: &OsStr) -> Option<String> {
    let typed = value.to_str()?;
    let name = typed.split_once('=').map_or(typed, |(name, _)| name);
    let is = |arg: &Arg| {
        let long = arg.get_long_and_visible_aliases().unwrap_or_default();
        let short = arg.get_short_and_visible_aliases().unwrap_or_default();
        let mut long = long.into_iter().map(|long| format!("--{long}"));
        let mut short = short.into_iter().map(|short| format!("-{short}"));
        long.any(|long| long == name) || short.any(|short| short == typed)
    };
    command.get_arguments().any(is).then(|| name.to_string())
}

/// Clap's error for a value, with a reason.
pub(super) fn refusal(
    reason: String,
    command: &Command,
    arg: Option<&Arg>,
    value: &OsStr,
) -> Error {
    let refuse = move |_: &str| Err::<(), String>(reason.clone());
    let error = refuse.parse_ref(command, arg, value).err();
    error.unwrap_or_else(|| Error::new(ErrorKind::ValueValidation).with_cmd(command))
}
