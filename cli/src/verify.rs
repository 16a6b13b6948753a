//! x
use clap::Args;
#[derive(Args, Debug)]
pub struct Verb {
    paths: Vec<std::path::PathBuf>,
}
pub fn run(verb: &Verb, _c: &crate::device::Context) -> anyhow::Result<std::process::ExitCode> {
    let _ = &verb.paths;
    anyhow::bail!("not yet")
}
