//! All that is written to a terminal, in one place: results on stdout, the rest on stderr. Nothing of it ends a run.
//!
//! A reader that has gone, a full disk behind `2>log`, a terminal that was closed: `eprintln!` panics there, and hours of
//! training with it. `tests/terminal.rs` sees to it that nobody uses it or its like elsewhere.

use clap::error::ErrorKind as ErrorKindOfUse;
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// As `println!`; but who has stopped reading (`fewstep inspect FILE | head -3`) has seen enough, and the work goes on.
macro_rules! say {
    ($($text:tt)*) => { $crate::screen::say::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// As `eprintln!`; but what cannot be said is not said, and the work goes on.
macro_rules! tell {
    ($($text:tt)*) => { $crate::screen::say::aside(format_args!($($text)*)) };
}
pub(crate) use tell;

/// Whether another process speaks for this one.
static HUSHED: AtomicBool = AtomicBool::new(false);

/// From now on nothing is said: another process does the same work and says it.
pub(crate) fn hush() {
    HUSHED.store(true, Ordering::Relaxed);
}

fn hushed() -> bool {
    HUSHED.load(Ordering::Relaxed)
}

/// Why a result could not be written, the first time.
static LOST: Mutex<Option<String>> = Mutex::new(None);

/// Writes a line of the result. What goes wrong is said when all is done.
pub(crate) fn line(text: Arguments<'_>) {
    if hushed() {
        return;
    }
    note(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Writes a line for people, in one piece.
pub(crate) fn aside(text: Arguments<'_>) {
    if !hushed() {
        aloud(text);
    }
}

/// The same, of what no other process knows.
pub(crate) fn aloud(text: Arguments<'_>) {
    let _ = std::io::stderr()
        .lock()
        .write_all(format!("{text}\n").as_bytes());
}

/// Help, the version, or what was wrong with the command; returns the exit status.
pub(crate) fn usage(answer: &clap::Error) -> ExitCode {
    if hushed() {
        return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
    }
    // What was typed is wrong, and its reason says all; help is a word away.
    if answer.kind() == ErrorKindOfUse::ValueValidation {
        let said = answer.to_string();
        aside(format_args!("{}", said.lines().next().unwrap_or_default()));
        return ExitCode::from(2);
    }
    let written = answer.print();
    if !answer.use_stderr() {
        note(written);
    }
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2))
}

/// A reader that has gone is no failure.
fn note(written: std::io::Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert_with(|| error.to_string());
    }
}

/// The exit status at the end: that of the work, or 1 if its results could not be written.
pub(crate) fn finish(code: ExitCode) -> ExitCode {
    note(std::io::stdout().flush());
    let lost = LOST.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(error) = lost else {
        return code;
    };
    aside(format_args!(
        "error: cannot write to standard output: {error}"
    ));
    if code == ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    code
}
