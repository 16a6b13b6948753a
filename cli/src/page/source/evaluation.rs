//! What `fewstep evaluate --json` printed.

use super::place::name;
use super::protocol::Protocol;
use crate::screen::failure::wrong;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A number, and how sure it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Its key in JSON.
    pub key: String,
    pub value: f64,
    /// Half of its error bar, if there is one.
    pub error: Option<f64>,
}

impl Score {
    /// For people.
    pub fn title(&self) -> String {
        match self.key.as_str() {
            "frechet" => "Frechet distance".into(),
            "kernel" => "kernel distance".into(),
            "clip" => "CLIP score".into(),
            "paired" => "distance to the teacher's images (rms)".into(),
            "latents" => "distance to the teacher's latents (rms)".into(),
            other => other.replace(['_', '-'], " "),
        }
    }
}

/// A measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// What it is called on the page.
    pub name: String,
    /// The file that it was read from.
    pub from: Option<PathBuf>,
    /// What was measured.
    pub file: String,
    /// SHA-256 of the model.
    pub hash: Option<String>,
    /// Network calls an image.
    pub evaluations: Option<u64>,
    /// How it was sampled.
    pub sampling: Option<String>,
    /// Images behind the numbers.
    pub images: Option<u64>,
    /// The network of features and its hash.
    pub features: Option<(String, String)>,
    /// Parts of the images that error bars come from.
    pub blocks: Option<u64>,
    pub scores: Vec<Score>,
    pub protocol: Option<Protocol>,
}

/// Numbers that stand at the top and are measurements.
const SCORES: [&str; 6] = [
    "frechet",
    "kernel",
    "precision",
    "recall",
    "density",
    "coverage",
];

impl Evaluation {
    /// Reads a file; `None` if it is JSON of something else.
    ///
    /// # Errors
    /// It cannot be read, or is no JSON.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = fs_err::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        let value: Value = serde_json::from_str(&text).map_err(|e| {
            let path = path.display();
            wrong(format!(
                "{path} is no JSON, as `fewstep evaluate --json` prints it: {e}"
            ))
        })?;
        Ok(value.as_object().and_then(Self::of).map(|found| Self {
            name: name(path),
            from: Some(path.to_path_buf()),
            ..found
        }))
    }

    /// What the answer of `evaluate` says; `None` if it is none.
    pub fn of(facts: &Map<String, Value>) -> Option<Self> {
        let text = |key: &str| facts.get(key).and_then(Value::as_str).map(String::from);
        let file = text("file")?;
        let blocks = facts.get("blocks").and_then(Value::as_object);
        let count = blocks.and_then(|blocks| blocks.get("count")?.as_u64());
        let error = |key: &str| {
            let deviation = blocks?.get(key)?.get("deviation")?.as_f64()?;
            Some(deviation / (count? as f64).sqrt())
        };
        let mut scores = Vec::new();
        let blocks_have = |key: &str| blocks.is_some_and(|blocks| blocks.contains_key(key));
        for (key, value) in facts {
            let whole = value
                .as_f64()
                .filter(|_| SCORES.contains(&key.as_str()) || blocks_have(key));
            // With a spread of their own.
            let spread = value.get("deviation").or_else(|| value.get("error"));
            let own = value.get("mean").and_then(Value::as_f64).zip(spread);
            let score = match (whole, own) {
                (Some(value), _) if key != "images" && key != "count" => (value, error(key)),
                (None, Some((mean, deviation))) => (mean, deviation.as_f64()),
                _ => continue,
            };
            scores.push(Score {
                key: key.clone(),
                value: score.0,
                error: score.1.filter(|error| error.is_finite()),
            });
        }
        let paired = facts.get("paired");
        for (key, of) in [
            ("paired", paired),
            ("latents", paired.and_then(|p| p.get("latents"))),
        ] {
            if let Some(rms) = of.and_then(|of| of.get("rms")?.as_f64()) {
                scores.push(Score {
                    key: key.into(),
                    value: rms,
                    error: None,
                });
            }
        }
        scores.sort_by_key(|score| {
            SCORES
                .iter()
                .position(|key| *key == score.key)
                .unwrap_or(SCORES.len())
        });
        let features = text("features_file").zip(text("features"));
        (!scores.is_empty()).then(|| Self {
            name: file.clone(),
            from: None,
            file,
            hash: text("sha256"),
            evaluations: facts.get("nfe").and_then(Value::as_u64),
            sampling: text("sampling"),
            images: facts.get("images").and_then(Value::as_u64),
            features,
            blocks: count,
            scores,
            protocol: Protocol::of(facts),
        })
    }

    /// One of its numbers.
    pub fn score(&self, key: &str) -> Option<&Score> {
        self.scores.iter().find(|score| score.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_have_their_error_bars() {
        let facts = json!({
            "file": "student.safetensors", "sha256": "ab", "nfe": 2, "images": 500, "frechet": 5.0, "density": 0.5,
            "nearest": 5, "images_per_second": 9.0, "paired": {"rms": 0.25, "l1": 0.1, "latents": {"rms": 0.5, "l1": 0.4}},
            "inception_score": {"mean": 7.0, "deviation": 0.5}, "clip": {"mean": 31.0, "error": 0.1, "images": 500},
            "blocks": {"count": 4, "images": 125, "frechet": {"mean": 6.0, "deviation": 0.4, "values": []}},
        });
        let found = Evaluation::of(facts.as_object().unwrap()).unwrap();
        let scores = found.scores.iter();
        let scores: Vec<_> = scores.map(|s| (s.key.as_str(), s.value, s.error)).collect();
        assert_eq!(
            scores,
            [
                ("frechet", 5.0, Some(0.2)),
                ("density", 0.5, None),
                ("clip", 31.0, Some(0.1)),
                ("inception_score", 7.0, Some(0.5)),
                ("paired", 0.25, None),
                ("latents", 0.5, None),
            ]
        );
        assert_eq!((found.evaluations, found.blocks), (Some(2), Some(4)));
        assert_eq!(
            Evaluation::of(json!({"images": 3}).as_object().unwrap()),
            None
        );
    }
}
