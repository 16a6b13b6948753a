//! `fewstep convert`: a student of several step counts as a plain network of one.

use crate::device::Context;
use crate::failure::wrong;
use clap::Args;
use fewstep::checkpoint::Model;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep convert student.safetensors --nfe 3 --out nfe3.safetensors";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// A student that is told its number of steps (variable-steps in its recipe)
    file: PathBuf,
    /// Network calls an image; the step condition is folded into the weights
    #[arg(long, value_name = "N")]
    nfe: usize,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    if verb.out.exists() && !verb.overwrite {
        let out = verb.out.display();
        return Err(wrong(format!(
            "{out} is there already; add --overwrite, or name another file with --out"
        )));
    }
    let (model, hash) = Model::read(&verb.file, &context.device)?;
    model.fold(verb.nfe, hash)?.write(&verb.out)?;
    println!("{}", verb.out.display());
    Ok(ExitCode::SUCCESS)
}
