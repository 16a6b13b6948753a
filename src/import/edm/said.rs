//! Which network the arguments say that a file's object was made with.

use super::infer::MOST_LEVELS;
use crate::Error;
use crate::container::Checkpoint;
use crate::network::{
    Decoder, EMBEDDING_MULTIPLIER, Embedding, Encoder, Family, NetworkConfig, Plan, ResampleFilter,
    Variant,
};
use serde_json::Value;

/// A file's arguments (`_init_kwargs`).
pub(super) struct Arguments<'a>(pub(super) &'a Checkpoint);

impl Arguments<'_> {
    /// Refuses networks whose embedding has another width than all published ones.
    pub(super) fn check_widths(&self) -> Result<(), Error> {
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
        self.0.source.broken("EDM or SFD model", reason)
    }

    /// An argument that is a count.
    fn count(&self, key: &str) -> Option<usize> {
        usize::try_from(self.0.init.get(key)?.as_u64()?).ok()
    }

    /// An argument that is a list of counts.
    fn counts(&self, key: &str) -> Option<Vec<usize>> {
        let list = self.0.init.get(key)?.as_array()?.iter();
        list.map(|n| usize::try_from(n.as_u64()?).ok()).collect()
    }

    /// The network that the arguments say, and the shapes where they say nothing.
    pub(super) fn network(&self, inferred: Option<&NetworkConfig>) -> Result<NetworkConfig, Error> {
        let other = inferred.and_then(NetworkConfig::plan);
        let missing = |key: &str| {
            let reason = format!(
                "its arguments (_init_kwargs) have no `{key}`, and its tensors do not tell"
            );
            self.0.source.broken("EDM or SFD model", reason)
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
        let class = self.0.init.get("model_type").and_then(Value::as_str);
        let family = match (class.or(self.0.network.as_deref()), other.map(|o| o.family)) {
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
                .0
                .tensors()
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
        let Some(said) = self.0.init.get(key).and_then(Value::as_str) else {
            return Ok(other);
        };
        let found = all.iter().find(|(word, _)| *word == said);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
            self.variant(key, said, words.join(" or "))
        })
    }
}
