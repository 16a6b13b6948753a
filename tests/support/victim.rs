//! Golden cases that are spoilt on purpose.

// Each test uses a part of it.
#![allow(dead_code)]

use burn::tensor::Device;
use fewstep::Error;
use fewstep::golden::{Outcome, Summary, verify};
use safetensors::tensor::{SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A bundled case, cut down to few runs so that it is quick, in a folder where it can be changed.
pub struct Victim {
    pub folder: tempfile::TempDir,
    pub bytes: Vec<u8>,
    pub description: Value,
    pub name: String,
}

impl Victim {
    pub fn new(name: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let others = ["weights_song_tiny.safetensors", "ckpt_zip_tricky.pt"];
        Self::from(&source, name, &others)
    }

    /// One of the cases of latent models, which are not bundled; `None` where they are not at hand.
    pub fn latent(name: &str, other: &str) -> Option<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden-latent");
        if !source.is_dir() {
            let on_ci = std::env::var("CI").as_deref() == Ok("true");
            assert!(!on_ci, "the golden cases are missing: {}", source.display());
            eprintln!("skipped: no golden cases at {}", source.display());
            return None;
        }
        Some(Self::from(&source, name, &[other]))
    }

    /// A case of a folder, with the files that it names.
    fn from(source: &Path, name: &str, others: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for other in others {
            std::fs::copy(source.join(other), folder.path().join(other)).unwrap();
        }
        let bytes = std::fs::read(source.join(format!("{name}.safetensors"))).unwrap();
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
    pub fn write(&self, description: &Value, keep: impl Fn(&str) -> bool) -> PathBuf {
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
    pub fn write_with_stub(&self, stub: &str) -> PathBuf {
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

pub fn run(path: &Path) -> Result<Summary, Error> {
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
pub fn mutate(name: &str, turns: usize) {
    mutate_victim(&Victim::new(name), turns);
}

pub fn mutate_victim(victim: &Victim, turns: usize) {
    let name = victim.name.as_str();
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
        "network_song",
        "latent_network",
        "text_encoder",
        "autoencoder",
    ];
    if !networks.iter().any(|network| name.starts_with(network)) {
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
