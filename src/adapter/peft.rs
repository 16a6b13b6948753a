//! What files and the settings beside them say of alpha in words: PEFT has it in no tensor.

use crate::Error;
use crate::container::Checkpoint;
use serde_json::Value;
use std::path::Path;

/// The metadata key of diffusers.
const KEY: &str = "lora_adapter_metadata";
/// PEFT's own file, and the one beside it.
const FILE: &str = "adapter_model.safetensors";
const SETTINGS: &str = "adapter_config.json";

/// The settings of PEFT, if a file has them.
#[derive(Debug, Default)]
pub(super) struct Peft {
    settings: Value,
    /// What stands before all keys, such as `unet.`.
    start: &'static str,
}

impl Peft {
    /// What a file says in its header, or in the settings beside it.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a kind of adapter that is not built here.
    pub(super) fn of(file: &Checkpoint) -> Result<Self, Error> {
        let path = file.path();
        let found = match file.metadata.get(KEY) {
            Some(text) => Self {
                settings: serde_json::from_str(text).unwrap_or_default(),
                start: "unet.",
            },
            None if path.file_name().is_some_and(|name| name == FILE) => Self {
                settings: beside(path),
                start: "",
            },
            None => Self::default(),
        };
        if found.get("use_dora") == &Value::Bool(true) {
            let reason =
                "it is of the kind DoRA; of adapters only plain LoRA, two factors a layer, is read";
            return Err(Error::malformed(path, "low-rank adapter", reason));
        }
        Ok(found)
    }

    fn get(&self, key: &str) -> &Value {
        &self.settings[format!("{}{key}", self.start)]
    }

    /// The scale of a layer of this rank; `layer` has `_` for every dot. `None` where nothing is said.
    pub(super) fn scale(&self, layer: &str, rank: usize) -> Option<f64> {
        let own = self.get("alpha_pattern").as_object().and_then(|patterns| {
            // A pattern is the end of a name.
            let mut fits = patterns.iter().filter(|(pattern, _)| {
                let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
                let pattern = pattern.replace(['.', '\\'], "_").replace("__", "_");
                layer == pattern || layer.ends_with(&format!("_{pattern}"))
            });
            fits.next()?.1.as_f64()
        });
        let alpha = own.or_else(|| self.get("lora_alpha").as_f64())?;
        let rank = rank as f64;
        Some(match self.get("use_rslora") == &Value::Bool(true) {
            true => alpha / rank.sqrt(),
            false => alpha / rank,
        })
    }
}

fn beside(path: &Path) -> Value {
    let text = std::fs::read(path.with_file_name(SETTINGS));
    let parsed = text.map(|text| serde_json::from_slice(&text).unwrap_or_default());
    parsed.unwrap_or_default()
}
