//! The `fewstep` command. Results go to stdout, progress to stderr.
//!
//! Exit status: 0 done, 1 the run failed, 2 the command or recipe was wrong, 130 interrupted, 143 terminated,
//! 129 hung up (and resumable).

#![cfg_attr(
    not(feature = "fetch"),
    allow(dead_code, reason = "what only downloads need")
)]

mod bundle;
mod command;
mod context;
mod group;
mod measure;
mod model;
mod output;
mod page;
mod picture;
mod run;
mod screen;
mod typed;
mod verb;

use command::{Cli, Command};
use group::Together;
use screen::say::tell;
use screen::{command_line, failure, say, signal};
use std::process::ExitCode;
use std::sync::Arc;
#[cfg(feature = "fetch")]
use verb::fetch::{self, hint};
use verb::{
    bench, convert, demo, devices, distill, evaluate, inspect, report, sample, schedule, sweep,
    train, trajectories, tune, verify, watch,
};

/// Without memory, a line and status 1 instead of an abort.
#[global_allocator]
static MEMORY: fewstep::OrExit = fewstep::OrExit;

fn main() -> ExitCode {
    // Before anything large is allocated.
    fewstep::keep_freed_memory();
    // MPI, where it is used, is left when this goes: after all that was to be said.
    let together = match Together::start() {
        Ok(together) => Arc::new(together),
        Err(error) => {
            tell!("error: {}", failure::one_line(&error));
            return ExitCode::FAILURE;
        }
    };
    if !together.leads() {
        say::hush();
    }
    let cli = match Cli::typed() {
        Ok(cli) => cli,
        Err(answer) => return say::finish(say::usage(&answer)),
    };
    let result = execute(&cli, &together);
    if together.is_at_work() {
        return say::finish(result.unwrap_or_else(|error| lost(&together, &error)));
    }
    say::finish(match together.agree(result) {
        Ok(code) => code,
        Err(error) => failed(&cli.command, &error),
    })
}

/// Says why this process ends, of which the others know nothing, and ends them: they would wait for it.
fn lost(together: &Together, error: &anyhow::Error) -> ExitCode {
    let (number, size) = (together.rank() + 1, together.size());
    let line = failure::one_line(error);
    say::aloud(format_args!("error: process {number} of {size}: {line}"));
    let status = failure::exit_code(error);
    together.end(status);
    ExitCode::from(status)
}

/// Says why it ended; returns the exit status.
fn failed(command: &Command, error: &anyhow::Error) -> ExitCode {
    if error.is::<signal::Stopped>() {
        tell!("{}", go_on(command));
        return ExitCode::from(signal::status());
    }
    let hint = hint(error).map_or(String::new(), |hint| format!("; {hint}"));
    tell!("error: {}{hint}", failure::one_line(error));
    ExitCode::from(failure::exit_code(error))
}

/// What would get a file that is not there: nothing in this build.
#[cfg(not(feature = "fetch"))]
fn hint(_: &anyhow::Error) -> Option<String> {
    None
}

/// How to go on with what was stopped between two batches.
fn go_on(command: &Command) -> String {
    let (kept, line) = match command {
        Command::Demo(_) => (
            "the student is kept; measure it with",
            command_line::resuming(),
        ),
        Command::Sweep(_) | Command::Tune(_) => ("go on with", command_line::again()),
        Command::Trajectories(_) => ("what is made is kept; go on with", command_line::again()),
        Command::Sample(_) => ("what is drawn is kept; go on with", command_line::again()),
        Command::Evaluate(_) if measure::journal::kept() => (
            "what is measured is kept; go on with",
            command_line::resuming(),
        ),
        _ => ("nothing is kept; begin anew with", command_line::again()),
    };
    format!("stopped; {kept}:\n  {line}")
}

fn execute(cli: &Cli, together: &Arc<Together>) -> anyhow::Result<ExitCode> {
    fewstep::OrExit::advise(cli.command.less_memory());
    cli.command.check_processes()?;
    let context = context::Context::new(&cli.global, together)?;
    match &cli.command {
        Command::Demo(verb) => demo::run(verb, &context),
        #[cfg(feature = "fetch")]
        Command::Fetch(verb) => fetch::run(verb, &context),
        Command::Train(verb) => train::run(verb, &context),
        Command::Distill(verb) => distill::run(verb, &context),
        Command::Trajectories(verb) => trajectories::run(verb, &context),
        Command::Sample(verb) => sample::run(verb, &context),
        Command::Schedule(verb) => schedule::run(verb, &context),
        Command::Sweep(verb) => sweep::run(verb, &context),
        Command::Tune(verb) => tune::run(verb, &context),
        Command::Evaluate(verb) => evaluate::run(verb, &context),
        Command::Report(verb) => report::run(verb, &context),
        Command::Page(page) => verb::page::run(page, &context),
        Command::Watch(verb) => watch::run(verb),
        Command::Convert(verb) => convert::run(verb, &context),
        Command::Inspect(verb) => inspect::run(verb),
        Command::Verify(verb) => verify::run(verb, &context),
        Command::Bench(verb) => bench::run(verb, &context),
        Command::Devices(verb) => devices::run(verb),
        Command::Completions { shell } => command::completions(*shell),
    }
}
