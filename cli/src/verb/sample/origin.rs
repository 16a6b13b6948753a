//! What made the files of a folder: the same again may be added to them, and nothing else.

use crate::run::recipe::first_difference;
use crate::screen::failure::wrong;
use anyhow::Context as _;
use fewstep::model::{hash_bytes, write_atomically};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The file in a folder of pictures, or of latents, that says what made them.
pub const PICTURES: &str = "sample.json";
pub const LATENTS: &str = "latents.json";

/// Everything that a file depends on besides its seed, and this program's version. No batch, no threads, no paths.
#[derive(Clone, Debug)]
pub struct Origin {
    facts: Map<String, Value>,
}

impl Origin {
    /// What the files are made by.
    pub fn new(facts: Value) -> Self {
        let mut facts = match facts {
            Value::Object(facts) => facts,
            other => Map::from_iter([("facts".to_string(), other)]),
        };
        facts.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        Self { facts }
    }

    /// The same, of pictures that are made of latents.
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.facts.insert(key.into(), value);
        self
    }

    /// A short name of it, which files carry.
    pub fn hash(&self) -> String {
        hash_bytes(Value::Object(self.facts.clone()).to_string().as_bytes())
    }

    /// Writes it into a folder.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&self.facts).context("cannot write JSON")?;
        Ok(write_atomically(path, format!("{text}\n").as_bytes())?)
    }

    /// Refuses a folder in which another origin is written.
    pub fn check(&self, path: &Path) -> anyhow::Result<()> {
        let Ok(text) = std::fs::read(path) else {
            return Ok(());
        };
        let before: Value = serde_json::from_slice(&text).unwrap_or_default();
        let now = Value::Object(self.facts.clone());
        let Some((key, before, now)) = first_difference(&before, &now) else {
            return Ok(());
        };
        let folder = path.parent().unwrap_or(path).display();
        let what = match key.as_str() {
            "" => "something that cannot be read any more".into(),
            "model" => format!("another model (SHA-256 {before}, now {now})"),
            _ => format!("`{key}` = {before}, now {now}"),
        };
        Err(wrong(format!(
            "what is in {folder} was made with {what} ({}); name another folder with --out, or add --overwrite to replace the \
             files of these seeds",
            path.display()
        )))
    }
}

/// Refuses a file of a wanted seed that was not made by the same.
pub fn foreign(file: &Path) -> anyhow::Error {
    wrong(format!(
        "{} was made by another model or version, or with other settings; name another folder with --out, or add --overwrite \
         to replace the files of these seeds",
        file.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(PICTURES);
        let origin = Origin::new(json!({"model": "a", "sampling": {"steps": 3}}));
        origin.check(&path).unwrap();
        origin.write(&path).unwrap();
        origin.check(&path).unwrap();
        let refused = |facts: Value| {
            let origin = Origin::new(facts);
            origin.check(&path).unwrap_err().to_string()
        };
        let other = refused(json!({"model": "b", "sampling": {"steps": 3}}));
        assert!(other.contains("another model"), "{other}");
        let steps = refused(json!({"model": "a", "sampling": {"steps": 4}}));
        assert!(steps.contains("`sampling.steps` = 3, now 4"), "{steps}");
        assert!(steps.contains("--overwrite"), "{steps}");
        assert_ne!(origin.hash(), origin.clone().with("class", json!(1)).hash());
        std::fs::write(&path, "{").unwrap();
        assert!(origin.check(&path).is_err());
    }
}
