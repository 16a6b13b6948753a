//! Denoising networks, with the parameter names of the official weight files.

mod embedding;
mod initial;
mod layers;
mod parameter;
mod song_unet;
mod unet_block;

pub use layers::Dropout;
pub(crate) use parameter::{Gathered, device, gather, gradients, replace};
pub use parameter::{Parameter, load, parameters};
pub use song_unet::{SongUNet, SongUNetConfig};

use crate::{Error, Images};
use burn::module::{Module, ModuleMapper, ModuleVisitor};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// Which network, and its sizes. Travels in the card of every model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NetworkConfig {
    /// DDPM++, the U-Net of EDM's `vp` models.
    SongUnet(SongUNetConfig),
}

impl NetworkConfig {
    /// Builds the network with freshly drawn weights, a function of `seed` and the parameter's name.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes that do not fit together.
    pub fn init(&self, seed: u64, device: &Device) -> Result<Network, Error> {
        self.check()?;
        match self {
            Self::SongUnet(config) => {
                let network = Network::SongUnet(SongUNet::new(config, device));
                Ok(initial::draw(network, seed))
            }
        }
    }

    /// Builds the network for weights that are loaded afterwards: all zero, norms one.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes that do not fit together.
    pub(crate) fn zeros(&self, device: &Device) -> Result<Network, Error> {
        self.check()?;
        Ok(match self {
            Self::SongUnet(config) => Network::SongUnet(SongUNet::new(config, device)),
        })
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::SongUnet(config) => config.check(),
        }
    }

    /// `[channels, height, width]` of one image.
    pub fn image_shape(&self) -> [usize; 3] {
        match self {
            Self::SongUnet(c) => [c.channels, c.resolution, c.resolution],
        }
    }

    /// Number of classes; 0 for an unconditional network.
    pub fn classes(&self) -> usize {
        match self {
            Self::SongUnet(c) => c.classes,
        }
    }

    /// Whether the network has the step branch (the condition on the number of steps). [SFD Sec. 3.3]
    pub fn has_step_branch(&self) -> bool {
        match self {
            Self::SongUnet(c) => c.step_branch,
        }
    }

    /// Multiply-adds of one forward pass of one image (convolutions, linear layers and attention).
    pub fn multiply_adds(&self) -> u64 {
        match self {
            Self::SongUnet(c) => c.multiply_adds(),
        }
    }
}

/// A network with its weights.
///
/// `Module` is implemented by passing every call on to the variant, so that parameter paths do not name it.
#[derive(Module, Debug)]
pub enum Network {
    /// DDPM++.
    SongUnet(SongUNet),
}

/// What goes into a network besides the images.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// The noise condition (c_noise), one value for all images or one per image.
    pub noise: &'a [f64],
    /// One-hot class labels `[batch, classes]`; `None` means zeros.
    pub labels: Option<&'a Tensor<2>>,
    /// Augmentation labels `[batch, 9]`; `None` leaves the branch out.
    pub augment: Option<&'a Tensor<2>>,
    /// Number of timestamps; `None` leaves the step branch out.
    pub steps: Option<usize>,
    /// Dropout masks while training; `None` for none.
    pub dropout: Option<&'a Dropout>,
}

impl Network {
    /// The raw network output F(x), same shape as `images` `[batch, channels, height, width]`.
    pub fn forward(&self, images: Images, inputs: Inputs<'_>) -> Images {
        match self {
            Self::SongUnet(network) => network.forward(images, inputs),
        }
    }

    /// Translates Burn's path of a parameter into the official name.
    pub(crate) fn official_name(&self, path: &str) -> String {
        match self {
            Self::SongUnet(network) => network.official_name(path),
        }
    }

    /// Visits every parameter.
    pub(crate) fn visit_with<V: ModuleVisitor>(&self, visitor: &mut V) {
        match self {
            Self::SongUnet(network) => network.visit(visitor),
        }
    }

    /// Maps every parameter.
    pub(crate) fn map_with<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        match self {
            Self::SongUnet(network) => Self::SongUnet(network.map(mapper)),
        }
    }
}
