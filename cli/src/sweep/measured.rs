//! What a run was found to be, kept beside it so that it is not measured twice.

use crate::failure::wrong;
use crate::recipe::first_difference;
use anyhow::Context as _;
use fewstep::checkpoint::write_atomically;
use serde::{Deserialize, Serialize};
use std::path::Path;

const FILE: &str = "measured.json";

/// Everything that the figures depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// Recipe or samplers.
    pub work: serde_json::Value,
    /// SHA-256 of the teacher's file.
    pub teacher: String,
    /// SHA-256 of the feature network's file.
    pub features: String,
    /// Images behind the moments that are compared with.
    pub reference_images: u64,
    /// Images behind each Frechet distance.
    pub images: u64,
    /// Seeds behind each paired distance.
    pub pairs: u64,
    /// Trajectories behind the cosines of directions.
    pub directions: u64,
}

/// The images of one number of network calls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sample {
    /// Network calls an image.
    pub evaluations: usize,
    /// To the reference.
    pub frechet: f64,
    /// Root mean square difference to the teacher's image of the same seed.
    pub paired: f64,
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
    /// Network forwards of the training, a backward pass counted as two.
    pub forwards: u64,
    /// Seconds of training.
    pub seconds: f64,
}

impl Measured {
    /// The result in a run's folder, if there is one, and of this very run. One of another run is an error, or with
    /// `overwrite` none.
    pub fn read(
        folder: &Path,
        identity: &Identity,
        overwrite: bool,
    ) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let shown = path.display();
        let text = fs_err::read_to_string(&path)?;
        let found: Result<Self, _> = serde_json::from_str(&text);
        let reason = match found {
            Ok(found) => match difference(&found.identity, identity)? {
                None => return Ok(Some(found)),
                Some((key, before, now)) => {
                    format!("was made with `{key}` = {before}, the sweep now says {now}")
                }
            },
            Err(error) => format!("cannot be read: {error}"),
        };
        if overwrite {
            return Ok(None);
        }
        Err(wrong(format!(
            "{shown} {reason}; name another folder with --out, or throw away what does not fit with --overwrite"
        )))
    }

    /// Keeps it.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs_err::create_dir_all(folder)?;
        let text = serde_json::to_string_pretty(self).context("cannot write the result")?;
        Ok(write_atomically(&folder.join(FILE), text.as_bytes())?)
    }
}

fn difference(
    before: &Identity,
    now: &Identity,
) -> anyhow::Result<Option<(String, String, String)>> {
    let json = |identity: &Identity| serde_json::to_value(identity).context("cannot compare");
    Ok(first_difference(&json(before)?, &json(now)?))
}
