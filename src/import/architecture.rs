//! A network in the words of the official code, before it is one of ours: the seam between files and networks.

use crate::Error;
use crate::network::{DhariwalUNetConfig, NetworkConfig, SongUNetConfig};

/// Which of the official networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// `SongUNet`, DDPM++.
    Song,
    /// `DhariwalUNet`, ADM.
    Dhariwal,
}

/// Which network a file is for, and its sizes. [SFD Sec. 3.3] for `step_branch`.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// `model_type`.
    pub family: Family,
    /// `img_resolution`, in pixels.
    pub resolution: usize,
    /// `img_channels`.
    pub channels: usize,
    /// `label_dim`; 0 for an unconditional network.
    pub classes: usize,
    /// `model_channels`.
    pub model_channels: usize,
    /// `channel_mult`.
    pub multipliers: Vec<usize>,
    /// `num_blocks`.
    pub blocks: usize,
    /// `attn_resolutions`, those that the network has, largest first.
    pub attention_resolutions: Vec<usize>,
    /// `augment_dim`; 0 for a network without that input.
    pub augment_labels: usize,
    /// `dropout`; 0 where the file does not say it.
    pub dropout: f64,
    /// Whether the step branch is there.
    pub step_branch: bool,
}

/// Embedding channels as a multiple of the model channels; `channel_mult_emb` in the official code.
pub(super) const EMBEDDING_MULTIPLIER: usize = 4;

impl Architecture {
    /// The network of ours that it is.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes that do not fit together.
    pub fn config(&self) -> Result<NetworkConfig, Error> {
        let config = match self.family {
            Family::Song => NetworkConfig::SongUnet(SongUNetConfig {
                resolution: self.resolution,
                channels: self.channels,
                classes: self.classes,
                model_channels: self.model_channels,
                channel_multipliers: self.multipliers.clone(),
                blocks: self.blocks,
                attention_resolutions: self.attention_resolutions.clone(),
                augment_labels: self.augment_labels,
                dropout: self.dropout,
                step_branch: self.step_branch,
                ..SongUNetConfig::default()
            }),
            Family::Dhariwal => NetworkConfig::DhariwalUnet(DhariwalUNetConfig {
                resolution: self.resolution,
                channels: self.channels,
                classes: self.classes,
                model_channels: self.model_channels,
                channel_multipliers: self.multipliers.clone(),
                blocks: self.blocks,
                attention_resolutions: self.attention_resolutions.clone(),
                augment_labels: self.augment_labels,
                dropout: self.dropout,
                step_branch: self.step_branch,
            }),
        };
        config.check()?;
        Ok(config)
    }

    /// What the official code calls a network of ours.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for NCSN++, whose files are not read or written yet.
    pub fn of(config: &NetworkConfig) -> Result<Self, Error> {
        Ok(match config {
            NetworkConfig::SongUnet(c) => Self {
                family: Family::Song,
                resolution: c.resolution,
                channels: c.channels,
                classes: c.classes,
                model_channels: c.model_channels,
                multipliers: c.channel_multipliers.clone(),
                blocks: c.blocks,
                attention_resolutions: c.attention_resolutions.clone(),
                augment_labels: c.augment_labels,
                dropout: c.dropout,
                step_branch: c.step_branch,
            },
            NetworkConfig::DhariwalUnet(c) => Self {
                family: Family::Dhariwal,
                resolution: c.resolution,
                channels: c.channels,
                classes: c.classes,
                model_channels: c.model_channels,
                multipliers: c.channel_multipliers.clone(),
                blocks: c.blocks,
                attention_resolutions: c.attention_resolutions.clone(),
                augment_labels: c.augment_labels,
                dropout: c.dropout,
                step_branch: c.step_branch,
            },
        })
        .and_then(|of: Self| match of.config()? == *config {
            true => Ok(of),
            false => Err(Error::Incompatible {
                first: "an NCSN++ network".into(),
                second: "files of the official layout".into(),
                remedy: "use our own model file of it, in f32".into(),
            }),
        })
    }

    /// Checks that the sizes are those of a network and not of a joke; everything may be multiplied afterwards.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the official argument.
    pub fn check(&self) -> Result<(), Error> {
        let levels = self.multipliers.len();
        for (name, value, least, most) in [
            ("img_resolution", self.resolution, 1, 4096),
            ("img_channels", self.channels, 1, 1024),
            ("label_dim", self.classes, 0, 1_000_000),
            ("model_channels", self.model_channels, 4, 16_384),
            ("channel_mult (levels)", levels, 1, 12),
            (
                "channel_mult",
                self.multipliers.iter().copied().max().unwrap_or(0),
                1,
                64,
            ),
            (
                "channel_mult",
                self.multipliers.iter().copied().min().unwrap_or(0),
                1,
                64,
            ),
            ("num_blocks", self.blocks, 0, 64),
            ("augment_dim", self.augment_labels, 0, 4096),
        ] {
            if !(least..=most).contains(&value) {
                return Err(Error::invalid(name, value, format!("{least} to {most}")));
            }
        }
        if !self.resolution.is_multiple_of(1 << (levels - 1)) {
            let expected = format!("a multiple of {} for {levels} levels", 1 << (levels - 1));
            return Err(Error::invalid("img_resolution", self.resolution, expected));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::invalid("dropout", self.dropout, "in [0, 1)"));
        }
        Ok(())
    }
}
