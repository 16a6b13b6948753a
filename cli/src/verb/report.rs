//! `fewstep report`: what runs have found, as one page.

use crate::context::Context;
use crate::model::seeds::Seeds;
use crate::output::Outputs;
use crate::page::{self, Wish};
use crate::picture::sheet::PREVIEW_SEEDS;
use crate::screen::failure::wrong;
use crate::screen::say::say;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  fewstep report runs/student
  fewstep report runs/a runs/b runs/c --out compared.html
  fewstep report runs/student --teacher teacher.safetensors --out student.html
  fewstep evaluate runs/student/student.safetensors --reference photos/ --json > runs/student/evaluate.json
  fewstep report runs/student measured.json --out report.html --overwrite

The page is one HTML file that asks for nothing else: it can be sent, or opened from the disk. docs/report.md says what it shows.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// Folders of runs (train, distill, demo), sweeps or searches (tune), and what `fewstep evaluate --json` printed
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The page [default: report.html in RUN, if it is one folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The teacher of these students, to be drawn beside them [default: the bundled one, or one of RUN, where it is theirs]
    #[arg(long, value_name = "FILE")]
    teacher: Option<PathBuf>,
    /// Seeds that teacher and student are drawn with, at most 64 [default: 0-15]
    #[arg(long, value_name = "LIST")]
    seeds: Option<Seeds>,
    /// Replace a page that is there already
    #[arg(long)]
    overwrite: bool,
}

/// More are not looked at.
const MOST: usize = 64;

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    if let Some(missing) = verb.runs.iter().find(|run| !run.exists()) {
        return Err(page::nothing_there(missing));
    }
    let to = match (&verb.out, verb.runs.as_slice()) {
        (Some(to), _) => to.clone(),
        (None, [folder]) if folder.is_dir() => folder.join(page::FILE),
        (None, _) => {
            return Err(wrong(
                "say where the page goes: --out report.html; only the page of one folder has a place of its own, in that folder",
            ));
        }
    };
    let ending = to.extension().map(|e| e.to_string_lossy().to_lowercase());
    if !matches!(ending.as_deref(), Some("html" | "htm")) {
        return Err(wrong(format!(
            "--out {}: the page is HTML, which browsers know by its name; name it .html",
            to.display()
        )));
    }
    if to.exists() && !verb.overwrite {
        return Err(wrong(format!(
            "{} exists already; name another file with --out, or add --overwrite",
            to.display()
        )));
    }
    let seeds = verb
        .seeds
        .as_ref()
        .map_or(&PREVIEW_SEEDS[..], |seeds| &seeds.0);
    if seeds.len() > MOST {
        return Err(wrong(format!(
            "--seeds: these are {} seeds, and a page shows at most {MOST}; `fewstep sample --grid` draws more",
            seeds.len()
        )));
    }
    let mut outputs = Outputs::default();
    outputs.file(&to)?;
    let wish = Wish {
        teacher: verb.teacher.as_deref(),
        seeds,
    };
    page::write(&verb.runs, &wish, &to, context)?;
    say!("{}", to.display());
    Ok(ExitCode::SUCCESS)
}
