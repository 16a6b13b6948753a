//! CLIP models from files and folders.

use super::config::{ClipConfig, Told};
use super::model::Clip;
use crate::Error;
use crate::import::Checkpoint;
use crate::import::part::{Naming, Origins, from_names};
use crate::parameter::compare;
use crate::text::Activation;
use burn::tensor::Device;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Names of files with weights in a folder, the best first.
const FILES: [&str; 5] = [
    "model.safetensors",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
];
/// Names of files that say what the tensors do not.
const SETTINGS: [&str; 2] = ["config.json", "open_clip_config.json"];

impl Clip {
    /// Reads a CLIP model of transformers or OpenCLIP (OpenAI's names): a file, or a folder with one and its `config.json`
    /// or `open_clip_config.json`. Nothing in it is executed.
    ///
    /// Without settings beside it, heads are those of the published models of the same width, and the function inside the
    /// blocks is that of the naming: quick GELU under transformers' names, GELU under OpenCLIP's.
    ///
    /// # Errors
    /// [`Error::MissingPart`] for a folder without such a file, [`Error::Weights`] if tensors are missing or of other
    /// sizes, [`Error::Malformed`] and as [`Checkpoint::read`].
    pub fn read(path: &Path, device: &Device) -> Result<Self, Error> {
        let path = file(path)?;
        let mut told = Told::default();
        for name in SETTINGS {
            let beside = path.with_file_name(name);
            if beside.is_file() {
                let text =
                    std::fs::read_to_string(&beside).map_err(Error::file("read", &beside))?;
                let json: Value = serde_json::from_str(&text)
                    .map_err(|e| Error::malformed(&beside, "CLIP configuration", e))?;
                told = settings(&json)
                    .map_err(|e| Error::malformed(&beside, "CLIP configuration", e))?;
                break;
            }
        }
        let checkpoint = Checkpoint::read(&path)?;
        let shapes = checkpoint.tensors().iter();
        let (naming, origins) =
            from_names(shapes.map(|(name, info)| (name.as_str(), info.shape.as_slice())));
        assemble(naming, &origins, &told, &path, device, &mut |name| {
            checkpoint.values(name)
        })
    }
}

impl Clip {
    /// The file with the weights, where a folder is given.
    ///
    /// # Errors
    /// [`Error::MissingPart`] for a folder without such a file.
    pub fn locate(path: &Path) -> Result<PathBuf, Error> {
        file(path)
    }
}

/// The file itself, or that in a folder.
fn file(path: &Path) -> Result<PathBuf, Error> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let mut files = FILES.iter().map(|file| path.join(file));
    files
        .find(|file| file.is_file())
        .ok_or_else(|| Error::MissingPart {
            path: path.to_path_buf(),
            part: "CLIP model",
            sought: FILES.join(", "),
            remedy: "give the file itself".into(),
        })
}

/// What a `config.json` of transformers or an `open_clip_config.json` says.
fn settings(json: &Value) -> Result<Told, String> {
    let count = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let model = &json["model_cfg"];
    if !model.is_null() {
        let vision = &model["vision_cfg"];
        let quick = model["quick_gelu"].as_bool().unwrap_or(false);
        let activation = if quick {
            Activation::QuickGelu
        } else {
            Activation::Gelu
        };
        let head = count(&vision["head_width"]).unwrap_or(64).max(1);
        return Ok(Told {
            text_heads: count(&model["text_cfg"]["heads"]),
            vision_heads: count(&vision["width"]).map(|width| width / head),
            text_activation: Some(activation),
            vision_activation: Some(activation),
        });
    }
    let half = |name: &str| -> Result<(Option<usize>, Option<Activation>), String> {
        let half = &json[name];
        let activation = match &half["hidden_act"] {
            Value::Null => None,
            Value::String(name) => Some(activation(name)?),
            other => return Err(format!("its hidden_act is {other}, not a text")),
        };
        Ok((count(&half["num_attention_heads"]), activation))
    };
    let ((text_heads, text_activation), (vision_heads, vision_activation)) =
        (half("text_config")?, half("vision_config")?);
    Ok(Told {
        text_heads,
        vision_heads,
        text_activation,
        vision_activation,
    })
}

/// A function by its name.
pub(super) fn activation(name: &str) -> Result<Activation, String> {
    match name {
        "quick_gelu" => Ok(Activation::QuickGelu),
        "gelu" => Ok(Activation::Gelu),
        other => Err(format!(
            "its hidden_act is {other:?}; quick_gelu and gelu are built here"
        )),
    }
}

/// A model from tensors that `read` gives by the file's names; `path` is for messages.
pub(crate) fn assemble(
    naming: Naming,
    origins: &Origins,
    told: &Told,
    path: &Path,
    device: &Device,
    read: &mut dyn FnMut(&str) -> Result<Vec<f32>, Error>,
) -> Result<Clip, Error> {
    let shapes = origins.iter();
    let shapes = shapes.map(|(name, (_, shape))| (name.clone(), shape.clone()));
    let shapes = shapes.collect();
    let usual = match naming {
        Naming::Transformers => Activation::QuickGelu,
        Naming::OpenClip => Activation::Gelu,
    };
    let config = ClipConfig::infer(&shapes, told, usual).ok_or_else(|| {
        let reason = "it lacks a text half, a half that sees, or their projections, under the names of transformers and of \
                      OpenCLIP";
        Error::malformed(path, "CLIP model", reason)
    })?;
    let same = |ours: &[usize], file: &[usize]| ours == file;
    compare(&Clip::keys(&config)?, shapes, path, same)?;
    let mut failure = None;
    let even_centre = naming == Naming::OpenClip;
    let clip = Clip::new(config, even_centre, device, &mut |name, dims| {
        let (origin, _) = origins.get(name)?;
        match read(&origin.name) {
            Ok(values) => Some(origin.how.apply(values, dims)),
            Err(error) => {
                failure.get_or_insert(error);
                None
            }
        }
    })?;
    failure.map_or(Ok(clip), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_of_both_kinds_are_understood() {
        let transformers = json!({
            "text_config": {"num_attention_heads": 8},
            "vision_config": {"num_attention_heads": 12, "hidden_act": "gelu"},
        });
        let told = settings(&transformers).unwrap();
        assert_eq!((told.text_heads, told.vision_heads), (Some(8), Some(12)));
        assert_eq!(told.text_activation, None);
        assert_eq!(told.vision_activation, Some(Activation::Gelu));
        let open_clip = json!({"model_cfg": {
            "quick_gelu": true,
            "vision_cfg": {"width": 1408, "head_width": 88},
            "text_cfg": {"heads": 16},
        }});
        let told = settings(&open_clip).unwrap();
        assert_eq!((told.text_heads, told.vision_heads), (Some(16), Some(16)));
        assert_eq!(told.text_activation, Some(Activation::QuickGelu));
        let other = json!({"text_config": {"hidden_act": "relu"}});
        assert!(settings(&other).unwrap_err().contains("relu"));
    }
}
