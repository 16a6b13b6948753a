//! What every network of features of pictures does.

use crate::data::Dataset;
use crate::{Error, Images};
use burn::tensor::Device;

/// A network of features.
pub trait Extract: Sync {
    /// Numbers of a feature vector.
    fn size(&self) -> usize;

    /// What features must have in common to be compared: that of a file for a trained network, that of weights and resize
    /// for Inception.
    fn hash(&self) -> &str;

    /// `[channels, height, width]` of the only images it takes, or `None` if it takes pictures of any size.
    fn only(&self) -> Option<[usize; 3]>;

    /// Features of images in [-1, 1], row by row: `[batch, channels, height, width]` to `batch * size` numbers.
    ///
    /// # Errors
    /// [`Error::Incompatible`] or [`Error::InvalidValue`] for images that it does not take.
    fn extract(&self, images: Images) -> Result<Vec<f32>, Error>;

    /// As [`extract`](Self::extract), of bytes: `shape` is `[channels, height, width]` of each image.
    ///
    /// # Errors
    /// As [`extract`](Self::extract), and [`Error::InvalidValue`] for bytes that are no whole images.
    fn extract_bytes(
        &self,
        bytes: Vec<u8>,
        shape: [usize; 3],
        device: &Device,
    ) -> Result<Vec<f32>, Error> {
        let data = Dataset::new(bytes, shape, None, Vec::new())?;
        let all: Vec<usize> = (0..data.len()).collect();
        self.extract(data.batch(&all, &[], device))
    }

    /// Class scores of images by their features, `classes` of each, where the inception score is made of them.
    fn scores(&self, _features: &[f32]) -> Option<Vec<f32>> {
        None
    }
}
