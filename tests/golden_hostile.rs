//! Broken and hostile golden cases: whatever a file says, it gives rows or an error, and no panic.

#[path = "support/victim.rs"]
mod victim;

use burn::tensor::Device;
use fewstep::Error;
use fewstep::golden::{Outcome, verify};
use serde_json::{Value, json};
use std::path::PathBuf;
use victim::{Victim, mutate, run};

#[test]
fn schedule_settings() {
    mutate("schedule", 5);
}

#[test]
fn network_settings() {
    mutate("network_song_tiny", 2);
}

#[test]
fn loss_settings() {
    mutate("edm_loss_song_tiny", 2);
}

#[test]
fn search_settings() {
    mutate("gits_song", 2);
}

#[test]
fn noise_settings() {
    mutate("noise_torch_cpu", 5);
}

#[test]
fn solver_settings() {
    mutate("solver_basic", 3);
}

#[test]
fn training_settings() {
    mutate("train_lr_drop_early", 1);
    mutate("train_second_stage", 1);
}

#[test]
fn foreign_file_settings() {
    mutate("ckpt_zip_tricky", 5);
}

#[test]
fn missing_and_misshapen_tensors() {
    for (name, tensors) in [
        (
            "schedule",
            ["out/polynomial_rho7_r0_N2", "in/sd/t_query"].as_slice(),
        ),
        ("ckpt_zip_tricky", &["out/transposed", "out/bool"]),
        (
            "network_song_tiny",
            &[
                "in/s0/x",
                "in/s0/sigma",
                "out/s0_nostep/D",
                "in/grad/target",
                "out/grad/loss",
            ],
        ),
        (
            "edm_loss_song_tiny",
            &["in/y", "in/rnd_normal", "out/gradnorm"],
        ),
        (
            "noise_torch_cpu",
            &[
                "out/seed0/17",
                "out/seed1/sequence/latent",
                "out/seed1/sequence/label",
            ],
        ),
        (
            "solver_basic",
            &["in/latents", "in/t_steps/N5", "out/euler_N5/traj"],
        ),
        (
            "gits_song",
            &[
                "in/latents",
                "in/t_steps",
                "out/cost/dev",
                "out/dp/dev_nfe3_c1.15",
            ],
        ),
        (
            "train_lr_drop_early",
            &[
                "in/it0/latents",
                "out/it0/t_steps",
                "out/it0/gnorm",
                "out/it0/student",
            ],
        ),
    ] {
        let victim = Victim::new(name);
        for missing in tensors {
            let path = victim.write(&victim.description, |n| n != *missing);
            assert!(run(&path).unwrap().failed > 0, "{name} without {missing}");
            let path = victim.write_with_stub(missing);
            assert!(
                run(&path).unwrap().failed > 0,
                "{name} with a stub for {missing}"
            );
        }
    }
}

#[test]
fn a_wrong_number_fails() {
    let victim = Victim::new("solver_basic");
    let mut bytes = victim.bytes.clone();
    let start = bytes.len() - 64;
    let path = victim.folder.path().join("solver_basic.safetensors");
    // The last tensor of the file: one value becomes not a number.
    bytes[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let summary = run(&path).unwrap();
    assert_eq!((summary.passed, summary.failed), (17, 1));
    assert!(summary.worst.unwrap().ratio.is_nan());
}

#[test]
fn what_is_no_case_is_an_error_row() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let whole = Victim::new("schedule").bytes;
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    for (name, bytes) in [
        ("empty.safetensors", &b""[..]),
        (
            "garbage.safetensors",
            b"not a tensor in sight, but long enough",
        ),
        ("huge.safetensors", &huge),
        ("truncated.safetensors", &whole[..whole.len() - 8]),
        ("header.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
    ] {
        let path = write(name, bytes);
        let mut messages = Vec::new();
        let summary = verify(&[path], &Device::flex(), &mut |row| match &row.outcome {
            Outcome::Error(error) => messages.push(error.to_string()),
            other => panic!("{name}: {other:?}"),
        });
        assert_eq!(summary.unwrap().failed, 1);
        assert!(messages[0].contains(name), "{messages:?}");
    }
}

#[test]
fn unknown_kinds_are_unsupported() {
    let victim = Victim::new("schedule");
    let mut description = victim.description.clone();
    description["kind"] = json!("quantum");
    let summary = run(&victim.write(&description, |_| true)).unwrap();
    assert_eq!((summary.unsupported, summary.failed), (1, 0));
    description["kind"] = json!(null);
    let summary = run(&victim.write(&description, |_| true)).unwrap();
    assert_eq!((summary.unsupported, summary.failed), (0, 1));
}

#[test]
fn noise_of_another_generator_is_not_taken_for_ours() {
    let victim = Victim::new("noise_torch_cpu");
    let with = |generator: &str, blocks: Value| {
        let mut description = victim.description.clone();
        description["config"]["generator"] = json!(generator);
        description["config"]["blocks"] = blocks;
        let summary = run(&victim.write(&description, |_| true)).unwrap();
        (summary.passed, summary.failed, summary.unsupported)
    };
    assert_eq!(with("torch-cpu", json!(null)), (8, 0, 0));
    assert_eq!(with("torch-cuda", json!(864)), (0, 8, 0));
    assert_eq!(with("torch-cuda", json!(0)), (0, 1, 0));
    assert_eq!(with("torch-mps", json!(null)), (0, 0, 1));
}

#[test]
fn paths_without_cases_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let verify = |path: PathBuf| verify(&[path], &Device::flex(), &mut |_| ());
    let empty = verify(folder.path().to_path_buf()).unwrap_err();
    assert!(matches!(empty, Error::InvalidValue { .. }), "{empty}");
    let missing = verify(folder.path().join("nothing")).unwrap_err();
    assert!(matches!(missing, Error::File { .. }), "{missing}");
}
