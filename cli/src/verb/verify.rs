//! `fewstep verify`: golden cases against this build and device.

use crate::bundle::embedded;
use crate::context::Context;
use crate::screen::failure::wrong;
use crate::screen::say::say;
use anyhow::Context as _;
use clap::Args;
use fewstep::golden::{Outcome, Row, Summary, verify};
use std::path::PathBuf;
use std::process::ExitCode;
use tempfile::TempDir;

/// The exit status for cases that are not supported.
const UNSUPPORTED: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  fewstep verify
  fewstep verify golden/schedule.safetensors
  fewstep verify golden/ --device cpu

Exit status: 0 all passed, 1 one failed, 3 none failed but one is not supported.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verb {
    /// Golden cases, or folders of them [default: a small set inside the program]
    paths: Vec<PathBuf>,
}

/// Runs the verb.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let folder = if verb.paths.is_empty() {
        Some(unpack()?)
    } else {
        None
    };
    let paths = match &folder {
        Some(folder) => vec![folder.path().to_path_buf()],
        None => verb.paths.clone(),
    };
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        return Err(wrong(format!(
            "there is no file or folder {}",
            missing.display()
        )));
    }
    say!("{:<58} {:>10} {:>10}  result", "case", "error", "tolerance");
    let summary = verify(&paths, &context.device, &mut |row| say!("{}", line(row)))?;
    say!("{}", counts(&summary));
    Ok(match summary {
        Summary { failed: 1.., .. } => ExitCode::FAILURE,
        Summary {
            unsupported: 1.., ..
        } => ExitCode::from(UNSUPPORTED),
        _ => ExitCode::SUCCESS,
    })
}

/// Puts the bundled cases where they can be read.
fn unpack() -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    for (name, bytes) in embedded::GOLDEN {
        fs_err::write(folder.path().join(name), bytes)?;
    }
    Ok(folder)
}

/// One comparison.
fn line(row: &Row) -> String {
    let number = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.2e}"));
    let case = name(&row.case, &row.run);
    let result = match (&row.outcome, &row.tensor) {
        (Outcome::Failed, Some(tensor)) => format!("FAIL: {tensor}"),
        (outcome, _) => said(outcome),
    };
    let (error, tolerance) = (number(row.error), number(row.tolerance));
    format!("{case:<58} {error:>10} {tolerance:>10}  {result}")
}

/// What a comparison comes to.
fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => "pass".into(),
        Outcome::Failed => "FAIL".into(),
        Outcome::Informational => "for information".into(),
        Outcome::Unsupported(what) => format!("unsupported: {what}"),
        Outcome::Error(error) => format!("FAIL: {error}"),
        other => format!("{other:?}"),
    }
}

/// The last line.
fn counts(summary: &Summary) -> String {
    let mut text = format!(
        "{} passed, {} failed, {} unsupported",
        summary.passed, summary.failed, summary.unsupported
    );
    if summary.informational > 0 {
        text += &format!(", {} for information", summary.informational);
    }
    if let Some(worst) = &summary.worst {
        let case = name(&worst.case, &worst.run);
        text += &format!(
            "; worst case {case}, at {:.3} of its tolerance",
            worst.ratio
        );
    }
    text
}

fn name(case: &str, run: &str) -> String {
    if run.is_empty() {
        case.to_string()
    } else {
        format!("{case} {run}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_set_is_there_and_small() {
        let size: usize = embedded::GOLDEN.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(size > 0 && size < 4_000_000, "{size}");
    }

    #[test]
    fn a_failure_names_its_tensor() {
        let row = |outcome| Row {
            case: "case".into(),
            run: "parameter norms".into(),
            error: Some(2.5e-4),
            tolerance: Some(1e-4),
            tensor: Some("model.out.2.bias".into()),
            outcome,
        };
        let failed = line(&row(Outcome::Failed));
        assert!(
            failed.ends_with("1.00e-4  FAIL: model.out.2.bias"),
            "{failed}"
        );
        assert!(line(&row(Outcome::Passed)).ends_with("  pass"));
    }

    #[test]
    fn the_last_line_counts() {
        let summary = Summary {
            passed: 3,
            unsupported: 1,
            ..Summary::default()
        };
        assert_eq!(counts(&summary), "3 passed, 0 failed, 1 unsupported");
    }
}
