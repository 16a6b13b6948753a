//! Every golden case of latent models, through the same code as `fewstep verify`.

use burn::tensor::Device;
use fewstep::golden::{Outcome, verify};
use std::path::{Path, PathBuf};

/// The files of the golden folder whose names start with one of `prefixes`; `None` where the folder does not exist.
fn files(prefixes: &[&str]) -> Option<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden-latent");
    if !folder.is_dir() {
        let on_ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(!on_ci, "the golden cases are missing: {}", folder.display());
        eprintln!("skipped: no golden cases at {}", folder.display());
        return None;
    }
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<PathBuf> = entries
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

/// Checks cases: this many comparisons pass, none fails, and exactly these rows are unsupported.
fn check(prefixes: &[&str], passed: usize, unsupported: &[&str]) {
    let Some(files) = files(prefixes) else {
        return;
    };
    let (mut failures, mut missing) = (Vec::new(), Vec::new());
    let summary = verify(&files, &Device::flex(), &mut |row| {
        let ratio = row.ratio().unwrap_or(f64::NAN);
        println!(
            "{} {}: {:?} of {:?} ({ratio:.3}), {:?}",
            row.case, row.run, row.error, row.tolerance, row.outcome
        );
        let name = format!("{} {}", row.case, row.run);
        match &row.outcome {
            Outcome::Passed => {}
            Outcome::Unsupported(_) => missing.push(name.trim().to_string()),
            other => failures.push(format!("{name}: {:?}, {other:?}", row.error)),
        }
    });
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(missing, unsupported);
    assert_eq!(summary.unwrap().passed, passed);
}

#[test]
fn networks() {
    check(&["latent_network"], 20, &[]);
}

#[test]
fn denoisers() {
    check(&["latent_denoiser"], 26, &[]);
}

#[test]
fn solvers() {
    check(&["latent_solver"], 36, &[]);
}

#[test]
fn distillation() {
    check(&["latent_train"], 50, &[]);
}

#[test]
fn paths_of_another_library() {
    check(&["guidance_timesteps"], 8, &[]);
}

#[test]
fn names_and_shapes() {
    check(&["layout"], 5, &[]);
    check(&["weights_ldm", "weights_sd"], 3, &[]);
}

#[test]
fn checkpoints() {
    check(&["ckpt"], 19, &[]);
}

#[test]
fn folders_of_another_library() {
    check(&["diffusers"], 14, &[]);
}
