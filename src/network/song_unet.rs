//! DDPM++ and NCSN++ ("SongUNet"), the U-Nets of the CIFAR-10, FFHQ and AFHQv2 models. [EDM App. F, Song et al. 2021]

use super::embedding::{Endpoint, Fourier, sinusoid};
use super::layers::Linear;
use super::plan::{Family, Plan, Variant};
use super::resample::ResampleFilter;
use super::step_branch::StepEmbedding;
use super::unet_block::BlockStyle;
use super::unet_body::UNetBody;
use super::walk::Told;
use super::{Inputs, is_default};
use crate::{Error, Images};
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};
use serde::{Deserialize, Serialize};

/// Sizes of a [`SongUNet`]. DDPM++ (EDM's `vp` models) has the defaults; NCSN++ (its `ve` models) has
/// [`Embedding::Fourier`] of 2 times the model channels, [`Encoder::Residual`] and [`ResampleFilter::Binomial`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SongUNetConfig {
    /// Height and width of the images, in pixels; divisible by 2^(levels - 1).
    pub resolution: usize,
    /// Channels of the images.
    pub channels: usize,
    /// Number of classes; 0 for an unconditional network.
    #[serde(default)]
    pub classes: usize,
    /// Channels of the first level; a multiple of 4.
    pub model_channels: usize,
    /// Channels of each level, as multiples of `model_channels`.
    pub channel_multipliers: Vec<usize>,
    /// Residual blocks a level.
    pub blocks: usize,
    /// Image sizes at which blocks have attention.
    pub attention_resolutions: Vec<usize>,
    /// Length of the augmentation label; 0 for a network without that input.
    #[serde(default)]
    pub augment_labels: usize,
    /// Dropout rate inside the blocks, in [0, 1); active in training only.
    #[serde(default)]
    pub dropout: f64,
    /// Whether the step branch exists.
    #[serde(default)]
    pub step_branch: bool,
    /// How the noise level is embedded.
    #[serde(default, skip_serializing_if = "is_default")]
    pub embedding: Embedding,
    /// Channels of that embedding, as a multiple of `model_channels`, 1 to 16.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub noise_multiplier: usize,
    /// How the images reach the lower levels.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encoder: Encoder,
    /// Which levels contribute to the answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub decoder: Decoder,
    /// Filter of halving and doubling.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resample_filter: ResampleFilter,
}

/// How the noise level is embedded. [EDM Tab. 7]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Embedding {
    /// Waves of fixed frequencies between 1 and 1/10000: DDPM++.
    #[default]
    Positional,
    /// Waves of random frequencies, which are stored in the file: NCSN++.
    Fourier,
}

/// How the images reach the lower levels. [EDM Tab. 7, Song et al. 2021]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoder {
    /// Through the blocks only: DDPM++.
    #[default]
    Standard,
    /// Halved images are added as well, through a 1x1 convolution.
    Skip,
    /// What a level began with is halved by a convolution and added: NCSN++.
    Residual,
}

/// Which levels contribute to the answer. [EDM Tab. 7, Song et al. 2021]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decoder {
    /// The last: DDPM++ and NCSN++.
    #[default]
    Standard,
    /// All; the lower ones are doubled and added.
    Skip,
}

const STYLE: BlockStyle = BlockStyle {
    epsilon: 1e-6,
    // Both branches are summed and scaled, which keeps the variance at 1.
    skip_scale: std::f64::consts::FRAC_1_SQRT_2,
    adaptive_scale: false,
};

impl Default for SongUNetConfig {
    /// EDM's network for CIFAR-10: unconditional DDPM++, without the step branch.
    fn default() -> Self {
        Self {
            resolution: 32,
            channels: 3,
            classes: 0,
            model_channels: 128,
            channel_multipliers: vec![2, 2, 2],
            blocks: 4,
            attention_resolutions: vec![16],
            augment_labels: 9,
            dropout: 0.13,
            step_branch: false,
            embedding: Embedding::default(),
            noise_multiplier: one(),
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            resample_filter: ResampleFilter::default(),
        }
    }
}

fn one() -> usize {
    1
}

// Serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(value: &usize) -> bool {
    *value == 1
}

impl SongUNetConfig {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=16).contains(&self.noise_multiplier) {
            let value = self.noise_multiplier;
            return Err(Error::invalid("noise_multiplier", value, "from 1 to 16"));
        }
        self.plan().check()
    }

    pub(crate) fn plan(&self) -> Plan<'_> {
        Plan {
            resolution: self.resolution,
            channels: self.channels,
            classes: self.classes,
            augment_labels: self.augment_labels,
            model_channels: self.model_channels,
            multipliers: &self.channel_multipliers,
            blocks: self.blocks,
            attention: &self.attention_resolutions,
            dropout: self.dropout,
            step_branch: self.step_branch,
            family: Family::Song(Variant {
                embedding: self.embedding,
                noise_multiplier: self.noise_multiplier,
                encoder: self.encoder,
                decoder: self.decoder,
                filter: self.resample_filter,
            }),
        }
    }
}

/// The network. Parameter names are those of the official weight files, prefix `model.`.
#[derive(Module, Debug)]
pub struct SongUNet {
    map_noise: Option<Fourier>,
    map_label: Option<Linear>,
    map_augment: Option<Linear>,
    map_layer0: Linear,
    map_layer1: Linear,
    step: Option<StepEmbedding>,
    body: UNetBody,
    #[module(skip)]
    waves: usize,
    #[module(skip)]
    classes: usize,
}

impl SongUNet {
    /// Builds the network with all weights zero and norms one; `config` must have passed
    /// [`SongUNetConfig::check`].
    pub(crate) fn new(config: &SongUNetConfig, device: &Device) -> Self {
        let plan = config.plan();
        let (waves, embedding) = (plan.waves(), plan.embedding());
        let linear = |i, o, bias| Linear::new(i, o, bias, device);
        let (classes, augment) = (config.classes, config.augment_labels);
        let fourier = config.embedding == Embedding::Fourier;
        Self {
            map_noise: fourier.then(|| Fourier::new(waves, device)),
            map_label: (classes > 0).then(|| linear(classes, waves, true)),
            map_augment: (augment > 0).then(|| linear(augment, waves, false)),
            map_layer0: linear(waves, embedding, true),
            map_layer1: linear(embedding, embedding, true),
            step: config
                .step_branch
                .then(|| StepEmbedding::new(waves, embedding, device)),
            body: UNetBody::new(&plan, STYLE, device),
            waves,
            classes,
        }
    }

    /// What all blocks are told. [EDM App. F]
    pub(super) fn tell<'a>(&self, images: &Images, inputs: Inputs<'a>) -> Told<'a> {
        let (dtype, device) = (images.dtype(), images.device());
        Told {
            time: self.embed(inputs, dtype, &device),
            each: inputs.each(),
            step: inputs
                .steps
                .and_then(|n| self.embed_steps(n, dtype, &device)),
            context: None,
            dropout: inputs.dropout,
        }
    }

    /// The embedding of noise level, class and augmentation, `[1 or batch, embedding]`, through its last SiLU.
    fn embed(&self, inputs: Inputs<'_>, dtype: DType, device: &Device) -> Tensor<2> {
        let each = inputs.each();
        let mut embedding = match &self.map_noise {
            Some(fourier) => fourier.forward(inputs.noise, dtype, device),
            None => sinusoid(inputs.noise, self.waves, Endpoint::Included, dtype, device),
        };
        if let Some(layer) = &self.map_label {
            let labels = match inputs.labels {
                Some(labels) => labels.clone().cast(dtype),
                None => Tensor::zeros([1, self.classes], (device, dtype)),
            };
            let scale = (self.classes as f64).sqrt();
            embedding = embedding + layer.forward_rows(labels.mul_scalar(scale), each);
        }
        if let (Some(layer), Some(augment)) = (&self.map_augment, inputs.augment) {
            embedding = embedding + layer.forward_rows(augment.clone().cast(dtype), each);
        }
        let embedding = activation::silu(self.map_layer0.forward_rows(embedding, each));
        activation::silu(self.map_layer1.forward_rows(embedding, each))
    }

    /// The embedding of the number of timestamps, `[1, embedding]`; `None` without a step branch. [SFD Sec. 3.3]
    pub(crate) fn embed_steps(
        &self,
        timestamps: usize,
        dtype: DType,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let layers = self.step.as_ref()?;
        Some(layers.forward(timestamps, Endpoint::Included, dtype, device))
    }

    pub(crate) fn body(&self) -> &UNetBody {
        &self.body
    }
}
