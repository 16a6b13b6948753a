//! What runs were found to be, kept so that nothing is measured twice.

use crate::screen::failure::wrong;
use anyhow::Context as _;
use fs_err::OpenOptions;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file of all results, in the folder of the sweeps.
const FILE: &str = "results.jsonl";

/// What ends a line that was never whole.
const BROKEN: &str = " (broken off)";

/// Everything that the figures depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// Recipe or samplers.
    pub work: serde_json::Value,
    /// SHA-256 of the teacher's file.
    pub teacher: String,
    /// SHA-256 of the feature network's file; empty for a latent teacher.
    pub features: String,
    /// SHA-256 of the file of moments that are compared with; empty for a latent teacher.
    pub reference: String,
    /// Images behind each Frechet distance.
    pub images: u64,
    /// Seeds behind each paired distance.
    pub pairs: u64,
    /// Trajectories behind the cosines of directions.
    pub directions: u64,
    /// Of a latent teacher, what it is told, decoded and looked at with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latent: Option<serde_json::Value>,
}

/// The images of one number of network calls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sample {
    /// Network calls an image.
    pub evaluations: usize,
    /// To the reference, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frechet: Option<f64>,
    /// Root mean square difference to the teacher's image of the same seed; of latent models to its latents.
    pub paired: f64,
    /// Of latent models, that of the pictures, where they were decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<f64>,
    /// CLIP score of the pictures, if there was a model for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
}

/// A run's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Measured {
    /// What it is the result of.
    pub identity: Identity,
    /// For each number of network calls.
    pub samples: Vec<Sample>,
    /// At each level of the student: the level, and the mean cosine between its direction and the teacher's.
    pub directions: Vec<[f64; 2]>,
    /// While it was trained: trajectories so far, and the distance of the last step.
    pub curve: Vec<[f64; 2]>,
    /// Network forwards of the training, a backward pass counted as two.
    pub forwards: u64,
    /// Seconds of training.
    pub seconds: f64,
}

impl Measured {
    /// Its line in the file of results.
    pub fn line(&self) -> anyhow::Result<String> {
        serde_json::to_string(self).context("cannot write the result")
    }
}

/// All results of a folder of sweeps, a line each. A result belongs to what was run, not to a sweep: two sweeps that have
/// the same run do it once, and the lines of another machine may be added by hand.
pub struct Results {
    path: PathBuf,
    known: HashMap<String, Measured>,
}

impl Results {
    /// The results in a folder, and those in `others`.
    ///
    /// The last line of a run counts. An end without a line break, as after a power cut or while another process writes, is
    /// left out; any line that cannot be read is an error.
    pub fn read(folder: &Path, others: &[PathBuf]) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let own = path.exists().then_some(&path);
        let mut results = Self {
            path: path.clone(),
            known: HashMap::new(),
        };
        for file in others.iter().chain(own) {
            let text = fs_err::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
            let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
            for (at, line) in whole.lines().enumerate() {
                // What was left out when the next result came.
                if line.ends_with(BROKEN) {
                    continue;
                }
                let found: Measured = serde_json::from_str(line)
                    .with_context(|| format!("{}: line {} is no result", file.display(), at + 1))?;
                results.known.insert(key(&found.identity)?, found);
            }
        }
        Ok(results)
    }

    /// The result of a run, if there is one.
    pub fn find(&self, identity: &Identity) -> anyhow::Result<Option<&Measured>> {
        Ok(self.known.get(&key(identity)?))
    }

    /// Keeps a result. Other processes may write to the same file: a line is written at once.
    pub fn add(&mut self, measured: &Measured) -> anyhow::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        let line = measured.line()?;
        // A line that a power cut left without an end is not gone on with.
        let before = fs_err::read(&self.path).unwrap_or_default();
        let end = match before.last() {
            None | Some(b'\n') => String::new(),
            Some(_) => format!("{BROKEN}\n"),
        };
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        file.write_all(format!("{end}{line}\n").as_bytes())?;
        file.sync_all()?;
        let key = key(&measured.identity)?;
        self.known.insert(key, measured.clone());
        Ok(())
    }
}

/// What tells a run from others.
pub fn key(identity: &Identity) -> anyhow::Result<String> {
    serde_json::to_string(identity).context("cannot compare")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(seed: u64, frechet: f64) -> Measured {
        Measured {
            identity: Identity {
                work: serde_json::json!({ "seed": seed }),
                teacher: "a".into(),
                features: "b".into(),
                reference: "c".into(),
                images: 4,
                pairs: 5,
                directions: 0,
                latent: None,
            },
            samples: vec![Sample {
                evaluations: 2,
                frechet: Some(frechet),
                paired: 0.1,
                pixels: None,
                clip: None,
            }],
            directions: Vec::new(),
            curve: vec![[8.0, 0.25]],
            forwards: 6,
            seconds: 7.5,
        }
    }

    #[test]
    fn results_are_found_by_what_was_run() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = Results::read(folder.path(), &[]).unwrap();
        for (seed, frechet) in [(0, 1.0), (1, 2.0), (0, 3.0)] {
            results.add(&measured(seed, frechet)).unwrap();
        }
        let path = folder.path().join(FILE);
        // Cut off in the middle of a line.
        let mut text = fs_err::read_to_string(&path).unwrap();
        text.push_str("{\"identity\":");
        fs_err::write(&path, &text).unwrap();
        let other = tempfile::tempdir().unwrap();
        for results in [
            Results::read(folder.path(), &[]).unwrap(),
            Results::read(other.path(), std::slice::from_ref(&path)).unwrap(),
        ] {
            let find = |seed| results.find(&measured(seed, 0.0).identity).unwrap();
            assert_eq!(find(0), Some(&measured(0, 3.0)));
            assert_eq!(find(1), Some(&measured(1, 2.0)));
            assert_eq!(find(2), None);
        }
        results.add(&measured(2, 4.0)).unwrap();
        let results = Results::read(folder.path(), &[]).unwrap();
        assert_eq!(results.known.len(), 3);
        fs_err::write(&path, format!("{{}}\n{text}")).unwrap();
        let error = Results::read(folder.path(), &[]).err().unwrap().to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
