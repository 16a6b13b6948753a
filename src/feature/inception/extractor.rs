//! The network with its weights, for pictures of any size.

use super::network::{Found, Network};
use super::resize::{Resize, SIDE};
use super::weight::{CLASSES, WIDTH, Weights};
use crate::feature::extract::Extract;
use crate::file::hash_bytes;
use crate::import::Checkpoint;
use crate::{Error, Images};
use burn::tensor::{DType, Device};
use fewstep_kernels::Maps;
use std::path::Path;

/// Features of an image.
pub const FEATURES: usize = WIDTH;
/// Class scores of an image.
pub const LOGITS: usize = CLASSES;

/// Images that go through the network together: the memory of some 10 MB each is what counts.
const BATCH: usize = 16;
/// The largest side of a picture.
const LARGEST: usize = 1 << 14;

/// Means over all pixels inside the network, for whoever compares features of other widths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stages {
    /// 192 features after the first five convolutions, `[batch][feature]`.
    pub first: Vec<f32>,
    /// 768 features after the blocks of 17 x 17 pixels.
    pub middle: Vec<f32>,
    /// The 2048 features.
    pub pool: Vec<f32>,
}

/// The Inception network of Frechet distances.
#[derive(Debug)]
pub struct Inception {
    network: Network,
    resize: Resize,
    hash: String,
    device: Device,
}

impl Inception {
    /// Reads weights under the names of the PyTorch port (`pt_inception-2015-12-05-6726825d.pth`) from any file that
    /// [`Checkpoint::read`] takes; nothing in it is executed.
    ///
    /// # Errors
    /// As [`Checkpoint::read`], and [`Error::Weights`] listing every difference.
    pub fn read(path: &Path, resize: Resize, device: &Device) -> Result<Self, Error> {
        let file = Checkpoint::read(path)?;
        Self::new(Weights::of(&file)?, resize, device)
    }

    /// With weights that are made up by [`formula`](super::formula), for tests.
    ///
    /// # Errors
    /// None that are known.
    pub fn made_up(resize: Resize, device: &Device) -> Result<Self, Error> {
        Self::new(Weights::made_up(), resize, device)
    }

    fn new(mut weights: Weights<'_>, resize: Resize, device: &Device) -> Result<Self, Error> {
        let device = device.clone().inner();
        let network = Network::new(&mut weights, &device)?;
        let text = format!("inception {} {}", weights.finish(), resize.name());
        Ok(Self {
            network,
            resize,
            hash: hash_bytes(text.as_bytes()),
            device,
        })
    }

    /// A hash of weights and resize: features of the same hash may be compared. The same weights in another file have the
    /// same one.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How pictures are brought to the network's size.
    pub fn resize(&self) -> Resize {
        self.resize
    }

    /// The 2048 features of images in [-1, 1], row by row: `[batch, 1 or 3, height, width]` to `batch * 2048` numbers.
    /// Images are rounded to bytes, as files of them are; grey ones stand for RGB with equal channels.
    ///
    /// # Errors
    /// As [`features_of_bytes`](Self::features_of_bytes).
    pub fn features(&self, images: Images) -> Result<Vec<f32>, Error> {
        let [_, channels, height, width] = images.dims();
        // As `Picture::all` does it.
        let levels = images
            .without_autodiff()
            .mul_scalar(127.5)
            .add_scalar(128.0);
        let levels = levels.into_data_dtype(DType::F32);
        let bytes: Vec<u8> = levels.iter::<f32>().map(|level| level as u8).collect();
        self.features_of_bytes(&bytes, [channels, height, width])
    }

    /// As [`features`](Self::features), of bytes: `[channels, height, width]` for each image, one after the other.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for other channels, empty or huge pictures, or bytes that are no whole pictures.
    pub fn features_of_bytes(&self, bytes: &[u8], shape: [usize; 3]) -> Result<Vec<f32>, Error> {
        let mut features = Vec::new();
        self.each(bytes, shape, false, |found| features.extend(found.pool))?;
        Ok(features)
    }

    /// As [`features_of_bytes`](Self::features_of_bytes), with those inside the network.
    ///
    /// # Errors
    /// As [`features_of_bytes`](Self::features_of_bytes).
    pub fn stages(&self, bytes: &[u8], shape: [usize; 3]) -> Result<Stages, Error> {
        let mut stages = Stages::default();
        self.each(bytes, shape, true, |found| {
            if let Some([first, middle]) = found.stages {
                stages.first.extend(first);
                stages.middle.extend(middle);
            }
            stages.pool.extend(found.pool);
        })?;
        Ok(stages)
    }

    fn each(
        &self,
        bytes: &[u8],
        shape: [usize; 3],
        stages: bool,
        mut take: impl FnMut(Found),
    ) -> Result<(), Error> {
        let [channels, height, width] = shape;
        if ![1, 3].contains(&channels) {
            let expected = "1 (grey) or 3 (RGB) for the Inception network";
            return Err(Error::invalid("channels", channels, expected));
        }
        for (name, side) in [("height", height), ("width", width)] {
            if !(1..=LARGEST).contains(&side) {
                let expected = format!("1 to {LARGEST} pixels");
                return Err(Error::invalid(name, side, expected));
            }
        }
        let size = channels * height * width;
        if !bytes.len().is_multiple_of(size) {
            let expected = format!("whole pictures of {size} bytes");
            return Err(Error::invalid("bytes", bytes.len(), expected));
        }
        for pictures in bytes.chunks(BATCH * size) {
            let batch = pictures.len() / size;
            let values = self.resize.apply(pictures, shape);
            let maps = Maps::new(values, [batch, SIDE, SIDE, 3], &self.device);
            take(self.network.forward(maps, stages));
        }
        Ok(())
    }

    /// The 1008 class scores of each image without bias ("unbiased"), as the inception score takes them:
    /// `batch * 2048` features to `batch * 1008` numbers.
    ///
    /// # Panics
    /// If the features are not of whole images.
    pub fn logits(&self, features: &[f32]) -> Vec<f32> {
        assert!(features.len().is_multiple_of(WIDTH), "features of images");
        self.network.scores(features)
    }
}

impl Extract for Inception {
    fn size(&self) -> usize {
        FEATURES
    }

    fn hash(&self) -> &str {
        self.hash()
    }

    fn only(&self) -> Option<[usize; 3]> {
        None
    }

    fn extract(&self, images: Images) -> Result<Vec<f32>, Error> {
        self.features(images)
    }

    fn extract_bytes(
        &self,
        bytes: Vec<u8>,
        shape: [usize; 3],
        _: &Device,
    ) -> Result<Vec<f32>, Error> {
        self.features_of_bytes(&bytes, shape)
    }

    fn scores(&self, features: &[f32]) -> Option<Vec<f32>> {
        Some(self.logits(features))
    }
}
