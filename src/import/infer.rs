//! Which network a file is for: from the arguments that it was made with where the file says them, else from the names
//! and shapes of its tensors.

use super::{CARD, Checkpoint, foreign};
use crate::Error;
use crate::model::card_of_state;
use crate::network::{
    Decoder, EMBEDDING_MULTIPLIER, Embedding, Encoder, Family, NetworkConfig, Plan, ResampleFilter,
    Variant,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Tensor shapes by official name, with the prefix that a file may put before all of them.
pub(super) struct Named<'a> {
    /// Official name to the file's name and its shape.
    pub(super) tensors: BTreeMap<String, (&'a str, &'a [usize])>,
}

/// More than any network may have; the check of its sizes says so.
const MOST_LEVELS: usize = 16;
const MOST_BLOCKS: usize = 100;

/// How the groups of tensors in a training state begin.
const WEIGHT: &str = "weight/";
const AVERAGE: &str = "average/";

/// The name by which the start of all others is found.
const LANDMARK: &str = "map_layer0.weight";

impl Checkpoint {
    /// The file's tensors by official name. Files of the bare network, or of one wrapped for several GPUs, have another
    /// start.
    pub(super) fn named(&self) -> Named<'_> {
        if let Some(named) = self.named_state() {
            return named;
        }
        if let Some(named) = self.named_latent() {
            return named;
        }
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

    /// The weights in a training state, averaged if it averages them; `None` in another file.
    fn named_state(&self) -> Option<Named<'_>> {
        card_of_state(self.metadata.get(CARD)?)?;
        let averaged = !self.raw && self.tensors.keys().any(|name| name.starts_with(AVERAGE));
        let group = if averaged { AVERAGE } else { WEIGHT };
        let tensors = self.tensors.iter().filter_map(|(name, info)| {
            let official = name.strip_prefix(group)?;
            // Averages are stored flat.
            let weight = self.tensors.get(&format!("{WEIGHT}{official}"));
            let weight = weight.filter(|weight| weight.count() == info.count());
            let shape = weight.unwrap_or(info).shape.as_slice();
            Some((official.to_string(), (name.as_str(), shape)))
        });
        Some(Named {
            tensors: tensors.collect(),
        })
    }

    /// The network that the file is for.
    ///
    /// # Errors
    /// [`Error::Malformed`] if that cannot be told, or if it is one of another kind.
    pub fn network_config(&self) -> Result<NetworkConfig, Error> {
        if self.has_card() {
            return Ok(self.card()?.network);
        }
        // First: of a network that is not built, a part may look like one that is.
        if let Some(what) = foreign::weights(&self.tensors) {
            return Err(self.source.broken("model", what));
        }
        if let Some(network) = self.latent_config()? {
            let wrong = |e| self.source.broken("latent model", e);
            network.check().map_err(wrong)?;
            return Ok(network);
        }
        if let Some(class) = self.class.as_deref()
            && !["EDMPrecond", "SongUNet", "DhariwalUNet"].contains(&class)
        {
            let reason = format!(
                "its weights are those of a {class}; only EDMPrecond is preconditioned as here"
            );
            return Err(self.source.broken("EDM or SFD model", reason));
        }
        self.check_widths()?;
        let shapes = self.named();
        let network = match (shapes.infer(), self.init.is_empty()) {
            (Some(inferred), true) => inferred,
            (inferred, false) => self.said(inferred.as_ref())?,
            (None, true) => return Err(self.unknown(&shapes)),
        };
        let told = self.init.get("dropout").and_then(Value::as_f64);
        let network = match told.or(self.dropout) {
            Some(dropout) => network.with_dropout(dropout),
            None => network,
        };
        let wrong = |e| self.source.broken("EDM or SFD model", e);
        network.check().map_err(wrong)?;
        Ok(network)
    }

    /// Refuses networks whose embedding has another width than all published ones.
    fn check_widths(&self) -> Result<(), Error> {
        match self.count("channel_mult_emb") {
            Some(value) if value != EMBEDDING_MULTIPLIER => {
                Err(self.variant("channel_mult_emb", value, EMBEDDING_MULTIPLIER))
            }
            _ => Ok(()),
        }
    }

    fn variant(&self, key: &str, value: impl ToString, built: impl ToString) -> Error {
        let (value, built) = (value.to_string(), built.to_string());
        let reason = format!("its {key} is {value}; this version has networks with {built}");
        self.source.broken("EDM or SFD model", reason)
    }

    /// An argument that is a count.
    fn count(&self, key: &str) -> Option<usize> {
        usize::try_from(self.init.get(key)?.as_u64()?).ok()
    }

    /// An argument that is a list of counts.
    fn counts(&self, key: &str) -> Option<Vec<usize>> {
        let list = self.init.get(key)?.as_array()?.iter();
        list.map(|n| usize::try_from(n.as_u64()?).ok()).collect()
    }

    /// What the arguments say, and the shapes where they say nothing.
    fn said(&self, inferred: Option<&NetworkConfig>) -> Result<NetworkConfig, Error> {
        let other = inferred.and_then(NetworkConfig::plan);
        let missing = |key: &str| {
            let reason = format!(
                "its arguments (_init_kwargs) have no `{key}`, and its tensors do not tell"
            );
            self.source.broken("EDM or SFD model", reason)
        };
        let count = |key: &str, other: Option<usize>| {
            let said = self.count(key).or(other);
            said.ok_or_else(|| missing(key))
        };
        let counts = |key: &str, other: Option<&[usize]>| {
            let said = self.counts(key).or_else(|| other.map(<[usize]>::to_vec));
            said.ok_or_else(|| missing(key))
        };
        let multipliers = counts("channel_mult", other.map(|o| o.multipliers))?;
        let resolution = count("img_resolution", other.map(|o| o.resolution))?;
        let mut attention = counts("attn_resolutions", other.map(|o| o.attention))?;
        // Those that the network never reaches say nothing.
        let levels = 0..multipliers.len().min(MOST_LEVELS);
        let reached: Vec<usize> = levels.map(|level| resolution >> level).collect();
        attention.retain(|r| reached.contains(r));
        attention.sort_unstable_by(|a, b| b.cmp(a));
        let class = self.init.get("model_type").and_then(Value::as_str);
        let family = match (class.or(self.network.as_deref()), other.map(|o| o.family)) {
            (Some("SongUNet"), Some(Family::Song(other))) => {
                Family::Song(self.variant_said(other)?)
            }
            (Some("SongUNet"), _) => Family::Song(self.variant_said(Variant::PLAIN)?),
            (Some("DhariwalUNet"), _) => Family::Dhariwal,
            (Some(name), _) => {
                return Err(self.variant("model_type", name, "SongUNet or DhariwalUNet"));
            }
            (None, other) => other.ok_or_else(|| missing("model_type"))?,
        };
        Ok(NetworkConfig::of(&Plan {
            resolution,
            channels: count("img_channels", other.map(|o| o.channels))?,
            classes: count("label_dim", other.map(|o| o.classes).or(Some(0)))?,
            augment_labels: count("augment_dim", other.map(|o| o.augment_labels).or(Some(0)))?,
            model_channels: count("model_channels", other.map(|o| o.model_channels))?,
            multipliers: &multipliers,
            blocks: count("num_blocks", other.map(|o| o.blocks))?,
            attention: &attention,
            dropout: 0.0,
            step_branch: self
                .tensors
                .keys()
                .any(|name| name.ends_with("map_step_layer0.weight")),
            family,
        }))
    }

    /// What the arguments say of the variant, and `other` where they say nothing.
    fn variant_said(&self, other: Variant) -> Result<Variant, Error> {
        let embeddings = [
            ("positional", Embedding::Positional),
            ("fourier", Embedding::Fourier),
        ];
        let encoders = [
            ("standard", Encoder::Standard),
            ("skip", Encoder::Skip),
            ("residual", Encoder::Residual),
        ];
        let decoders = [("standard", Decoder::Standard), ("skip", Decoder::Skip)];
        let filter = match self.counts("resample_filter").as_deref() {
            None => other.filter,
            Some([1, 1]) => ResampleFilter::Box,
            Some([1, 3, 3, 1]) => ResampleFilter::Binomial,
            Some(taps) => {
                let (value, built) = (format!("{taps:?}"), "[1, 1] or [1, 3, 3, 1]");
                return Err(self.variant("resample_filter", value, built));
            }
        };
        Ok(Variant {
            embedding: self.choice("embedding_type", other.embedding, &embeddings)?,
            noise_multiplier: self
                .count("channel_mult_noise")
                .unwrap_or(other.noise_multiplier),
            encoder: self.choice("encoder_type", other.encoder, &encoders)?,
            decoder: self.choice("decoder_type", other.decoder, &decoders)?,
            filter,
        })
    }

    /// An argument that is one of several words; `other` where it is not there.
    fn choice<T: Copy>(&self, key: &str, other: T, all: &[(&str, T)]) -> Result<T, Error> {
        let Some(said) = self.init.get(key).and_then(Value::as_str) else {
            return Ok(other);
        };
        let found = all.iter().find(|(word, _)| *word == said);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
            self.variant(key, said, words.join(" or "))
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

    fn any(&self, end: &str) -> bool {
        self.tensors.keys().any(|name| name.ends_with(end))
    }

    /// The network, as far as names and shapes tell: all but dropout. `None` if a part that tells is missing.
    fn infer(&self) -> Option<NetworkConfig> {
        let resolutions = self.resolutions();
        if resolutions.len() > MOST_LEVELS {
            return None;
        }
        let resolution = *resolutions.last()?;
        let &[_, channels, 3, 3] =
            self.shape(&format!("enc.{resolution}x{resolution}_conv.weight"))?
        else {
            return None;
        };
        let &[embedding, waves] = self.shape(LANDMARK)? else {
            return None;
        };
        if embedding == 0 || !embedding.is_multiple_of(EMBEDDING_MULTIPLIER) {
            return None;
        }
        let model_channels = embedding / EMBEDDING_MULTIPLIER;
        let family = if self.has("out_norm.weight") {
            Family::Dhariwal
        } else if self.any("_aux_norm.weight") && waves.is_multiple_of(model_channels) {
            Family::Song(self.variant(waves / model_channels, &resolutions))
        } else {
            return None;
        };
        let mut multipliers = Vec::new();
        for r in resolutions.iter().rev() {
            let width = *self
                .shape(&format!("dec.{r}x{r}_block0.conv1.bias"))?
                .first()?;
            if !width.is_multiple_of(model_channels) {
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
        let attention: Vec<usize> = resolutions.iter().rev().filter(attends).copied().collect();
        let columns = |name: &str| match self.shape(name) {
            Some(&[_, columns]) => columns,
            _ => 0,
        };
        Some(NetworkConfig::of(&Plan {
            resolution,
            channels,
            classes: columns("map_label.weight"),
            augment_labels: columns("map_augment.weight"),
            model_channels,
            multipliers: &multipliers,
            blocks: blocks.checked_sub(1)?,
            attention: &attention,
            dropout: 0.0,
            step_branch: self.has("map_step_layer0.weight"),
            family,
        }))
    }

    /// The parts in which DDPM++ and NCSN++ differ.
    fn variant(&self, noise_multiplier: usize, resolutions: &BTreeSet<usize>) -> Variant {
        let encoder = if self.any("_aux_residual.weight") {
            Encoder::Residual
        } else if self.any("_aux_skip.weight") {
            Encoder::Skip
        } else {
            Encoder::Standard
        };
        let ends = resolutions
            .iter()
            .filter(|r| self.has(&format!("dec.{r}x{r}_aux_norm.weight")));
        let filters = self.tensors.iter();
        let mut filters = filters.filter(|(name, _)| name.ends_with("resample_filter"));
        let taps = filters.next().and_then(|(_, (_, shape))| shape.last());
        Variant {
            embedding: match self.has("map_noise.freqs") {
                true => Embedding::Fourier,
                false => Embedding::Positional,
            },
            noise_multiplier,
            encoder,
            decoder: match ends.count() {
                0 | 1 => Decoder::Standard,
                _ => Decoder::Skip,
            },
            // Where the constants were left out: what is published with this encoder.
            filter: match (taps, encoder) {
                (Some(4), _) | (None, Encoder::Residual) => ResampleFilter::Binomial,
                _ => ResampleFilter::Box,
            },
        }
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
