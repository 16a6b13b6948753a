//! Scripts that compare with Python libraries; they skip themselves where the library is not installed. `FEWSTEP_PYTHON` names
//! another Python.

use std::path::Path;
use std::process::Command;

/// Runs a script with our tool; panics unless it says that all is well or that something is not installed.
fn python(script: &str, says: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python");
    let program = env!("CARGO_BIN_EXE_fewstep");
    let python = std::env::var("FEWSTEP_PYTHON").unwrap_or_default();
    let python = if python.is_empty() {
        "python3"
    } else {
        &python
    };
    let run = Command::new(python)
        .arg(folder.join(script))
        .arg(program)
        .output();
    let Ok(output) = run else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(matches!(output.status.code(), Some(0 | 77)), "{text}");
    assert!(text.contains("skipped") || text.contains(says), "{text}");
}

#[test]
fn noise_is_pytorchs() {
    python("torch_noise.py", "passed");
}

#[test]
fn distances_are_those_of_pytorch_fid_and_torch_fidelity() {
    python("inception.py", "off by");
}

#[test]
fn clip_scores_are_those_of_transformers() {
    python("clip.py", "off by");
}

/// Folders of Stable Diffusion 1, 2 and XL in the default call of the plain pipeline, and with our scheduler.
#[test]
fn diffusers_samples_from_our_folders_what_we_do() {
    python("folder.py", "all folders are their students");
}

#[test]
fn the_scheduler_of_the_package_steps_as_diffusers_own() {
    python("../../python/tests/test_scheduler.py", "passed");
}
