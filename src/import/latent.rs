//! Files of latent models: which of their tensors are the U-Net's, under which names, and which U-Net it is.
//!
//! CompVis files hold autoencoder and text encoder as well, averaged weights under names without dots, and the noise table
//! as buffers. Folders of diffusers have a file for each part, with names of their own (`diffusers.rs`).

use super::infer::Named;
use super::{Checkpoint, diffusers};
use crate::Error;
use crate::grid::{LogAlphaTable, Spacing};
use crate::model::{Card, Kind, Sampling};
use crate::network::{LatentAttention, LatentUNetConfig, NetworkConfig};
use crate::solver::{Prediction, SolverConfig};
use serde_json::Value;
use std::collections::BTreeMap;

/// Start of all official names of the U-Net.
pub(super) const PREFIX: &str = "model.diffusion_model.";

/// The name by which the start of all others is found.
const LANDMARK: &str = "time_embed.0.weight";

/// Start of the names of averaged weights.
const AVERAGED: &str = "model_ema.";

/// More than any network may have; the check of its sizes says so.
const MOST: usize = 100;

/// What names and shapes do not tell, as published: channels of a head where attention is among pixels, and heads where it
/// is to a text.
const HEAD_CHANNELS: usize = 32;
pub(super) const HEADS: usize = 8;

/// First and last beta of the published models: LSUN-Bedroom and FFHQ, and Stable Diffusion.
const BETAS: (f64, f64) = (0.0015, 0.0195);
const BETAS_TEXT: (f64, f64) = (0.00085, 0.012);

/// How an imported latent teacher is sampled unless one says otherwise: with the settings of the paper's teacher.
const TEACHER_STEPS: usize = 12;
const SIGMA_MIN: f64 = 0.006;
const SIGMA_MIN_TEXT: f64 = 0.1;
/// The usual weight of Stable Diffusion.
const GUIDANCE: f64 = 7.5;

impl Checkpoint {
    /// The tensors of a latent U-Net by official name; `None` in a file without one.
    pub(super) fn named_latent(&self) -> Option<Named<'_>> {
        if let Some(prefix) = self.latent_prefix() {
            return Some(self.named_after(prefix));
        }
        let config = diffusers::infer(self)?;
        let names = diffusers::names(&config);
        let official: BTreeMap<&str, &str> = names
            .iter()
            .map(|(ours, theirs)| (theirs.as_str(), ours.as_str()))
            .collect();
        let tensors = self.tensors.iter().map(|(name, info)| {
            let ours = official
                .get(name.as_str())
                .map_or(name.as_str(), |ours| ours);
            (ours.to_string(), (name.as_str(), info.shape.as_slice()))
        });
        Some(Named {
            tensors: tensors.collect(),
        })
    }

    /// What is before all names of the U-Net.
    fn latent_prefix(&self) -> Option<&str> {
        let mut names = self.tensors.keys();
        names.find_map(|name| name.strip_suffix(LANDMARK))
    }

    /// The tensors that start so. Where the file has averaged weights they stand for the others.
    fn named_after(&self, prefix: &str) -> Named<'_> {
        let averaged = !self.raw && self.tensors.keys().any(|name| name.starts_with(AVERAGED));
        let mut tensors = BTreeMap::new();
        for (name, info) in &self.tensors {
            let Some(rest) = name.strip_prefix(prefix) else {
                continue;
            };
            let found = match averaged {
                true => self.tensors.get_key_value(&averaged_name(rest)),
                false => Some((name, info)),
            };
            // One that is missing is reported as such: a mixture of averaged weights and others is no network.
            if let Some((name, info)) = found {
                let entry = (name.as_str(), info.shape.as_slice());
                tensors.insert(format!("{PREFIX}{rest}"), entry);
            }
        }
        Named { tensors }
    }

    /// The averaged weights are left aside, so that the network is loaded with those that training ended with.
    #[must_use]
    pub fn without_average(self) -> Self {
        Self { raw: true, ..self }
    }

    /// The latent network that the file is for; `None` in a file without one.
    ///
    /// # Errors
    /// [`Error::Malformed`] for settings beside it that are not those of such a network.
    pub(super) fn latent_config(&self) -> Result<Option<NetworkConfig>, Error> {
        let config = match self.latent_prefix() {
            None => match diffusers::infer(self) {
                Some(config) => Some(diffusers::told(self.path(), config)?),
                None => None,
            },
            Some(_) => self.named_latent().as_ref().and_then(infer),
        };
        Ok(config.map(NetworkConfig::LatentUnet))
    }

    /// The noise levels that the network was trained on: of the file's buffers, or the published ones.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the buffers are of another kind of schedule.
    fn noise_table(&self, text: bool) -> Result<LogAlphaTable, Error> {
        let (start, end) = if text { BETAS_TEXT } else { BETAS };
        if !self.tensors.contains_key("betas") {
            return LogAlphaTable::scaled_linear(start, end, 1000);
        }
        let betas = self.values("betas")?;
        let reason = "its `betas` are not those of a schedule that is linear in their square roots";
        let wrong = || self.source.broken("latent model", reason);
        let (Some(first), Some(last)) = (betas.first(), betas.last()) else {
            return Err(wrong());
        };
        // Stored in single precision: the shortest number that rounds to it is the one that was meant.
        let meant = |beta: &f32| beta.to_string().parse::<f64>().unwrap_or(f64::NAN);
        let (start, end) = (meant(first), meant(last));
        let table = LogAlphaTable::scaled_linear(start, end, betas.len()).map_err(|_| wrong())?;
        let count = (betas.len() - 1).max(1) as f64;
        let fits = betas.iter().enumerate().all(|(k, beta)| {
            let root = start.sqrt() + (end.sqrt() - start.sqrt()) * k as f64 / count;
            (f64::from(*beta) / (root * root) - 1.0).abs() < 1e-5
        });
        if fits { Ok(table) } else { Err(wrong()) }
    }

    /// The card of a latent model's file.
    ///
    /// # Errors
    /// As [`Checkpoint::card`].
    pub(super) fn latent_card(&self, network: NetworkConfig) -> Result<Card, Error> {
        self.check_keys(&network)?;
        if self.latent_prefix().is_none() {
            diffusers::check_schedule(self.path())?;
        }
        let text = network.context_width().is_some();
        let table = self.noise_table(text)?;
        let sampling = Sampling {
            solver: SolverConfig::DpmSolverPp {
                order: if text { 2 } else { 3 },
                prediction: Prediction::Noise,
                lower_order_final: true,
                thresholding: false,
                corrected: false,
            },
            steps: TEACHER_STEPS,
            sigma_max: table.sigma_max(),
            spacing: Spacing::Discrete {
                rho: 1.0,
                table: table.clone(),
            },
            sigma_min: if text { SIGMA_MIN_TEXT } else { SIGMA_MIN },
            analytic_first_step: false,
            step_condition: false,
            step_range: None,
            guidance: if text { GUIDANCE } else { 1.0 },
        };
        sampling
            .check()
            .map_err(|e| self.source.broken("latent model", e))?;
        Ok(Card {
            format: 1,
            kind: Kind::Teacher,
            network,
            preconditioning: table.into(),
            sampling,
            recipe: self.provenance(),
            trained_on: 0,
            class_names: Vec::new(),
            parent: None,
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }
}

/// The averaged weight's name of a parameter of the U-Net: all dots but the first are left out.
fn averaged_name(rest: &str) -> String {
    format!("{AVERAGED}diffusion_model{}", rest.replace('.', ""))
}

/// The network, as far as names and shapes tell; heads and size of the latents as published. `None` if a part that tells is
/// missing.
fn infer(named: &Named<'_>) -> Option<LatentUNetConfig> {
    let shape = |name: &str| {
        let found = named.tensors.get(&format!("{PREFIX}{name}"));
        found.map(|(_, shape)| *shape)
    };
    let has = |name: &str| shape(name).is_some();
    let &[model_channels, channels, 3, 3] = shape("input_blocks.0.0.weight")? else {
        return None;
    };
    let (mut multipliers, mut factors) = (Vec::new(), Vec::new());
    let (mut blocks, mut in_level) = (0, 0);
    let mut attention = None;
    for i in 1..MOST {
        if has(&format!("input_blocks.{i}.0.op.weight")) {
            in_level = 0;
            continue;
        }
        let Some(bias) = shape(&format!("input_blocks.{i}.0.in_layers.2.bias")) else {
            break;
        };
        let width = *bias.first()?;
        if model_channels == 0 || !width.is_multiple_of(model_channels) {
            return None;
        }
        if in_level == 0 {
            multipliers.push(width / model_channels);
        }
        in_level += 1;
        blocks = blocks.max(in_level);
        let place = format!("input_blocks.{i}.1");
        if has(&format!("{place}.norm.weight")) {
            let factor = 1usize.checked_shl(u32::try_from(multipliers.len()).ok()? - 1)?;
            if !factors.contains(&factor) {
                factors.push(factor);
            }
            attention = Some(place);
        }
    }
    // In the middle there is attention in any case.
    let place = attention.unwrap_or_else(|| "middle_block.1".into());
    Some(LatentUNetConfig {
        resolution: LatentUNetConfig::default().resolution,
        channels,
        model_channels,
        channel_multipliers: multipliers,
        blocks,
        attention_factors: factors,
        attention: match shape(&format!("{place}.qkv.weight")) {
            Some(_) => LatentAttention::Pixels {
                head_channels: HEAD_CHANNELS,
            },
            None => {
                let block = |n| format!("{place}.transformer_blocks.{n}.attn2.to_k.weight");
                let &[_, width] = shape(&block(0))? else {
                    return None;
                };
                LatentAttention::Text {
                    heads: HEADS,
                    width,
                    depth: (1..MOST).find(|n| !has(&block(*n)))?,
                }
            }
        },
        dropout: 0.0,
        step_branch: has("nfe_embed.0.weight"),
    })
}

/// A whole number in a JSON table.
pub(super) fn whole(of: &Value, key: &str) -> Option<usize> {
    usize::try_from(of[key].as_u64()?).ok()
}
