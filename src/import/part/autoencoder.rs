//! Autoencoders from CompVis and diffusers files.

use super::sought::{PartTensors, Settings, Sought};
use crate::Error;
use crate::autoencoder::{Autoencoder, AutoencoderConfig, Bottleneck, SCALE_SD, SCALE_XL};
use crate::container::Checkpoint;
use crate::import::diffusers::FILES;
use crate::import::foreign;
use crate::import::setting::{self, key};
use crate::network::NetworkConfig;
use burn::tensor::Device;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const AUTOENCODER: Sought = Sought {
    part: "autoencoder",
    folder: "vae",
    files: &FILES,
    landmark: "decoder.conv_in.weight",
    prefix: "first_stage_model.",
};

/// What belongs to an autoencoder; files of its training hold its critic besides.
const ROOTS: [&str; 5] = [
    "encoder.",
    "decoder.",
    "quant_conv.",
    "post_quant_conv.",
    "quantize.",
];

/// The key of the scale as it was, in settings of a folder that we wrote for diffusers, whose pipeline measures its latents in
/// another unit.
pub(crate) const UNCHANGED_SCALE: &str = "_fewstep_scaling_factor";

/// Channels of the latents of newer families.
const MODERN: usize = 16;

/// An autoencoder in a file, checked but not loaded.
#[derive(Debug)]
pub struct AutoencoderFile {
    part: PartTensors,
    config: AutoencoderConfig,
    /// Whether the files say the scale.
    scaled: bool,
}

impl AutoencoderFile {
    /// Finds the autoencoder in
    /// * a CompVis checkpoint of the whole model (`first_stage_model.`...), or of the autoencoder alone,
    /// * the folder of a diffusers model, its folder `vae`, or the file in it, with old or new names of attention.
    ///
    /// The scale is that of `config.json`, or of the tensor `scale_factor`, else 0.13025 in a file of Stable Diffusion XL, and
    /// 0.18215 (KL) or 1 (VQ) in any other.
    ///
    /// # Errors
    /// [`Error::MissingPart`] if there is none, [`Error::Weights`] if it is not complete, [`Error::Malformed`] if it is of
    /// a kind that is not built here, and as [`Checkpoint::read`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (checkpoint, settings) = AUTOENCODER.open(path)?;
        Self::of(checkpoint, &settings)
    }

    /// The autoencoder of an open checkpoint.
    fn of(checkpoint: Checkpoint, settings: &Settings) -> Result<Self, Error> {
        let Settings { values, path } = settings;
        // First: the folder of another part has a file of the same name.
        let prefix = AUTOENCODER.prefix(&checkpoint)?.to_string();
        setting::check(values, key::AUTOENCODER, path)?;
        if let Some(family) = foreign::family(checkpoint.tensors()) {
            // Of the same names, with other latents.
            return Err(checkpoint.source.broken("autoencoder", family));
        }
        let first = format!("{prefix}decoder.conv_in.weight");
        let first = checkpoint.tensors().get(&first);
        if first.is_some_and(|info| info.shape.get(1) == Some(&MODERN)) {
            let reason = format!(
                "its latents have {MODERN} channels, as those of Stable Diffusion 3 and Flux; those of 1, 2 and XL have 4"
            );
            return Err(checkpoint.source.broken("autoencoder", reason));
        }
        let inside = checkpoint.tensors().keys().filter_map(|name| {
            let rest = name.strip_prefix(&prefix)?;
            let known = ROOTS.iter().any(|root| rest.starts_with(root));
            known.then_some((rest, name.clone()))
        });
        let inside: Vec<(&str, String)> = inside.collect();
        let levels = levels(inside.iter().map(|(name, _)| *name));
        let names = inside.iter().map(|(name, from)| match levels {
            Some(levels) => (official(name, levels), from.clone()),
            None => ((*name).to_string(), from.clone()),
        });
        let names: BTreeMap<String, String> = names.collect();
        if names.len() < inside.len() {
            let reason = "two of its tensors stand for the same part of the autoencoder";
            return Err(checkpoint.source.broken("autoencoder", reason));
        }
        let part = PartTensors { checkpoint, names };
        let scale = scale(&part.checkpoint, values)?;
        let config = infer(&part.shapes(), scale);
        let config = config.ok_or_else(|| {
            let reason =
                "the sizes of its autoencoder cannot be told from the names of its tensors";
            part.checkpoint.source.broken("autoencoder", reason)
        })?;
        let wrong = |e: Error| match e {
            Error::InvalidValue { .. } => part.checkpoint.source.broken("autoencoder", e),
            other => other,
        };
        part.check(&config.keys().map_err(wrong)?)?;
        let widths = config.channel_multipliers.iter();
        let widths: Vec<usize> = widths.map(|m| m * config.model_channels).collect();
        let mut sizes = vec![
            ("in_channels", json!(config.channels)),
            ("out_channels", json!(config.channels)),
            ("block_out_channels", json!(widths)),
            ("layers_per_block", json!(config.blocks)),
            ("latent_channels", json!(config.inner_channels)),
        ];
        if let Bottleneck::Codebook { codes } = config.bottleneck {
            sizes.push(("num_vq_embeddings", json!(codes)));
            sizes.push(("vq_embed_dim", json!(config.latent_channels)));
        }
        for (key, size) in sizes {
            setting::agrees(values, key, size, path)?;
        }
        let scaled = scale.is_some();
        Ok(Self {
            part,
            config,
            scaled,
        })
    }

    /// The same with the scale of a network's latents, where its own files do not say it: 0.13025 for Stable Diffusion XL.
    #[must_use]
    pub fn for_network(mut self, network: &NetworkConfig) -> Self {
        if !self.scaled && network.added().is_some() {
            self.config.scale = SCALE_XL;
        }
        self
    }

    /// The file that holds it.
    pub fn path(&self) -> &Path {
        self.part.checkpoint.path()
    }

    /// Its sizes.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// The file's name of each tensor, by official name without `first_stage_model.`.
    pub(crate) fn names(&self) -> &BTreeMap<String, String> {
        &self.part.names
    }

    /// The numbers of a tensor, by official name.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>, Error> {
        let from = self.names().get(name).map_or(name, String::as_str);
        self.part.checkpoint.values(from)
    }

    /// The autoencoder with the file's weights in f32.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::File`].
    pub fn load(&self, device: &Device) -> Result<Autoencoder, Error> {
        self.part.fill(self.config.blank(device)?, device)
    }
}

/// The scale of latents, where the files say it.
fn scale(checkpoint: &Checkpoint, settings: &Value) -> Result<Option<f64>, Error> {
    let said = [UNCHANGED_SCALE, "scaling_factor"];
    if let Some(scale) = said.iter().find_map(|key| settings[*key].as_f64()) {
        return Ok(Some(scale));
    }
    let names = || checkpoint.tensors().keys();
    if names().any(|name| name.starts_with("conditioner.embedders.")) {
        return Ok(Some(SCALE_XL));
    }
    let buffer = checkpoint.tensors().get("scale_factor");
    if !buffer.is_some_and(|info| info.count() == 1 && info.scalar.is_float()) {
        return Ok(None);
    }
    let values = checkpoint.values("scale_factor")?;
    Ok(values.first().map(|scale| f64::from(*scale)))
}

/// The number of levels if the names are those of diffusers, which counts the decoder's from the deepest.
fn levels<'a>(names: impl Iterator<Item = &'a str>) -> Option<usize> {
    let numbers = names.filter_map(|name| {
        let rest = name.strip_prefix("decoder.up_blocks.")?;
        rest.split('.').next()?.parse::<usize>().ok()
    });
    numbers.max().map(|last| last.saturating_add(1))
}

/// The official name of what diffusers calls `name`; what has the same name in both, and what is not known, stays.
pub(crate) fn official(name: &str, levels: usize) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let rest = |from: usize| parts[from.min(parts.len())..].join(".");
    let block = |from| rest(from).replace("conv_shortcut", "nin_shortcut");
    let attention = |from| {
        let name = rest(from);
        let (layer, end) = name.rsplit_once('.').unwrap_or((&name, ""));
        let layer = match layer {
            "group_norm" => "norm",
            "to_q" | "query" => "q",
            "to_k" | "key" => "k",
            "to_v" | "value" => "v",
            "to_out.0" | "proj_attn" => "proj_out",
            other => other,
        };
        format!("{layer}.{end}")
    };
    match parts.as_slice() {
        [side, "conv_norm_out", ..] => format!("{side}.norm_out.{}", rest(2)),
        [side, "mid_block", "resnets", "0", ..] => format!("{side}.mid.block_1.{}", block(4)),
        [side, "mid_block", "resnets", "1", ..] => format!("{side}.mid.block_2.{}", block(4)),
        [side, "mid_block", "attentions", "0", ..] => format!("{side}.mid.attn_1.{}", attention(4)),
        [
            side,
            blocks @ ("down_blocks" | "up_blocks"),
            level,
            kind,
            index,
            ..,
        ] => {
            let (direction, resampler) = match *blocks {
                "down_blocks" => ("down", "downsample"),
                _ => ("up", "upsample"),
            };
            let level = match (level.parse::<usize>(), direction) {
                (Ok(level), "up") if level < levels => (levels - 1 - level).to_string(),
                _ => (*level).to_string(),
            };
            let start = format!("{side}.{direction}.{level}");
            match *kind {
                "resnets" => format!("{start}.block.{index}.{}", block(5)),
                "attentions" => format!("{start}.attn.{index}.{}", attention(5)),
                "downsamplers" | "upsamplers" if *index == "0" => {
                    format!("{start}.{resampler}.{}", rest(5))
                }
                _ => name.to_string(),
            }
        }
        _ => name.to_string(),
    }
}

/// More than any autoencoder may have; the check of its sizes says so.
const MOST: usize = 20;

/// The sizes that official names and shapes tell.
fn infer(shapes: &BTreeMap<String, Vec<usize>>, scale: Option<f64>) -> Option<AutoencoderConfig> {
    let size = |name: &str, dimension: usize| {
        let shape = shapes.get(name)?;
        shape.get(dimension).copied().filter(|size| *size > 0)
    };
    let model_channels = size("encoder.conv_in.weight", 0)?;
    let width = |level: usize| {
        let width = size(&format!("encoder.down.{level}.block.0.conv1.weight"), 0)?;
        let whole = width.is_multiple_of(model_channels);
        whole.then_some(width / model_channels)
    };
    let channel_multipliers: Vec<usize> = (0..MOST).map_while(width).collect();
    let block =
        |block: &usize| shapes.contains_key(&format!("encoder.down.0.block.{block}.conv1.weight"));
    let attends =
        |level: &usize| shapes.contains_key(&format!("encoder.down.{level}.attn.0.q.weight"));
    let codes = size("quantize.embedding.weight", 0);
    Some(AutoencoderConfig {
        channels: size("encoder.conv_in.weight", 1)?,
        model_channels,
        blocks: (0..MOST).take_while(block).count(),
        attention_levels: (0..channel_multipliers.len()).filter(attends).collect(),
        channel_multipliers,
        inner_channels: size("post_quant_conv.weight", 0)?,
        latent_channels: size("post_quant_conv.weight", 1)?,
        bottleneck: match codes {
            Some(codes) => Bottleneck::Codebook { codes },
            None => Bottleneck::Normal {},
        },
        scale: scale.unwrap_or(if codes.is_some() { 1.0 } else { SCALE_SD }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sizes_are_told_from_names_and_shapes() {
        let mut attentive = AutoencoderConfig::vq_f4();
        attentive.attention_levels = vec![1, 2];
        for config in [
            AutoencoderConfig::kl_f8(),
            AutoencoderConfig::vq_f4(),
            attentive,
        ] {
            let shapes = config.keys().unwrap().into_iter().collect();
            assert_eq!(infer(&shapes, None), Some(config));
        }
    }

    #[test]
    fn names_of_diffusers_become_official() {
        for (name, expected) in [
            (
                "decoder.up_blocks.0.resnets.2.conv1.bias",
                "decoder.up.3.block.2.conv1.bias",
            ),
            (
                "decoder.up_blocks.3.upsamplers.0.conv.bias",
                "decoder.up.0.upsample.conv.bias",
            ),
            (
                "encoder.down_blocks.1.resnets.0.conv_shortcut.weight",
                "encoder.down.1.block.0.nin_shortcut.weight",
            ),
            (
                "encoder.down_blocks.2.attentions.1.to_out.0.weight",
                "encoder.down.2.attn.1.proj_out.weight",
            ),
            (
                "decoder.mid_block.attentions.0.proj_attn.bias",
                "decoder.mid.attn_1.proj_out.bias",
            ),
            (
                "decoder.mid_block.attentions.0.key.bias",
                "decoder.mid.attn_1.k.bias",
            ),
            ("quant_conv.weight", "quant_conv.weight"),
            ("decoder.up_blocks.9.what.0", "decoder.up_blocks.9.what.0"),
        ] {
            assert_eq!(official(name, 4), expected);
        }
    }
}
