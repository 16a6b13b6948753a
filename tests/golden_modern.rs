//! The golden cases of feature networks (Inception, both halves of CLIP), of Stable Diffusion 2 and XL, and of adapters.

use burn::tensor::Device;
use fewstep::golden::{Outcome, verify};
use std::path::{Path, PathBuf};

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden-modern");
    if folder.is_dir() {
        return Some(folder);
    }
    let on_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!on_ci, "the golden cases are missing: {}", folder.display());
    eprintln!("skipped: no golden cases at {}", folder.display());
    None
}

/// Runs a case, of which so many rows must pass and no other come.
fn check(case: &str, rows: usize) {
    let Some(folder) = folder() else { return };
    let mut passed = 0;
    verify(&[folder.join(case)], &Device::flex(), &mut |row| {
        let (error, tolerance) = (row.error, row.tolerance);
        println!("{} {}: {error:?} of {tolerance:?}", row.case, row.run);
        assert!(matches!(row.outcome, Outcome::Passed), "{row:?}");
        passed += 1;
    })
    .unwrap();
    assert_eq!(passed, rows);
}

#[test]
fn inception() {
    check("inception.safetensors", 15);
}

/// Each as a folder and as a single file.
#[test]
fn latent_families() {
    check("sd2.safetensors", 18);
    check("sdxl.safetensors", 18);
}

#[test]
fn clip() {
    check("clip.safetensors", 6);
    check("openclip.safetensors", 3);
}

/// Two files, each with a row for its names, two for each of three scales and two for gradients.
#[test]
fn lora() {
    check("lora.safetensors", 18);
}
