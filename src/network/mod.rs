//! Denoising networks, with the parameter names of the official weight files.

mod dhariwal_unet;
mod embedding;
mod fold;
mod initial;
mod key;
mod latent_unet;
mod layers;
mod outline;
mod parameter;
mod plan;
mod precision;
mod resample;
mod song_unet;
mod step_branch;
pub(crate) mod tree;
mod unet_block;
mod unet_body;
mod walk;

#[cfg(test)]
pub(crate) mod law;

pub use dhariwal_unet::{DhariwalUNet, DhariwalUNetConfig};
pub use fold::{StepUse, fold_step_branch};
pub use key::Key;
pub use latent_unet::{LatentAttention, LatentUNet, LatentUNetConfig};
pub use layers::Dropout;
pub(crate) use layers::{Conv2d, Linear};
pub(crate) use parameter::{Gathered, add_gradients, device, gather, gradients, replace, update};
pub use parameter::{Parameter, load, parameters, shapes};
pub(crate) use plan::{EMBEDDING_MULTIPLIER, Family, Plan, Variant};
pub use precision::Precision;
pub(crate) use resample::Resample;
pub use resample::ResampleFilter;
pub use song_unet::{Decoder, Embedding, Encoder, SongUNet, SongUNetConfig};
pub use step_branch::{StepInit, add_step_branch, is_step_parameter};
pub(crate) use walk::Recorded;

use crate::{Error, Images};
use burn::module::{Module, ModuleMapper, ModuleVisitor};
use burn::tensor::{DType, Device, Tensor};
use fewstep_kernels::Frozen;
use serde::{Deserialize, Serialize};
use unet_body::UNetBody;
use walk::{Told, Walk};

/// Which network, and its sizes. Travels in the card of every model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NetworkConfig {
    /// DDPM++ or NCSN++, the U-Nets of EDM's `vp` and `ve` models.
    SongUnet(SongUNetConfig),
    /// ADM, the U-Net of EDM's ImageNet-64 model.
    DhariwalUnet(DhariwalUNetConfig),
    /// The U-Net of latent diffusion models and Stable Diffusion.
    LatentUnet(LatentUNetConfig),
}

impl NetworkConfig {
    /// Builds the network with freshly drawn weights, a function of `seed` and the parameter's name.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes that do not fit together.
    pub fn init(&self, seed: u64, device: &Device) -> Result<Network, Error> {
        self.init_with(seed, StepInit::Official, device)
    }

    /// As [`init`](Self::init), with a choice of how the step branch starts, if there is one.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes that do not fit together.
    pub fn init_with(&self, seed: u64, step: StepInit, device: &Device) -> Result<Network, Error> {
        Ok(initial::draw(self.blank(device)?, seed, step, &|_| true))
    }

    /// Builds the network with all weights zero and norms one: for weights that are loaded, because nothing is drawn
    /// and on the CPU no memory is touched.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes that do not fit together.
    pub fn blank(&self, device: &Device) -> Result<Network, Error> {
        self.check()?;
        Ok(match self {
            Self::SongUnet(config) => Network::SongUnet(SongUNet::new(config, device)),
            Self::DhariwalUnet(config) => Network::DhariwalUnet(DhariwalUNet::new(config, device)),
            Self::LatentUnet(config) => Network::LatentUnet(LatentUNet::new(config, device)),
        })
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::SongUnet(config) => config.check(),
            Self::DhariwalUnet(config) => config.check(),
            Self::LatentUnet(config) => config.check(),
        }
    }

    /// The network that a plan describes.
    pub(crate) fn of(plan: &Plan<'_>) -> Self {
        let (channel_multipliers, attention_resolutions) =
            (plan.multipliers.to_vec(), plan.attention.to_vec());
        match plan.family {
            Family::Song(variant) => Self::SongUnet(SongUNetConfig {
                resolution: plan.resolution,
                channels: plan.channels,
                classes: plan.classes,
                model_channels: plan.model_channels,
                channel_multipliers,
                blocks: plan.blocks,
                attention_resolutions,
                augment_labels: plan.augment_labels,
                dropout: plan.dropout,
                step_branch: plan.step_branch,
                embedding: variant.embedding,
                noise_multiplier: variant.noise_multiplier,
                encoder: variant.encoder,
                decoder: variant.decoder,
                resample_filter: variant.filter,
            }),
            Family::Dhariwal => Self::DhariwalUnet(DhariwalUNetConfig {
                resolution: plan.resolution,
                channels: plan.channels,
                classes: plan.classes,
                model_channels: plan.model_channels,
                channel_multipliers,
                blocks: plan.blocks,
                attention_resolutions,
                augment_labels: plan.augment_labels,
                dropout: plan.dropout,
                step_branch: plan.step_branch,
            }),
        }
    }

    /// The sizes that both families of EDM's networks have; `None` for one of another kind.
    pub(crate) fn plan(&self) -> Option<Plan<'_>> {
        match self {
            Self::SongUnet(config) => Some(config.plan()),
            Self::DhariwalUnet(config) => Some(config.plan()),
            Self::LatentUnet(_) => None,
        }
    }

    /// `[channels, height, width]` of one image, or latent, of those that it was made for.
    pub fn image_shape(&self) -> [usize; 3] {
        let (channels, resolution) = match self {
            Self::SongUnet(config) => (config.channels, config.resolution),
            Self::DhariwalUnet(config) => (config.channels, config.resolution),
            Self::LatentUnet(config) => (config.channels, config.resolution),
        };
        [channels, resolution, resolution]
    }

    /// Whether it takes images of `[channels, height, width]`. Latent networks take any whose sides can be halved as often
    /// as they do it.
    pub fn takes(&self, [channels, height, width]: [usize; 3]) -> bool {
        match self {
            Self::LatentUnet(config) => {
                let factor = config.factor();
                let halves = |side: usize| side > 0 && side.is_multiple_of(factor);
                channels == config.channels && halves(height) && halves(width)
            }
            _ => self.image_shape() == [channels, height, width],
        }
    }

    /// Number of classes; 0 for a network without that input.
    pub fn classes(&self) -> usize {
        self.plan().map_or(0, |plan| plan.classes)
    }

    /// Length of the augmentation label; 0 for a network without that input.
    pub fn augment_labels(&self) -> usize {
        self.plan().map_or(0, |plan| plan.augment_labels)
    }

    /// Width of the tokens of the text that the network takes; `None` for a network without that input.
    pub fn context_width(&self) -> Option<usize> {
        match self {
            Self::LatentUnet(config) => config.context_width(),
            _ => None,
        }
    }

    /// Whether the network has the step branch (the condition on the number of steps). [SFD Sec. 3.3]
    pub fn has_step_branch(&self) -> bool {
        match self {
            Self::SongUnet(config) => config.step_branch,
            Self::DhariwalUnet(config) => config.step_branch,
            Self::LatentUnet(config) => config.step_branch,
        }
    }

    /// What a block does with the step condition. [SFD Sec. 3.3]
    pub fn step_use(&self) -> StepUse {
        match self {
            Self::SongUnet(_) | Self::LatentUnet(_) => StepUse::Added,
            Self::DhariwalUnet(_) => StepUse::ScaledAndShifted,
        }
    }

    /// The same network with or without the step branch.
    #[must_use]
    pub fn with_step_branch(&self, step_branch: bool) -> Self {
        let mut config = self.clone();
        match &mut config {
            Self::SongUnet(c) => c.step_branch = step_branch,
            Self::DhariwalUnet(c) => c.step_branch = step_branch,
            Self::LatentUnet(c) => c.step_branch = step_branch,
        }
        config
    }

    /// The same network with another dropout rate.
    #[must_use]
    pub fn with_dropout(&self, dropout: f64) -> Self {
        let mut config = self.clone();
        match &mut config {
            Self::SongUnet(c) => c.dropout = dropout,
            Self::DhariwalUnet(c) => c.dropout = dropout,
            Self::LatentUnet(c) => c.dropout = dropout,
        }
        config
    }

    /// Multiply-adds of one forward pass of one image (convolutions and attention, with 77 tokens of a text).
    pub fn multiply_adds(&self) -> u64 {
        match self {
            Self::SongUnet(config) => config.plan().multiply_adds(),
            Self::DhariwalUnet(config) => config.plan().multiply_adds(),
            Self::LatentUnet(config) => config.multiply_adds(),
        }
    }

    /// Number of parameters, without building the network. Sizes must have passed [`check`](Self::check).
    pub fn parameter_count(&self) -> u64 {
        let keys = self.keys().into_iter().filter(|key| !key.buffer);
        let counts = keys.map(|key| key.shape.iter().map(|n| *n as u64).product::<u64>());
        counts.sum()
    }

    /// Every entry of the state dict that official files have, without building the network. Sizes must have passed
    /// [`check`](Self::check).
    pub fn keys(&self) -> Vec<Key> {
        match self {
            Self::SongUnet(config) => config.plan().keys(),
            Self::DhariwalUnet(config) => config.plan().keys(),
            Self::LatentUnet(config) => config.keys(),
        }
    }

    /// The numbers of each constant filter (`resample_filter`), row-major; none in a network without them.
    pub fn filter(&self) -> Vec<f32> {
        self.plan()
            .map_or(Vec::new(), |plan| plan.filter().kernel())
    }
}

/// For settings that are left out of a card where they are the default.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Weights of convolutions, beyond which a network's are not kept prepared.
const MOST_FROZEN: usize = 400_000_000;

/// A network with its weights.
///
/// `Module` is implemented by passing every call on to the variant, so that parameter paths do not name it.
#[derive(Module, Debug)]
pub enum Network {
    /// DDPM++ or NCSN++.
    SongUnet(SongUNet),
    /// ADM.
    DhariwalUnet(DhariwalUNet),
    /// Latent diffusion's.
    LatentUnet(LatentUNet),
}

/// What goes into a network besides the images.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// The noise condition (c_noise; in latent networks the time), one value for all images or one per image.
    pub noise: &'a [f64],
    /// One-hot class labels `[batch, classes]`; `None` means zeros.
    pub labels: Option<&'a Tensor<2>>,
    /// Augmentation labels `[batch, 9]`; `None` leaves the branch out.
    pub augment: Option<&'a Tensor<2>>,
    /// The tokens of a text, `[batch or 1, tokens, width]`; `None` is one token of zeros.
    pub context: Option<&'a Tensor<3>>,
    /// Number of timestamps; `None` leaves the step branch out.
    pub steps: Option<usize>,
    /// Dropout masks while training; `None` for none.
    pub dropout: Option<&'a Dropout>,
}

impl Inputs<'_> {
    /// Whether each image is told something of its own, even if it is alone.
    fn each(&self) -> bool {
        self.noise.len() > 1 || self.labels.is_some() || self.augment.is_some()
    }
}

impl Network {
    /// The raw network output F(x), same shape as `images` `[batch, channels, height, width]`.
    pub fn forward(&self, images: Images, inputs: Inputs<'_>) -> Images {
        let told = self.tell(&images, inputs);
        self.walk().forward(images, &told)
    }

    /// What all parts are told of these images.
    fn tell<'a>(&self, images: &Images, inputs: Inputs<'a>) -> Told<'a> {
        match self {
            Self::SongUnet(network) => network.tell(images, inputs),
            Self::DhariwalUnet(network) => network.tell(images, inputs),
            Self::LatentUnet(network) => network.tell(images, inputs),
        }
    }

    /// The way from images to the raw output.
    fn walk(&self) -> Walk<'_> {
        match self {
            Self::SongUnet(network) => network.body().walk(),
            Self::DhariwalUnet(network) => network.body().walk(),
            Self::LatentUnet(network) => network.walk(),
        }
    }

    /// Keeps what the CPU's convolutions make of the weights while the result lives: for networks that are called many
    /// times and do not change. No result depends on it.
    pub fn frozen_weights(&self) -> Frozen {
        let kernels = parameter::kernels(self);
        let numbers: usize = kernels.iter().map(|k| k.shape().num_elements()).sum();
        // What is kept is up to four times as large; the memory of a network of billions is better spent otherwise.
        let small = numbers <= MOST_FROZEN;
        fewstep_kernels::freeze(kernels.into_iter().filter(|_| small))
    }

    fn body(&self) -> Option<&UNetBody> {
        match self {
            Self::SongUnet(network) => Some(network.body()),
            Self::DhariwalUnet(network) => Some(network.body()),
            Self::LatentUnet(_) => None,
        }
    }

    /// Taps a side of the constant filters that official files hold; `None` for a network without them.
    fn taps(&self) -> Option<usize> {
        self.body().map(|body| body.filter().taps())
    }

    /// What the blocks are told for a number of timestamps, `[1, embedding]`; `None` without a step branch.
    /// [SFD Sec. 3.3]
    pub(crate) fn step_embedding(&self, timestamps: usize, device: &Device) -> Option<Tensor<2>> {
        match self {
            Self::SongUnet(network) => network.embed_steps(timestamps, DType::F32, device),
            Self::DhariwalUnet(network) => network.embed_steps(timestamps, DType::F32, device),
            Self::LatentUnet(network) => network.embed_steps(timestamps, DType::F32, device),
        }
    }

    /// Translates Burn's path of a parameter into the official name.
    pub(crate) fn official_name(&self, path: &str) -> String {
        let Some(body) = self.body() else {
            return latent_unet::official_name(path);
        };
        match path.split_once('.') {
            Some(("body", rest)) => body.official_name(rest),
            Some(("step", rest)) => format!("model.map_step_{rest}"),
            _ => format!("model.{path}"),
        }
    }

    /// Visits every parameter.
    pub(crate) fn visit_with<V: ModuleVisitor>(&self, visitor: &mut V) {
        match self {
            Self::SongUnet(network) => network.visit(visitor),
            Self::DhariwalUnet(network) => network.visit(visitor),
            Self::LatentUnet(network) => network.visit(visitor),
        }
    }

    /// Maps every parameter.
    pub(crate) fn map_with<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        match self {
            Self::SongUnet(network) => Self::SongUnet(network.map(mapper)),
            Self::DhariwalUnet(network) => Self::DhariwalUnet(network.map(mapper)),
            Self::LatentUnet(network) => Self::LatentUnet(network.map(mapper)),
        }
    }
}
