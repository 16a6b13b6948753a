//! Which network a file is for: from the arguments that it was made with where the file says them, else from the names
//! and shapes of its tensors.

use super::Checkpoint;
use super::architecture::{Architecture, EMBEDDING_MULTIPLIER, Family};
use crate::Error;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Tensor shapes by official name, with the prefix that a file may put before all of them.
pub(super) struct Named<'a> {
    /// Official name to the file's name and its shape.
    pub(super) tensors: BTreeMap<String, (&'a str, &'a [usize])>,
}

/// More than any network has; [`Architecture::check`] says so.
const MOST_LEVELS: usize = 16;
const MOST_BLOCKS: usize = 100;

/// The name by which the start of all others is found.
const LANDMARK: &str = "map_layer0.weight";

impl Checkpoint {
    /// The file's tensors by official name. Files of the bare network, or of one wrapped for several GPUs, have another
    /// start.
    pub(super) fn named(&self) -> Named<'_> {
        let found = self
            .tensors
            .keys()
            .find_map(|name| name.strip_suffix(LANDMARK));
        let prefix = found.unwrap_or("model.");
        let tensors = self.tensors.iter().map(|(name, info)| {
            let official = match name.strip_prefix(prefix) {
                Some(rest) => format!("model.{rest}"),
                None => name.clone(),
            };
            (official, (name.as_str(), info.shape.as_slice()))
        });
        Named {
            tensors: tensors.collect(),
        }
    }

    /// The network that the file is for.
    ///
    /// # Errors
    /// [`Error::Malformed`] if that cannot be told, or if it is one of another kind.
    pub fn architecture(&self) -> Result<Architecture, Error> {
        if self.has_card() {
            return Architecture::of(&self.card()?.network);
        }
        if let Some(class) = self.class.as_deref()
            && !["EDMPrecond", "SongUNet", "DhariwalUNet"].contains(&class)
        {
            let reason = format!(
                "its weights are those of a {class}; only EDMPrecond is preconditioned as here"
            );
            return Err(self.source.broken("EDM or SFD model", reason));
        }
        self.check_variants()?;
        let shapes = self.named();
        let inferred = shapes.infer();
        let mut architecture = match (inferred, self.init.is_empty()) {
            (Some(architecture), true) => architecture,
            (inferred, false) => self.said(inferred)?,
            (None, true) => return Err(self.unknown(&shapes)),
        };
        if let Some(rate) = self
            .init
            .get("dropout")
            .and_then(Value::as_f64)
            .or(self.dropout)
        {
            architecture.dropout = rate;
        }
        architecture
            .check()
            .map_err(|e| self.source.broken("EDM or SFD model", e))?;
        Ok(architecture)
    }

    /// Refuses the variants of the official networks that are not built here, by name.
    fn check_variants(&self) -> Result<(), Error> {
        for (key, built) in [
            ("embedding_type", "positional"),
            ("encoder_type", "standard"),
            ("decoder_type", "standard"),
        ] {
            if let Some(value) = self.init.get(key).and_then(Value::as_str)
                && value != built
            {
                return Err(self.variant(key, value, built));
            }
        }
        for (key, built) in [
            ("channel_mult_noise", 1),
            ("channel_mult_emb", EMBEDDING_MULTIPLIER),
        ] {
            if let Some(value) = self.init.get(key).and_then(Value::as_u64)
                && value != built as u64
            {
                return Err(self.variant(key, value, built));
            }
        }
        let filters = self
            .tensors
            .iter()
            .filter(|(name, _)| name.ends_with("resample_filter"));
        for (name, info) in filters {
            if info.shape != super::key::FILTER {
                return Err(self.variant(name, format!("{:?}", info.shape), "[1, 1, 2, 2]"));
            }
        }
        Ok(())
    }

    fn variant(&self, key: &str, value: impl ToString, built: impl ToString) -> Error {
        let (value, built) = (value.to_string(), built.to_string());
        let reason = format!("its {key} is {value}; this version has networks with {built}");
        self.source.broken("EDM or SFD model", reason)
    }

    /// What the arguments say, and the shapes where they say nothing.
    fn said(&self, inferred: Option<Architecture>) -> Result<Architecture, Error> {
        let missing = |key: &str| {
            let reason = format!(
                "its arguments (_init_kwargs) have no `{key}`, and its tensors do not tell"
            );
            self.source.broken("EDM or SFD model", reason)
        };
        let count = |key: &str, other: Option<usize>| -> Result<usize, Error> {
            let said = self.init.get(key).and_then(Value::as_u64);
            let said = said.and_then(|n| usize::try_from(n).ok());
            said.or(other).ok_or_else(|| missing(key))
        };
        let counts = |key: &str, other: Option<&Vec<usize>>| -> Result<Vec<usize>, Error> {
            let said = self.init.get(key).and_then(Value::as_array);
            let said = said.and_then(|list| {
                let list = list.iter().map(|n| usize::try_from(n.as_u64()?).ok());
                list.collect::<Option<Vec<usize>>>()
            });
            said.or_else(|| other.cloned()).ok_or_else(|| missing(key))
        };
        let other = inferred.as_ref();
        let family = match self
            .init
            .get("model_type")
            .and_then(Value::as_str)
            .or(self.network.as_deref())
        {
            Some("SongUNet") => Family::Song,
            Some("DhariwalUNet") => Family::Dhariwal,
            Some(name) => return Err(self.variant("model_type", name, "SongUNet or DhariwalUNet")),
            None => other
                .map(|o| o.family)
                .ok_or_else(|| missing("model_type"))?,
        };
        let multipliers = counts("channel_mult", other.map(|o| &o.multipliers))?;
        let resolution = count("img_resolution", other.map(|o| o.resolution))?;
        let mut attention = counts("attn_resolutions", other.map(|o| &o.attention_resolutions))?;
        // Those that the network never reaches say nothing.
        let levels = 0..multipliers.len().min(16);
        let reached: Vec<usize> = levels.map(|level| resolution >> level).collect();
        attention.retain(|r| reached.contains(r));
        attention.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Architecture {
            family,
            resolution,
            channels: count("img_channels", other.map(|o| o.channels))?,
            classes: count("label_dim", other.map(|o| o.classes).or(Some(0)))?,
            model_channels: count("model_channels", other.map(|o| o.model_channels))?,
            multipliers,
            blocks: count("num_blocks", other.map(|o| o.blocks))?,
            attention_resolutions: attention,
            augment_labels: count("augment_dim", other.map(|o| o.augment_labels).or(Some(0)))?,
            dropout: 0.0,
            step_branch: self
                .tensors
                .keys()
                .any(|name| name.ends_with("map_step_layer0.weight")),
        })
    }

    /// An error that says what was looked for.
    fn unknown(&self, shapes: &Named<'_>) -> Error {
        let some: Vec<&str> = shapes.tensors.keys().take(3).map(String::as_str).collect();
        let reason = format!(
            "the names of its tensors ({}, ...) are not all of those of an EDM network, so it cannot be told which one \
             it is",
            some.join(", ")
        );
        self.source.broken("EDM or SFD model", reason)
    }
}

impl Named<'_> {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors
            .get(&format!("model.{name}"))
            .map(|(_, shape)| *shape)
    }

    fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// The network, as far as names and shapes tell: all but dropout. `None` if a part that tells is missing.
    fn infer(&self) -> Option<Architecture> {
        let family = if self.has("out_norm.weight") {
            Family::Dhariwal
        } else if self
            .tensors
            .keys()
            .any(|name| name.ends_with("_aux_norm.weight"))
        {
            Family::Song
        } else {
            return None;
        };
        let resolutions = self.resolutions();
        if resolutions.len() > MOST_LEVELS {
            return None;
        }
        let resolution = *resolutions.last()?;
        let &[model_channels, channels, 3, 3] =
            self.shape(&format!("enc.{resolution}x{resolution}_conv.weight"))?
        else {
            return None;
        };
        let &[embedding, input] = self.shape(LANDMARK)? else {
            return None;
        };
        if input != model_channels
            || Some(embedding) != model_channels.checked_mul(EMBEDDING_MULTIPLIER)
        {
            return None;
        }
        let mut multipliers = Vec::new();
        for r in resolutions.iter().rev() {
            let width = *self
                .shape(&format!("dec.{r}x{r}_block0.conv1.bias"))?
                .first()?;
            if model_channels == 0 || !width.is_multiple_of(model_channels) {
                return None;
            }
            multipliers.push(width / model_channels);
        }
        let r = resolution;
        let blocks = (0..MOST_BLOCKS)
            .take_while(|i| self.has(&format!("dec.{r}x{r}_block{i}.conv0.weight")))
            .count();
        let attends = |r: &&usize| {
            let sides = ["enc", "dec"].iter();
            let mut names = sides.flat_map(|side| {
                (0..blocks).map(move |i| format!("{side}.{r}x{r}_block{i}.qkv.weight"))
            });
            names.any(|name| self.has(&name))
        };
        let attention = resolutions.iter().rev().filter(attends).copied().collect();
        let columns = |name: &str| match self.shape(name) {
            Some(&[_, columns]) => columns,
            _ => 0,
        };
        Some(Architecture {
            family,
            resolution,
            channels,
            classes: columns("map_label.weight"),
            model_channels,
            multipliers,
            blocks: blocks.checked_sub(1)?,
            attention_resolutions: attention,
            augment_labels: columns("map_augment.weight"),
            dropout: 0.0,
            step_branch: self.has("map_step_layer0.weight"),
        })
    }

    /// The image sizes in the names of the decoder's layers, smallest first.
    fn resolutions(&self) -> BTreeSet<usize> {
        let sizes = self.tensors.keys().filter_map(|name| {
            let rest = name.strip_prefix("model.dec.")?;
            let (size, _) = rest.split_once('x')?;
            size.parse().ok().filter(|size| *size <= 1 << 16)
        });
        sizes.collect()
    }
}
