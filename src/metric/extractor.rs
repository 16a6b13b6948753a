//! What turns images into the features that are compared.

use super::Features;
use crate::data::Dataset;
use crate::feature::inception::{FEATURES, Inception};
use crate::{Error, Images};
use burn::tensor::Device;

/// A network of features.
#[derive(Debug)]
pub enum Extractor {
    /// One that was trained for images of one size.
    Trained(Features),
    /// That of published distances, for pictures of any size.
    Inception(Inception),
}

impl Extractor {
    /// Numbers of a feature vector.
    pub fn size(&self) -> usize {
        match self {
            Self::Trained(features) => features.card.network.features,
            Self::Inception(_) => FEATURES,
        }
    }

    /// What features must have in common to be compared: that of a file for a trained one, that of weights and resize for
    /// Inception.
    pub fn hash(&self) -> &str {
        match self {
            Self::Trained(features) => &features.hash,
            Self::Inception(network) => network.hash(),
        }
    }

    /// `[channels, height, width]` of the only images it takes, or `None` if it takes pictures of any size.
    pub fn only(&self) -> Option<[usize; 3]> {
        match self {
            Self::Trained(features) => {
                let network = &features.card.network;
                Some([network.channels, network.size, network.size])
            }
            Self::Inception(_) => None,
        }
    }

    /// The Inception network, if it is that.
    pub fn inception(&self) -> Option<&Inception> {
        match self {
            Self::Trained(_) => None,
            Self::Inception(network) => Some(network),
        }
    }

    /// Features of images in [-1, 1], row by row: `[batch, channels, height, width]` to `batch * size` numbers.
    ///
    /// # Errors
    /// [`Error::Incompatible`] or [`Error::InvalidValue`] for images that it does not take.
    pub fn extract(&self, images: Images) -> Result<Vec<f32>, Error> {
        match self {
            Self::Trained(features) => features.extract(images),
            Self::Inception(network) => network.features(images),
        }
    }

    /// As [`extract`](Self::extract), of bytes: `shape` is `[channels, height, width]` of each image.
    ///
    /// # Errors
    /// As [`extract`](Self::extract), and [`Error::InvalidValue`] for bytes that are no whole images.
    pub fn extract_bytes(
        &self,
        bytes: Vec<u8>,
        shape: [usize; 3],
        device: &Device,
    ) -> Result<Vec<f32>, Error> {
        match self {
            Self::Inception(network) => network.features_of_bytes(&bytes, shape),
            Self::Trained(features) => {
                let data = Dataset::new(bytes, shape, None, Vec::new())?;
                let all: Vec<usize> = (0..data.len()).collect();
                features.extract(data.batch(&all, &[], device))
            }
        }
    }
}
