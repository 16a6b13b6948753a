//! Configurations of diffusers and transformers, checked key by key.

pub(super) mod key;

use crate::Error;
use key::{Rule, Table};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Reads a configuration; null if there is none.
///
/// # Errors
/// [`Error::File`], or [`Error::Malformed`] if it is no table.
pub(super) fn read(path: &Path) -> Result<Value, Error> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let malformed = |reason: String| Error::malformed(path, WHAT, reason);
    let text = std::fs::read(path).map_err(Error::file("read", path))?;
    // Python writes infinite numbers as a word that JSON does not have.
    let text = String::from_utf8_lossy(&text).replace("-Infinity", "null");
    let settings: Value = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
    match settings.is_object() {
        true => Ok(settings),
        false => Err(malformed("it is no table".into())),
    }
}

const WHAT: &str = "configuration of a model that is built here";

/// Checks every key of a configuration against its table; `path` is its file.
///
/// # Errors
/// [`Error::Malformed`] that names the key, its value and what it may be.
pub(super) fn check(settings: &Value, table: Table, path: &Path) -> Result<(), Error> {
    let none = Map::new();
    for (key, said) in settings.as_object().unwrap_or(&none) {
        let rule = table.iter().find(|(name, _)| name == key);
        let wrong = match rule.map(|(_, rule)| rule) {
            // Off, but for the block without which a network is another.
            _ if said.is_null() && key != "mid_block_type" => continue,
            Some(Rule::Read | Rule::Tensors | Rule::Any(_)) => continue,
            Some(Rule::Only(values)) if values.iter().any(|value| same(said, &parsed(value))) => {
                continue;
            }
            Some(Rule::Each(kinds)) if each(said, kinds) => continue,
            Some(Rule::Only([only, ..])) => format!("only {only} is built here"),
            Some(Rule::Only([])) => "it is not built here".into(),
            Some(Rule::Each(kinds)) => {
                format!("only lists of {} are built here", kinds.join(" and "))
            }
            None if key.starts_with('_') => continue,
            None => "this key is not known, and may change what the model is".into(),
        };
        return Err(refused(path, key, said, wrong));
    }
    Ok(())
}

/// Checks that a configuration says of a size what the tensors do; who says nothing agrees.
///
/// # Errors
/// [`Error::Malformed`] that names the key and both values.
pub(super) fn agrees(
    settings: &Value,
    key: &str,
    tensors: impl Into<Value>,
    path: &Path,
) -> Result<(), Error> {
    let (said, tensors) = (&settings[key], tensors.into());
    if said.is_null() || same(said, &tensors) {
        return Ok(());
    }
    let wrong = format!("its tensors have {tensors}");
    Err(refused(path, key, said, wrong))
}

/// The error for a key.
pub(super) fn refused(path: &Path, key: &str, said: &Value, wrong: impl AsRef<str>) -> Error {
    Error::malformed(
        path,
        WHAT,
        format!("it has {key} = {said}; {}", wrong.as_ref()),
    )
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Whether two values are the same, 1 and 1.0 included.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some() && a.as_f64() == b.as_f64()
}

fn each(said: &Value, kinds: &[&str]) -> bool {
    let list = said.as_array().map(Vec::as_slice);
    list.is_some_and(|list| {
        list.iter()
            .all(|kind| kinds.iter().any(|k| *kind == json!(k)))
    })
}

#[cfg(test)]
mod tests {
    use super::key::UNET;
    use super::*;

    #[test]
    fn what_is_not_acted_on_must_be_neutral() {
        let path = Path::new("config.json");
        let fine = json!({
            "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.42.1", "norm_eps": 1e-05,
            "mid_block_scale_factor": 1.0, "class_embed_type": null, "from_the_future": null, "sample_size": 7,
            "down_block_types": ["DownBlock2D"],
        });
        check(&fine, UNET, path).unwrap();
        check(&Value::Null, UNET, path).unwrap();
        for (key, value, word) in [
            ("class_embed_type", json!("timestep"), "only null"),
            ("conv_in_kernel", json!(1), "only 3"),
            ("from_the_future", json!(false), "not known"),
            (
                "down_block_types",
                json!(["KDownBlock2D"]),
                "only lists of CrossAttnDownBlock2D and",
            ),
            ("down_block_types", json!("DownBlock2D"), "only lists"),
            (
                "mid_block_type",
                json!(null),
                "only \"UNetMidBlock2DCrossAttn\"",
            ),
            (
                "_class_name",
                json!("UNet2DModel"),
                "only \"UNet2DConditionModel\"",
            ),
        ] {
            let mut settings = fine.clone();
            settings[key] = value.clone();
            let said = check(&settings, UNET, path).unwrap_err().to_string();
            let expected = format!("{key} = {value}");
            assert!(said.contains(&expected) && said.contains(word), "{said}");
            assert!(said.starts_with("config.json"), "{said}");
        }
        agrees(&fine, "sample_size", 7, path).unwrap();
        assert!(agrees(&fine, "sample_size", 8, path).is_err());
    }
}
