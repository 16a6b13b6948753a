//! Every golden case, through the same code as `fewstep verify`. One test a kind, so that a failure names its part.

use burn::tensor::Device;
use fewstep::golden::{Outcome, Row, verify};
use std::path::{Path, PathBuf};

/// The files of the golden folder whose names start with one of `prefixes`; `None` where the folder does not exist.
fn files(prefixes: &[&str]) -> Option<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden");
    if !folder.is_dir() {
        let on_ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(!on_ci, "the golden cases are missing: {}", folder.display());
        eprintln!("skipped: no golden cases at {}", folder.display());
        return None;
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            prefixes.iter().any(|prefix| name.starts_with(prefix))
        })
        .collect();
    files.sort();
    Some(files)
}

/// Runs cases; returns how many comparisons passed, and what was unsupported.
fn run(files: &[PathBuf]) -> (usize, Vec<Row>) {
    let mut failures = Vec::new();
    let mut unsupported = Vec::new();
    let summary = verify(files, &Device::flex(), &mut |row| {
        let ratio = row.ratio().unwrap_or(f64::NAN);
        println!(
            "{} {}: {:?} of {:?} ({ratio:.3}), {:?}",
            row.case, row.run, row.error, row.tolerance, row.outcome
        );
        let name = format!("{} {}", row.case, row.run);
        match &row.outcome {
            Outcome::Passed | Outcome::Informational => {}
            Outcome::Unsupported(what) => unsupported.push(Row {
                case: row.case.clone(),
                run: row.run.clone(),
                error: None,
                tolerance: None,
                tensor: None,
                outcome: Outcome::Unsupported(what.clone()),
            }),
            other => failures.push(format!(
                "{name}: {:?} of {:?}, {other:?}",
                row.error, row.tolerance
            )),
        }
    });
    let summary = summary.unwrap();
    println!("{summary:?}");
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(
        (summary.failed, summary.unsupported),
        (0, unsupported.len())
    );
    (summary.passed, unsupported)
}

/// Checks a kind: this many comparisons pass, this many are unsupported, all of those for reasons in `reasons`.
fn check(prefixes: &[&str], passed: usize, unsupported: usize, reasons: &[&str]) {
    let Some(files) = files(prefixes) else {
        return;
    };
    let (got, rows) = run(&files);
    for row in &rows {
        let Outcome::Unsupported(what) = &row.outcome else {
            unreachable!("only unsupported rows are kept");
        };
        let known = reasons.iter().any(|reason| what.contains(reason));
        assert!(known, "{} {}: {what}", row.case, row.run);
    }
    assert_eq!((got, rows.len()), (passed, unsupported));
}

#[test]
fn schedules() {
    check(&["schedule"], 6, 0, &[]);
}

#[test]
fn networks() {
    check(&["network"], 28, 0, &[]);
}

#[test]
fn teacher_loss() {
    check(&["edm_loss"], 6, 0, &[]);
}

#[test]
fn solvers() {
    check(
        &["solver_basic", "solver_d", "solver_i", "solver_u"],
        172,
        0,
        &[],
    );
}

#[test]
fn students() {
    check(&["solver_student"], 9, 0, &[]);
}

#[test]
fn solvers_with_exact_denoisers() {
    check(&["solver_analytic"], 220, 0, &[]);
}

#[test]
fn searches_for_levels() {
    check(&["gits"], 48, 0, &[]);
}

#[test]
fn distillation() {
    check(&["train"], 90, 0, &[]);
}

#[test]
fn metrics() {
    check(&["metrics"], 9, 0, &[]);
}

#[test]
fn noise() {
    check(&["noise"], 8, 0, &[]);
}

#[test]
fn foreign_files() {
    check(&["ckpt", "pickle"], 41, 0, &[]);
}

#[test]
fn weights_alone_are_no_case() {
    if let Some(files) = files(&["weights"]) {
        let error = verify(&files, &Device::flex(), &mut |row| panic!("{row:?}")).unwrap_err();
        assert!(error.to_string().contains("weights"), "{error}");
    }
}
