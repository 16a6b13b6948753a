//! Golden cases that once did not pass, through the same code as `fewstep verify`.

use burn::tensor::Device;
use fewstep::golden::{Outcome, verify};
use std::path::{Path, PathBuf};

/// A case of the folder; `None` where the folder does not exist.
fn file(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden-open");
    if !folder.is_dir() {
        let on_ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(!on_ci, "the golden cases are missing: {}", folder.display());
        eprintln!("skipped: no golden cases at {}", folder.display());
        return None;
    }
    Some(folder.join(format!("{name}.safetensors")))
}

/// Checks a case: this many comparisons pass, and none does anything else.
fn check(name: &str, passed: usize) {
    let Some(path) = file(name) else { return };
    let mut others = Vec::new();
    let summary = verify(&[path], &Device::flex(), &mut |row| {
        println!(
            "{} {}: {:?} of {:?}, {:?}",
            row.case, row.run, row.error, row.tolerance, row.outcome
        );
        if !matches!(row.outcome, Outcome::Passed) {
            others.push(format!("{} {}: {:?}", row.case, row.run, row.outcome));
        }
    });
    assert!(others.is_empty(), "{others:#?}");
    assert_eq!(summary.unwrap().passed, passed);
}

#[test]
fn thresholding_beside_noise_prediction_does_nothing() {
    check("train_sfd_dpmpp2_eps_thr", 10);
}

#[test]
fn a_checkpoint_beside_a_folder_with_old_names() {
    check("ckpt_sd", 8);
}

#[test]
fn a_folder_with_old_names_only() {
    check("diffusers_sd", 12);
}

#[test]
fn a_teacher_of_data_prediction_without_thresholding() {
    check("latent_train_sd_dpmpp2_x0", 10);
}
