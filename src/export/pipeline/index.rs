//! `model_index.json`: which parts a pipeline has, and which class each is.

use crate::Error;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The file.
pub(super) const NAME: &str = "model_index.json";
/// Pipelines from a text to a picture.
const FIRST: &str = "StableDiffusionPipeline";
const XL: &str = "StableDiffusionXLPipeline";

/// The table of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Index(Map<String, Value>);

impl Index {
    /// That of a folder. One without it is taken for what diffusers makes of such parts.
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::Malformed`] if it is no table or no pipeline that makes pictures of texts.
    pub(super) fn of(base: &Path, xl: bool) -> Result<Self, Error> {
        let path = base.join(NAME);
        let usual = if xl { XL } else { FIRST };
        if !path.is_file() {
            return Ok(Self::made(base, usual));
        }
        let broken = |reason: String| Error::malformed(&path, "index of a pipeline", reason);
        let text = std::fs::read(&path).map_err(Error::file("read", &path))?;
        let table: Value = serde_json::from_slice(&text).map_err(|e| broken(e.to_string()))?;
        let Value::Object(table) = table else {
            return Err(broken("it is no table".into()));
        };
        let class = table
            .get("_class_name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if class.contains("XL") != xl {
            return Err(broken(format!(
                "it is of a {class}, and the student's U-Net belongs into a {usual}: name the folder of its base"
            )));
        }
        Ok(Self(table))
    }

    fn made(base: &Path, class: &str) -> Self {
        let mut table = Map::new();
        let mut put = |key: &str, value: Value| table.insert(key.into(), value);
        put("_class_name", json!(class));
        put("_diffusers_version", json!(super::stock::WRITTEN_FOR));
        let second = ["transformers", "CLIPTextModelWithProjection"];
        for (part, of) in [
            ("vae", ["diffusers", "AutoencoderKL"]),
            ("text_encoder", ["transformers", "CLIPTextModel"]),
            ("tokenizer", ["transformers", "CLIPTokenizer"]),
            ("text_encoder_2", second),
            ("tokenizer_2", ["transformers", "CLIPTokenizer"]),
        ] {
            if base.join(part).is_dir() {
                put(part, json!(of));
            }
        }
        match class {
            XL => put("force_zeros_for_empty_prompt", json!(true)),
            _ => {
                put("safety_checker", json!([null, null]));
                put("feature_extractor", json!([null, null]));
                put("requires_safety_checker", json!(false))
            }
        };
        Self(table)
    }

    /// Names of the folders of its parts but the U-Net and the scheduler.
    pub(super) fn parts(&self) -> impl Iterator<Item = &str> {
        let names = self.0.iter().filter(|(_, value)| value.is_array());
        let names = names.map(|(name, _)| name.as_str());
        names.filter(|name| !["unet", "scheduler"].contains(name))
    }

    /// The class of the pipeline.
    pub(super) fn class(&self) -> &str {
        self.0
            .get("_class_name")
            .and_then(Value::as_str)
            .unwrap_or(FIRST)
    }

    /// The same with a U-Net and a scheduler of this class.
    pub(super) fn with(mut self, scheduler: [&str; 2]) -> Self {
        self.0
            .insert("unet".into(), json!(["diffusers", "UNet2DConditionModel"]));
        self.0.insert("scheduler".into(), json!(scheduler));
        self
    }

    /// Who made the scheduler that it names, and its class.
    pub(super) fn scheduler(&self) -> Option<[String; 2]> {
        let said = self.0.get("scheduler")?;
        let text = |i: usize| said[i].as_str().map(str::to_string);
        Some([text(0)?, text(1)?])
    }

    pub(super) fn json(&self) -> Value {
        Value::Object(self.0.clone())
    }
}
