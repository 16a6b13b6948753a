//! `fewstep watch`: a run as it goes on, in a browser.

use crate::page::{self, Server};
use crate::screen::say::{say, tell};
use crate::screen::signal;
use crate::typed::whole;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep watch runs/student
  fewstep watch runs/teacher --port 8080

It reads the run's folder and changes nothing in it; the run may go on, stop or be done. Only this machine can ask (127.0.0.1):
from another one, `ssh -L 7007:127.0.0.1:7007 MACHINE` brings the page there. Ctrl-C ends it.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// The folder of a run (train, distill, demo)
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Where to listen on 127.0.0.1 [default: 7007, or one that is free]
    #[arg(long, value_name = "PORT", value_parser = whole::<u16>(1..=65_535))]
    port: Option<u16>,
}

/// Runs the verb.
pub fn run(verb: &Verb) -> anyhow::Result<ExitCode> {
    // What is no run is said here, not in the browser.
    page::live(&verb.run)?;
    let server = Server::open(&verb.run, verb.port)?;
    signal::catch_with(|status| {
        tell!("stopped watching; the run goes on");
        std::process::exit(status.into());
    })?;
    say!("{}", server.address()?);
    server.answer_all();
    Ok(ExitCode::SUCCESS)
}
