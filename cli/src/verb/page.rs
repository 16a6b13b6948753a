//! `fewstep page`: a page that samples from a model in the visitor's browser.

use crate::context::Context;
use crate::model::source::{AdapterArgs, ModelSource};
use crate::output::Outputs;
use crate::page::{Runtime, Sampler, write_sampler};
use crate::screen::failure::wrong;
use crate::screen::say::say;
use clap::{Args, ValueEnum};
use fewstep::import::Scalar;
use fewstep::model::Model;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep fetch onnxruntime-web
  fewstep page runs/demo/student.safetensors --out site
  fewstep page student.safetensors --teacher teacher.safetensors --dtype f16 --out site --overwrite
  fewstep page student.safetensors --runtime node_modules/onnxruntime-web --out site
  python3 -m http.server --directory site

The folder is all that a static server needs: a page, the model as ONNX, and onnxruntime-web, which computes it with WebAssembly in
the visitor's browser. Opened from the disk (file://) it does nothing, since browsers keep WebAssembly from such pages.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// The model: a student, or a teacher, of pixels
    student: PathBuf,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Its teacher, for pictures of the same seeds beside those of the student
    #[arg(long, value_name = "FILE")]
    teacher: Option<PathBuf>,
    /// onnxruntime-web: its npm package (.tgz) or an unpacked folder of it [default: where `fewstep fetch onnxruntime-web` puts it]
    #[arg(long, value_name = "TGZ|DIR")]
    runtime: Option<PathBuf>,
    /// Type of the weights: f32, or f16 for a page of half the size (computed with in f32 in any case)
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    dtype: Type,
    /// Title of the page
    #[arg(long, value_name = "TEXT", default_value = "Pictures in a few steps")]
    title: String,
    /// Replace what is in the folder from an earlier time
    #[arg(long)]
    overwrite: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    F32,
    F16,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let index = verb.out.join("index.html");
    let used = verb
        .out
        .read_dir()
        .is_ok_and(|mut all| all.next().is_some());
    if used && !verb.overwrite {
        let path = verb.out.display();
        return Err(wrong(format!(
            "--out {path} holds something already; name another folder, or add --overwrite"
        )));
    }
    let runtime = Runtime::read(verb.runtime.as_deref())?;
    let mut outputs = Outputs::default();
    outputs.file(&index)?;
    let read = |path: &Path| -> anyhow::Result<Model> {
        ModelSource::read(path, &AdapterArgs::default())?.model(&context.device)
    };
    let student = read(&verb.student)?;
    let teacher = verb.teacher.as_deref().map(read).transpose()?;
    let sampler = Sampler {
        student: &student,
        teacher: teacher.as_ref(),
        title: &verb.title,
        runtime,
        weights: match verb.dtype {
            Type::F32 => Scalar::F32,
            Type::F16 => Scalar::F16,
        },
    };
    write_sampler(&sampler, &verb.out)?;
    let folder = verb.out.display();
    context.reporter.say(format!(
        "see it with any static server: python3 -m http.server --directory {folder}"
    ));
    say!("{}", index.display());
    Ok(ExitCode::SUCCESS)
}
