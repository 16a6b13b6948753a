//! Which network a file is for, from the names and shapes of its tensors.

use crate::import::kind::Named;
use crate::network::{
    Decoder, EMBEDDING_MULTIPLIER, Embedding, Encoder, Family, NetworkConfig, Plan, ResampleFilter,
    Variant,
};
use std::collections::BTreeSet;

/// More than any network may have; the check of its sizes says so.
pub(super) const MOST_LEVELS: usize = 16;
const MOST_BLOCKS: usize = 100;

/// The name by which the start of all others is found.
pub(super) const LANDMARK: &str = "map_layer0.weight";

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
    pub(super) fn infer(&self) -> Option<NetworkConfig> {
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
