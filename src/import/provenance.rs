//! What the card of a foreign file keeps of what the file says.

use crate::container::{Checkpoint, Format};
use serde_json::{Map, Value, json};

/// What the file says about where it came from.
pub(super) fn provenance(file: &Checkpoint) -> Value {
    let format = match file.format {
        Format::Safetensors => "safetensors",
        Format::EdmPersistent => "edm-pickle",
        Format::SfdPlain => "sfd-pickle",
        Format::TorchZip => "torch-zip",
        Format::TorchLegacy => "torch-legacy",
    };
    let mut recipe = Map::new();
    recipe.insert("kind".into(), json!("import"));
    recipe.insert("format".into(), json!(format));
    for (key, map) in [
        ("attributes", &file.attributes),
        ("init-kwargs", &file.init),
        ("training-kwargs", &file.training),
    ] {
        if !map.is_empty() {
            recipe.insert(key.into(), Value::Object(map.clone()));
        }
    }
    Value::Object(recipe)
}
