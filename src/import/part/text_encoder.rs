//! CLIP text encoders from CompVis and diffusers files.

use super::sought::{Part, Sought};
use crate::Error;
use crate::import::setting::{self, key};
use crate::text::{TextEncoder, TextEncoderConfig};
use burn::tensor::Device;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const TEXT_ENCODER: Sought = Sought {
    part: "text encoder",
    folder: "text_encoder",
    files: &[
        "model.safetensors",
        "model.fp16.safetensors",
        "pytorch_model.bin",
        "pytorch_model.fp16.bin",
    ],
    landmark: "embeddings.token_embedding.weight",
    prefix: "cond_stage_model.transformer.text_model.",
};

/// Width and layers of OpenCLIP's text encoders ViT-H, whole and without the last layer, and ViT-bigG.
const OPENCLIP: [[usize; 2]; 3] = [[1024, 24], [1024, 23], [1280, 32]];
/// Width of a head of every published CLIP.
const HEAD: usize = 64;
/// 0, 1, 2...: no weight.
const POSITIONS: &str = "embeddings.position_ids";

/// A text encoder in a file, checked but not loaded.
#[derive(Debug)]
pub struct TextEncoderFile {
    part: Part,
    config: TextEncoderConfig,
}

impl TextEncoderFile {
    /// Finds CLIP's text encoder in
    /// * a CompVis checkpoint (`cond_stage_model.transformer.text_model.`...),
    /// * the folder of a diffusers model, its folder `text_encoder`, or the file in it.
    ///
    /// Tensors do not tell the number of attention heads: it is `heads`, or that of `config.json`, else the width / 64.
    ///
    /// # Errors
    /// [`Error::MissingPart`] if there is none, [`Error::Weights`] if it is not complete, [`Error::Malformed`] if it is of
    /// a kind that is not built here, [`Error::InvalidValue`] if the heads must be given, and as
    /// [`Checkpoint::read`](crate::import::Checkpoint::read).
    pub fn open(path: &Path, heads: Option<usize>) -> Result<Self, Error> {
        let (checkpoint, found) = TEXT_ENCODER.open(path)?;
        let prefix = TEXT_ENCODER.prefix(&checkpoint)?.to_string();
        // CLIP as a whole has a table for each half.
        let settings = match &found.values["text_config"] {
            Value::Null => &found.values,
            text => text,
        };
        setting::check(settings, key::TEXT_ENCODER, &found.path)?;
        let names = checkpoint.tensors().keys().filter_map(|name| {
            let rest = name.strip_prefix(&prefix)?;
            let weight = rest != POSITIONS && (!prefix.is_empty() || is_inside(rest));
            weight.then(|| (format!("text_model.{rest}"), name.clone()))
        });
        let names: BTreeMap<String, String> = names.collect();
        let part = Part { checkpoint, names };
        let config = infer(&part.shapes(), settings, heads);
        let config = config.ok_or_else(|| {
            let reason =
                "the sizes of its text encoder cannot be told from the names of its tensors";
            part.checkpoint.source.broken("text encoder", reason)
        })?;
        if config.heads == 0 {
            let expected = format!(
                "given: the text encoder of {} is {} wide, and says nothing of its heads",
                part.checkpoint.path().display(),
                config.width
            );
            return Err(Error::invalid("attention heads", "missing", expected));
        }
        part.check(&config.keys()?)?;
        for (key, size) in [
            ("hidden_size", config.width),
            ("intermediate_size", config.inner_width),
            // Fewer would leave out the last ones.
            ("num_hidden_layers", config.layers),
            ("max_position_embeddings", config.positions),
            ("vocab_size", config.vocabulary),
        ] {
            setting::agrees(settings, key, json!(size), &found.path)?;
        }
        if settings.is_null() && OPENCLIP.contains(&[config.width, config.layers]) {
            let reason = format!(
                "it is {} wide, as OpenCLIP, the text encoder of Stable Diffusion 2.x and XL, whose GELU is another; beside a \
                 config.json that says hidden_act = \"quick_gelu\" it is read",
                config.width
            );
            return Err(part.checkpoint.source.broken("text encoder", reason));
        }
        Ok(Self { part, config })
    }

    /// Its sizes.
    pub fn config(&self) -> &TextEncoderConfig {
        &self.config
    }

    /// The encoder with the file's weights in f32.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::File`].
    pub fn load(&self, device: &Device) -> Result<TextEncoder, Error> {
        self.part.fill(self.config.blank(device)?, device)
    }

    /// SHA-256 of the sizes and weights, in hexadecimal: reads all of them, and holds one at a time.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn digest(&self) -> Result<String, Error> {
        let text = format!("{:?} {}", self.config, self.part.digest()?);
        Ok(crate::file::hash_bytes(text.as_bytes()))
    }
}

/// Where nothing comes before the names, other tensors of the file are told apart by these.
fn is_inside(name: &str) -> bool {
    ["embeddings.", "encoder.layers.", "final_layer_norm."]
        .iter()
        .any(|start| name.starts_with(start))
}

/// More than any encoder may have; the check of its sizes says so.
const MOST: usize = 200;

/// The sizes that names, shapes and settings tell; no heads where nothing tells them.
fn infer(
    shapes: &BTreeMap<String, Vec<usize>>,
    settings: &Value,
    heads: Option<usize>,
) -> Option<TextEncoderConfig> {
    let size = |name: &str, dimension: usize| {
        let shape = shapes.get(&format!("text_model.{name}"))?;
        shape.get(dimension).copied()
    };
    let width = size("embeddings.token_embedding.weight", 1)?;
    let layer = |layer: &usize| {
        shapes.contains_key(&format!(
            "text_model.encoder.layers.{layer}.layer_norm1.weight"
        ))
    };
    let said = settings["num_attention_heads"].as_u64();
    let said = heads.or(said.and_then(|heads| usize::try_from(heads).ok()));
    let usual = width.is_multiple_of(HEAD).then_some(width / HEAD);
    Some(TextEncoderConfig {
        vocabulary: size("embeddings.token_embedding.weight", 0)?,
        width,
        inner_width: size("encoder.layers.0.mlp.fc1.weight", 0)?,
        layers: (0..MOST).take_while(layer).count(),
        heads: said.or(usual).unwrap_or(0),
        positions: size("embeddings.position_embedding.weight", 0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_from_names_and_shapes() {
        let config = TextEncoderConfig::clip_vit_l14();
        let shapes = config.keys().unwrap().into_iter().collect();
        assert_eq!(infer(&shapes, &Value::Null, None), Some(config));
        let said = infer(&shapes, &json!({"num_attention_heads": 8}), None);
        assert_eq!(said.map(|c| c.heads), Some(8));
        assert_eq!(
            infer(&shapes, &Value::Null, Some(6)).map(|c| c.heads),
            Some(6)
        );
    }
}
