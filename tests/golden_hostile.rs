//! Broken and hostile golden cases: whatever a file says, it gives rows or an error, and no panic.

use burn::tensor::Device;
use fewstep::Error;
use fewstep::golden::{Outcome, Summary, verify};
use safetensors::tensor::{SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The folders with cases: the bundled ones, and those of latent models where they are at hand.
fn folders() -> [PathBuf; 2] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    [
        root.join("tests/golden"),
        root.join("../shared/golden-latent"),
    ]
}

/// A case, cut down to few runs so that it is quick, in a folder where it can be changed.
struct Victim {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    description: Value,
    name: String,
}

impl Victim {
    fn new(name: &str) -> Self {
        let find = |file: &str| {
            let mut all = folders().into_iter().map(|folder| folder.join(file));
            all.find(|path| path.exists())
        };
        let folder = tempfile::tempdir().unwrap();
        for other in [
            "weights_song_tiny.safetensors",
            "weights_clip_tiny.safetensors",
            "weights_vq_tiny.safetensors",
            "ckpt_zip_tricky.pt",
        ] {
            if let Some(path) = find(other) {
                std::fs::copy(path, folder.path().join(other)).unwrap();
            }
        }
        let bytes = std::fs::read(find(&format!("{name}.safetensors")).unwrap()).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let text = &header.metadata().as_ref().unwrap()["case"];
        let mut description: Value = serde_json::from_str(text).unwrap();
        for list in [
            "entries",
            "evals",
            "runs",
            "iterations_detail",
            "encode",
            "decode",
        ] {
            if let Some(list) = description["config"][list].as_array_mut() {
                list.truncate(1);
            }
        }
        Self {
            folder,
            bytes,
            description,
            name: name.to_string(),
        }
    }

    /// Writes the case with another description and without the tensors that `keep` refuses.
    fn write(&self, description: &Value, keep: impl Fn(&str) -> bool) -> PathBuf {
        let path = self
            .folder
            .path()
            .join(format!("{}.safetensors", self.name));
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let kept = tensors.tensors().into_iter().filter(|(n, _)| keep(n));
        let metadata = HashMap::from([("case".to_string(), description.to_string())]);
        let bytes = safetensors::serialize(kept, Some(metadata)).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes the case with one tensor replaced by a single number.
    fn write_with_stub(&self, stub: &str) -> PathBuf {
        let path = self
            .folder
            .path()
            .join(format!("{}.safetensors", self.name));
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let number = 1f32.to_le_bytes();
        let changed = tensors.tensors().into_iter().map(|(name, view)| {
            if name == stub {
                let one = TensorView::new(safetensors::Dtype::F32, vec![1], &number).unwrap();
                return (name, one);
            }
            (name, view)
        });
        let metadata = HashMap::from([("case".to_string(), self.description.to_string())]);
        let bytes = safetensors::serialize(changed, Some(metadata)).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn run(path: &Path) -> Result<Summary, Error> {
    verify(&[path.to_path_buf()], &Device::flex(), &mut |row| {
        // Rows of a broken case still say what they are about.
        assert!(!row.case.is_empty());
        if let Outcome::Passed = row.outcome {
            assert!(row.error.unwrap() <= row.tolerance.unwrap());
        }
    })
}

/// JSON pointers to every value below `value`; of long lists only to the first two entries.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, v)| pointers(v, format!("{at}/{key}"), found)),
        Value::Array(list) => list
            .iter()
            .take(2)
            .enumerate()
            .for_each(|(i, v)| pointers(v, format!("{at}/{i}"), found)),
        _ => {}
    }
    found.push(at);
}

/// Changes every setting of the case in turn, `turns` times; those of its network only in the case about networks.
fn mutate(name: &str, turns: usize) {
    let victim = Victim::new(name);
    let honest = run(&victim.write(&victim.description, |_| true)).unwrap();
    assert!(honest.passed > 0, "{honest:?}");
    let mut places = Vec::new();
    pointers(&victim.description["config"], "/config".into(), &mut places);
    pointers(
        &victim.description["tolerance"],
        "/tolerance".into(),
        &mut places,
    );
    let networks = [
        "network_song_tiny",
        "text_encoder_clip_tiny",
        "autoencoder_vq_tiny",
    ];
    if !networks.contains(&name) {
        places.retain(|place| !place.starts_with("/config/net/"));
    }
    // Said for readers only.
    places.retain(|place| !place.contains("measured") && !place.contains("optimizer"));
    if name.starts_with("train_") {
        // A trace takes long; every other setting will do.
        places = places.into_iter().step_by(2).collect();
    }
    assert!(places.len() > 10);
    let replacements = [
        json!(null),
        json!(-1),
        json!(1e300),
        json!(4_000_000_000u64),
        json!("in/y"),
        json!("../../no/such"),
        json!([]),
        json!([null, -3]),
        json!({}),
        json!(true),
        json!(0),
    ];
    let mut noticed = 0;
    for (i, place) in places.iter().enumerate() {
        // Few of the replacements each: all together would take minutes.
        for turn in 0..turns {
            let mut description = victim.description.clone();
            let replacement = &replacements[(turns * i + turn) % replacements.len()];
            *description.pointer_mut(place).unwrap() = replacement.clone();
            match run(&victim.write(&description, |_| true)) {
                Ok(summary) if summary == honest => {}
                _ => noticed += 1,
            }
        }
    }
    // Much in the description is for readers only.
    assert!(
        noticed > turns * places.len() / 4,
        "{noticed} of {}",
        places.len()
    );
}

#[test]
fn schedule_settings() {
    mutate("schedule", 5);
}

#[test]
fn network_settings() {
    mutate("network_song_tiny", 2);
}

#[test]
fn settings_of_latent_models() {
    if !folders()[1].is_dir() {
        let on_ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(!on_ci, "the golden cases of latent models are missing");
        eprintln!("skipped: no golden cases of latent models");
        return;
    }
    mutate("text_encoder_clip_tiny", 3);
    mutate("autoencoder_vq_tiny", 2);
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
