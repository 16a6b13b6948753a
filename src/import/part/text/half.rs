//! One text encoder in a file.

use super::openclip::{LAYERS, Naming, OPENCLIP, Origin, Origins, PROJECTION, of_text_tower};
use crate::Error;
use crate::container::Checkpoint;
use crate::import::part::sought::{Settings, Sought};
use crate::import::setting::{self, key};
use crate::parameter::{compare, replace};
use crate::text::{Activation, Half, Padding, Taken, TextEncoderConfig};
use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Width and layers of OpenCLIP's text encoders ViT-H, whole and without the last layer, and ViT-bigG: of files under the names of
/// transformers without settings, those whose function is another.
const OPENCLIP_SIZES: [[usize; 2]; 3] = [[1024, 24], [1024, 23], [1280, 32]];
/// Width of a head of every published CLIP.
const HEAD: usize = 64;
/// More layers than any encoder may have; the check of its sizes says so.
const MOST: usize = 200;

/// One text encoder in a file, checked but not loaded.
#[derive(Debug)]
pub(super) struct HalfFile {
    checkpoint: Checkpoint,
    origins: Origins,
    config: TextEncoderConfig,
    activation: Activation,
    /// Width of a text as a whole, where it is used.
    projection: Option<usize>,
    taken: Taken,
    padding: Padding,
}

impl HalfFile {
    /// In a folder, with its settings.
    pub(super) fn open(sought: &Sought, path: &Path, heads: Option<usize>) -> Result<Self, Error> {
        let (checkpoint, settings) = sought.open(path)?;
        let start = Self::start(sought, &checkpoint, "")?;
        Self::of(checkpoint, &settings, &start, heads)
    }

    /// What stands before all names of an encoder, in either naming, among those that start so.
    pub(super) fn start(
        sought: &Sought,
        checkpoint: &Checkpoint,
        within: &str,
    ) -> Result<String, Error> {
        let names = || {
            checkpoint
                .tensors()
                .keys()
                .filter(|name| name.starts_with(within))
        };
        // The half of a CLIP model that sees has blocks of the same names.
        let mut open = names().filter_map(|name| name.strip_suffix(OPENCLIP));
        if let Some(start) = open.find(|start| !start.ends_with("visual.")) {
            return Ok(start.to_string());
        }
        let found = match within.is_empty() {
            true => Some(sought.prefix(checkpoint)?),
            false => names().find_map(|name| name.strip_suffix(sought.landmark)),
        };
        let start = found.ok_or_else(|| {
            let tensor = format!("tensor {within}{}", sought.landmark);
            sought.missing(checkpoint.path(), tensor)
        })?;
        Ok(start
            .strip_suffix("text_model.")
            .unwrap_or(start)
            .to_string())
    }

    /// The encoder whose names start so, in either naming.
    pub(super) fn of(
        checkpoint: Checkpoint,
        found: &Settings,
        start: &str,
        heads: Option<usize>,
    ) -> Result<Self, Error> {
        // CLIP as a whole has a table for each half.
        let settings = match &found.values["text_config"] {
            Value::Null => &found.values,
            text => text,
        };
        setting::check(settings, key::TEXT_ENCODER, &found.path)?;
        let shapes = checkpoint.tensors().iter();
        let inside = shapes.filter_map(|(name, info)| {
            let rest = name.strip_prefix(start)?;
            Some((rest, name.as_str(), info.shape.as_slice()))
        });
        let (naming, mut origins) = of_text_tower(inside);
        if naming == Naming::OpenClip && is_second_model(start) {
            leave_out_last(&mut origins);
        }
        let shapes: BTreeMap<String, Vec<usize>> = origins
            .iter()
            .map(|(name, (_, shape))| (name.clone(), shape.clone()))
            .collect();
        let broken = |reason: String| checkpoint.source.broken("text encoder", reason);
        let config = infer(&shapes, settings, heads).ok_or_else(|| {
            broken(
                "the sizes of its text encoder cannot be told from the names of its tensors".into(),
            )
        })?;
        if config.heads == 0 {
            let expected = format!(
                "given: the text encoder of {} is {} wide, and says nothing of its heads",
                checkpoint.path().display(),
                config.width
            );
            return Err(Error::invalid("attention heads", "missing", expected));
        }
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
        let activation = match (&settings["hidden_act"], naming) {
            (Value::Null, Naming::OpenClip) => Activation::Gelu,
            (Value::Null, _) if OPENCLIP_SIZES.contains(&[config.width, config.layers]) => {
                Activation::Gelu
            }
            (said, _) if *said == "gelu" => Activation::Gelu,
            _ => Activation::QuickGelu,
        };
        let half = Self {
            checkpoint,
            origins,
            config,
            activation,
            projection: None,
            taken: Taken::Last,
            padding: Padding::End,
        };
        half.check()?;
        Ok(half)
    }

    /// The same with what makes a text as a whole.
    pub(super) fn with_projection(self, sought: &Sought) -> Result<Self, Error> {
        let width = self
            .origins
            .get(PROJECTION)
            .and_then(|(_, shape)| shape.first().copied());
        let Some(width) = width else {
            return Err(sought.missing(
                self.checkpoint.path(),
                "tensor text_projection.weight".into(),
            ));
        };
        let half = Self {
            projection: Some(width),
            ..self
        };
        half.check()?;
        Ok(half)
    }

    /// The same, used so; a padding that nothing tells is that of the kind.
    pub(super) fn used(self, taken: Taken, padding: Option<Padding>) -> Self {
        let usual = match self.activation {
            Activation::QuickGelu => Padding::End,
            Activation::Gelu => Padding::Exclamation,
        };
        Self {
            taken,
            padding: padding.unwrap_or(usual),
            ..self
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    pub(super) fn config(&self) -> &TextEncoderConfig {
        &self.config
    }

    pub(super) fn projection(&self) -> Option<usize> {
        self.projection
    }

    /// What of the file belongs to it.
    fn parts(&self) -> impl Iterator<Item = (&String, &(Origin, Vec<usize>))> {
        let whole = self.projection.is_some();
        self.origins
            .iter()
            .filter(move |(name, _)| whole || *name != PROJECTION)
    }

    /// Compares names and shapes with what an encoder has, and with the size of the file.
    fn check(&self) -> Result<(), Error> {
        let shapes = self
            .parts()
            .map(|(name, (_, shape))| (name.clone(), shape.clone()));
        let keys = self.config.keys_with(self.projection)?;
        let same = |ours: &[usize], file: &[usize]| ours == file;
        compare(&keys, shapes.collect(), self.checkpoint.path(), same)?;
        let mut bytes = 0u64;
        for (_, (origin, _)) in self
            .parts()
            .filter(|(_, (origin, _))| origin.how.is_first())
        {
            bytes = bytes.saturating_add(self.checkpoint.info(&origin.name)?.bytes());
        }
        let size = self.checkpoint.size();
        if bytes > size {
            let reason = format!("its weights are {bytes} bytes in a file of {size}");
            return Err(self.checkpoint.source.broken("model file", reason));
        }
        Ok(())
    }

    /// The encoder with the file's weights, one tensor in memory at a time besides it.
    pub(super) fn load(&self, device: &Device) -> Result<Half, Error> {
        let mut failure = None;
        let blank = self.config.blank_with(self.projection, device)?;
        let encoder = replace(blank, &mut |_, name, dims| {
            let (origin, _) = self.origins.get(name)?;
            match self.checkpoint.values(&origin.name) {
                Ok(values) if failure.is_none() => {
                    let values = origin.how.apply(values, dims);
                    Some(Tensor::from_data(values.as_slice(), device))
                }
                Ok(_) => None,
                Err(error) => {
                    failure.get_or_insert(error);
                    None
                }
            }
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(Half {
                encoder: encoder.with_activation(self.activation),
                taken: self.taken,
                padding: self.padding,
            }),
        }
    }

    /// Names that transformers gives its tensors, and their dimensions.
    pub(super) fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.parts()
            .map(|(name, (_, shape))| (name.as_str(), shape.as_slice()))
    }

    /// The numbers of a tensor by one of these names.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f32>, Error> {
        let (origin, shape) = self
            .origins
            .get(name)
            .ok_or_else(|| Error::invalid("tensor", name, "the name of one in the text encoder"))?;
        Ok(origin
            .how
            .apply(self.checkpoint.values(&origin.name)?, shape))
    }

    /// A text with a SHA-256 of names, types, dimensions and numbers, and of what the encoder is besides. That of Stable Diffusion
    /// 1.x says only what it said when there was no other.
    pub(super) fn digest(&self) -> Result<String, Error> {
        let mut digest = Sha256::new();
        for (name, (origin, _)) in self
            .parts()
            .filter(|(_, (origin, _))| origin.how.is_first())
        {
            let info = self.checkpoint.info(&origin.name)?;
            digest.update(format!("{name} {} {:?}\n", info.scalar, info.shape));
            digest.update(self.checkpoint.bytes(&origin.name)?);
            digest.update(self.checkpoint.factor_bytes(&origin.name)?);
        }
        let weights = crate::file::hexadecimal(&digest.finalize());
        let text = format!("{:?} {weights}", self.config);
        let usual = (Activation::QuickGelu, Taken::Last, Padding::End);
        let used = (self.activation, self.taken, self.padding);
        Ok(match used == usual && self.projection.is_none() {
            true => text,
            false => format!("{text} {used:?} {:?}", self.projection),
        })
    }
}

/// Whether a start of names is that of Stable Diffusion 2.x, which takes the last state but one.
fn is_second_model(start: &str) -> bool {
    start.starts_with("cond_stage_model.")
}

/// Without the last layer.
fn leave_out_last(origins: &mut Origins) {
    let layer = |name: &str| -> Option<usize> {
        let rest = name.strip_prefix(LAYERS)?;
        rest.split('.').next()?.parse().ok()
    };
    let last = origins.keys().filter_map(|name| layer(name)).max();
    // Of one layer alone nothing would be left.
    if let Some(last) = last.filter(|last| *last > 0) {
        origins.retain(|name, _| layer(name) != Some(last));
    }
}

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
    use super::super::openclip::How;
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

    #[test]
    fn the_last_layer_is_left_out() {
        let origin = |name: &str| {
            let how = How::Whole;
            let name = name.to_string();
            (name.clone(), (Origin { name, how }, vec![1]))
        };
        let layer = |i: usize| origin(&format!("text_model.encoder.layers.{i}.mlp.fc1.bias"));
        let mut origins: Origins = [layer(0), layer(9), layer(10), origin("other")].into();
        leave_out_last(&mut origins);
        assert_eq!(origins, [layer(0), layer(9), origin("other")].into());
        let mut one: Origins = [layer(0)].into();
        leave_out_last(&mut one);
        assert_eq!(one.len(), 1);
    }
}
