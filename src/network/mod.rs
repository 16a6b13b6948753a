//! Denoising networks, with the parameter names of the official weight files.

mod adapted;
mod edm;
mod family;
mod inputs;
mod latent;
mod limit;
mod precision;
mod record;
mod step;
mod trace;
mod transformer;
mod walk;

#[cfg(test)]
pub(crate) mod law;

pub use crate::layer::{Dropout, ResampleFilter};
pub use crate::parameter::{
    Adapter, Adapters, Key, Keys, Named, Parameter, load, parameters, shapes,
};
pub(crate) use crate::parameter::{
    Gathered, add_gradients, device, gather, gradients, join_gradients, replace, update,
};
pub use adapted::AdaptedLayer;
pub use edm::{
    Decoder, DhariwalUNet, DhariwalUNetConfig, Embedding, Encoder, SongUNet, SongUNetConfig,
};
pub(crate) use edm::{Family, Plan, Variant};
pub use inputs::Inputs;
pub(crate) use latent::NAME as LATENT_NAME;
pub(crate) use latent::rows_of_whole;
pub use latent::{
    Added, LatentAttention, LatentUNet, LatentUNetConfig, PerLevel, PictureSizes, attach_whole,
};
pub(crate) use limit::EMBEDDING_MULTIPLIER;
pub use precision::Precision;
pub(crate) use record::Recorded;
pub use step::{StepInit, StepUse, add_step_branch, fold_step_branch, is_step_parameter};
pub(crate) use trace::{TracedInputs, TracedText};
pub use transformer::{DiffusionTransformer, TransformerConfig};

use crate::graph::{Graph, Value};
use crate::parameter::{draw, kernels};
use crate::{Error, Images};
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use edm::Planned;
use family::{Parts, Sizes};
use fewstep_kernels::Frozen;
use inputs::Told;
use serde::{Deserialize, Serialize};
use walk::Walk;

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
    /// DiT, the diffusion transformer.
    Transformer(TransformerConfig),
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
        let blank = self.blank(device)?;
        Ok(draw(blank, seed, &|key| step.draws(key)))
    }

    /// Builds the network with all weights zero and norms one: for weights that are loaded, because nothing is drawn
    /// and on the CPU no memory is touched.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes that do not fit together.
    pub fn blank(&self, device: &Device) -> Result<Network, Error> {
        self.blank_adapted(&Adapters::default(), device)
    }

    /// As [`blank`](Self::blank), with low-rank adapters in some layers.
    pub(crate) fn blank_adapted(
        &self,
        adapters: &Adapters,
        device: &Device,
    ) -> Result<Network, Error> {
        self.check()?;
        Ok(match self {
            Self::SongUnet(config) => Network::SongUnet(SongUNet::new(config, adapters, device)),
            Self::DhariwalUnet(config) => {
                Network::DhariwalUnet(DhariwalUNet::new(config, adapters, device))
            }
            Self::LatentUnet(config) => {
                Network::LatentUnet(LatentUNet::new(config, adapters, device))
            }
            Self::Transformer(config) => {
                Network::Transformer(DiffusionTransformer::new(config, adapters, device))
            }
        })
    }

    fn sizes(&self) -> &dyn Sizes {
        match self {
            Self::SongUnet(config) => config,
            Self::DhariwalUnet(config) => config,
            Self::LatentUnet(config) => config,
            Self::Transformer(config) => config,
        }
    }

    fn sizes_mut(&mut self) -> &mut dyn Sizes {
        match self {
            Self::SongUnet(config) => config,
            Self::DhariwalUnet(config) => config,
            Self::LatentUnet(config) => config,
            Self::Transformer(config) => config,
        }
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        self.sizes().check()
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
            Self::LatentUnet(_) | Self::Transformer(_) => None,
        }
    }

    /// `[channels, height, width]` of one image, or latent, of those that it was made for.
    pub fn image_shape(&self) -> [usize; 3] {
        self.sizes().image_shape()
    }

    /// Whether it takes images of `[channels, height, width]`. Latent networks take any whose sides can be halved as often
    /// as they do it.
    pub fn takes(&self, shape: [usize; 3]) -> bool {
        self.sizes().takes(shape)
    }

    /// Number of classes; 0 for a network without that input.
    pub fn classes(&self) -> usize {
        self.sizes().classes()
    }

    /// Length of the augmentation label; 0 for a network without that input.
    pub fn augment_labels(&self) -> usize {
        self.sizes().augment_labels()
    }

    /// Width of the tokens of the text that the network takes; `None` for a network without that input.
    pub fn context_width(&self) -> Option<usize> {
        self.sizes().context_width()
    }

    /// What the network is told besides the tokens of a text; `None` for most.
    pub fn added(&self) -> Option<Added> {
        match self {
            Self::LatentUnet(config) => config.added,
            _ => None,
        }
    }

    /// Rows of a text behind its tokens, which hold what else is told of it; 0 for most.
    pub fn context_rows(&self) -> usize {
        match self {
            Self::LatentUnet(config) => config.context_rows(),
            _ => 0,
        }
    }

    /// Whether the network has the step branch (the condition on the number of steps). [SFD Sec. 3.3]
    pub fn has_step_branch(&self) -> bool {
        self.sizes().step_branch()
    }

    /// What a block does with the step condition. [SFD Sec. 3.3]
    pub fn step_use(&self) -> StepUse {
        self.sizes().step_use()
    }

    /// The same network with or without the step branch.
    #[must_use]
    pub fn with_step_branch(&self, step_branch: bool) -> Self {
        let mut config = self.clone();
        config.sizes_mut().set_step_branch(step_branch);
        config
    }

    /// The same network with another dropout rate.
    #[must_use]
    pub fn with_dropout(&self, dropout: f64) -> Self {
        let mut config = self.clone();
        config.sizes_mut().set_dropout(dropout);
        config
    }

    /// Multiply-adds of one forward pass of one image (convolutions and attention, with 77 tokens of a text).
    pub fn multiply_adds(&self) -> u64 {
        self.sizes().multiply_adds()
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
        self.sizes().keys()
    }

    /// The numbers of each constant filter (`resample_filter`), row-major; none in a network without them.
    pub fn filter(&self) -> Vec<f32> {
        self.sizes().filter()
    }

    /// The numbers of a constant that official files hold besides the parameters, row-major; `key` is one of
    /// [`keys`](Self::keys).
    pub fn constant(&self, key: &Key) -> Vec<f32> {
        self.sizes().constant(key)
    }
}

/// Weights of convolutions, beyond which a network's are not kept prepared.
const MOST_FROZEN: usize = 400_000_000;

/// A network with its weights.
// There is one or two of them, and what they hold is elsewhere.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Network {
    /// DDPM++ or NCSN++.
    SongUnet(SongUNet),
    /// ADM.
    DhariwalUnet(DhariwalUNet),
    /// Latent diffusion's.
    LatentUnet(LatentUNet),
    /// DiT.
    Transformer(DiffusionTransformer),
}

impl Named for Network {
    fn keys(&self) -> &Keys {
        self.parts().keys()
    }
}

impl Network {
    fn parts(&self) -> &dyn Parts {
        match self {
            Self::SongUnet(network) => network,
            Self::DhariwalUnet(network) => network,
            Self::LatentUnet(network) => network,
            Self::Transformer(network) => network,
        }
    }

    /// The raw network output F(x), same shape as `images` `[batch, channels, height, width]`.
    pub fn forward(&self, images: Images, inputs: Inputs<'_>) -> Images {
        let told = self.tell(&images, inputs);
        self.walk().forward(images, &told)
    }

    /// [`forward`](Self::forward) in a graph. The network has no adapters, and is given a text if it takes one.
    pub(crate) fn trace(&self, graph: &mut Graph, images: &Value, inputs: &TracedInputs) -> Value {
        let told = self.parts().trace(graph, inputs);
        self.walk().trace(graph, images, &told)
    }

    /// What all parts are told of these images.
    fn tell<'a>(&self, images: &Images, inputs: Inputs<'a>) -> Told<'a> {
        self.parts().tell(images, inputs)
    }

    /// The way from images to the raw output.
    fn walk(&self) -> Walk<'_> {
        self.parts().walk()
    }

    /// What the blocks are told for a number of timestamps, `[1, embedding]`; `None` without a step branch.
    /// [SFD Sec. 3.3]
    pub(crate) fn step_embedding(&self, timestamps: usize, device: &Device) -> Option<Tensor<2>> {
        self.parts().step_embedding(timestamps, DType::F32, device)
    }

    /// Keeps what the CPU's convolutions make of the weights while the result lives: for networks that are called many
    /// times and do not change. No result depends on it.
    pub fn frozen_weights(&self) -> Frozen {
        let kernels = kernels(self);
        let numbers: usize = kernels.iter().map(|k| k.shape().num_elements()).sum();
        // What is kept is up to four times as large; the memory of a network of billions is better spent otherwise.
        let small = numbers <= MOST_FROZEN;
        fewstep_kernels::freeze(kernels.into_iter().filter(|_| small))
    }
}
