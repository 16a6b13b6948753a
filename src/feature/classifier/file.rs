//! Feature networks in files.

use super::network::{FeatureConfig, FeatureNetwork};
use crate::data::{Dataset, Plain};
use crate::feature::card::read_card;
use crate::feature::extract::Extract;
use crate::file::hash_file;
use crate::model::File;
use crate::parameter::Differences;
use crate::{Error, Images};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What a feature file is. Holds no time or machine, so that equal runs give equal files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FeatureCard {
    /// Version of the file format; this library reads 1.
    pub format: u32,
    /// Always `features`.
    pub kind: String,
    /// The network's sizes.
    pub network: FeatureConfig,
    /// The recipe it was trained with.
    pub recipe: serde_json::Value,
    /// Share of the held-out images that it tells rightly, in [0, 1], where measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Whether pictures of any size are cut and scaled to the network's.
    #[serde(default, skip_serializing_if = "is_off")]
    pub any_size: bool,
    /// Version of fewstep that wrote it.
    pub version: String,
}

// Serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_off(flag: &bool) -> bool {
    !flag
}

impl FeatureCard {
    /// The card of a network that this version trained.
    pub fn new(network: FeatureConfig, recipe: serde_json::Value, accuracy: Option<f64>) -> Self {
        Self {
            format: 1,
            kind: "features".into(),
            network,
            recipe,
            accuracy,
            any_size: false,
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// A feature network read from a file.
#[derive(Clone, Debug)]
pub struct Features {
    /// What it is.
    pub card: FeatureCard,
    /// SHA-256 of its file: moments may be compared only if they come from the same network.
    pub hash: String,
    network: FeatureNetwork,
}

impl Features {
    /// Reads a feature file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Malformed`] (not safetensors, no card, another kind or format), [`Error::Weights`].
    pub fn read(path: &Path, device: &Device) -> Result<Self, Error> {
        let file = File::read(path)?;
        let card: FeatureCard = read_card(&file, "features", "feature network", path)?;
        card.network.check()?;
        let network = load(&card.network, file.tensors, path, device)?;
        let hash = hash_file(path)?;
        Ok(Self {
            card,
            hash,
            network,
        })
    }

    /// Writes a trained network, its weights rounded to f16, atomically.
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::InvalidValue`] if the card cannot be written as JSON.
    pub fn write(network: &FeatureNetwork, card: &FeatureCard, path: &Path) -> Result<(), Error> {
        let json = serde_json::to_string(card)
            .map_err(|error| Error::invalid("card", error, "representable as JSON"))?;
        let file = File {
            tensors: network.tensors(),
            json: Some(json),
            ..File::default()
        };
        file.write(path)
    }

    /// The network, to classify with.
    pub fn network(&self) -> &FeatureNetwork {
        &self.network
    }

    /// Features of images in [-1, 1], row by row: `[batch, channels, size, size]` to `batch * features` numbers.
    ///
    /// # Errors
    /// [`Error::Incompatible`] if the images have another size.
    pub fn extract(&self, images: Images) -> Result<Vec<f32>, Error> {
        let [_, channels, height, width] = images.dims();
        let FeatureConfig {
            size,
            channels: wanted,
            ..
        } = self.card.network;
        if [channels, height, width] != [wanted, size, size] {
            if self.card.any_size {
                let device = images.device();
                // As a picture is rounded.
                let levels = images
                    .without_autodiff()
                    .mul_scalar(127.5)
                    .add_scalar(128.0);
                let levels = levels.into_data_dtype(DType::F32);
                let bytes = levels.iter::<f32>().map(|level| level as u8).collect();
                return self.extract_any(bytes, [channels, height, width], &device);
            }
            return Err(Error::Incompatible {
                first: format!("images of {channels} x {height} x {width}"),
                second: format!("the feature network's {wanted} x {size} x {size}"),
                remedy: "take the feature network of these images".into(),
            });
        }
        let features = self.network.features(images.without_autodiff());
        Ok(features.into_data_dtype(DType::F32).iter::<f32>().collect())
    }
}

impl Extract for Features {
    // The network's `size` is that of its images.
    #[allow(clippy::misnamed_getters)]
    fn size(&self) -> usize {
        self.card.network.features
    }

    fn hash(&self) -> &str {
        &self.hash
    }

    fn only(&self) -> Option<[usize; 3]> {
        let network = &self.card.network;
        let only = [network.channels, network.size, network.size];
        (!self.card.any_size).then_some(only)
    }

    fn extract(&self, images: Images) -> Result<Vec<f32>, Error> {
        self.extract(images)
    }

    fn extract_bytes(
        &self,
        bytes: Vec<u8>,
        shape: [usize; 3],
        device: &Device,
    ) -> Result<Vec<f32>, Error> {
        if self.card.any_size {
            return self.extract_any(bytes, shape, device);
        }
        let data = Dataset::new(bytes, shape, None, Vec::new())?;
        let all: Vec<usize> = (0..data.len()).collect();
        self.extract(data.batch(&all, &[], device))
    }
}

impl Features {
    /// Features of pictures of bytes, `[channels, height, width]` each, which are cut and scaled first.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for bytes that are no pictures, [`Error::Incompatible`] for colour where the network knows grey
    /// only.
    fn extract_any(
        &self,
        bytes: Vec<u8>,
        shape: [usize; 3],
        device: &Device,
    ) -> Result<Vec<f32>, Error> {
        let FeatureConfig { size, channels, .. } = self.card.network;
        let one = shape.iter().product::<usize>().max(1);
        if !bytes.len().is_multiple_of(one) {
            let expected = format!("whole pictures of {one} bytes");
            return Err(Error::invalid("bytes", bytes.len(), expected));
        }
        let fitted = bytes.par_chunks(one).map(|bytes| {
            let picture = Plain {
                shape,
                bytes: bytes.to_vec(),
            };
            if channels == 1 && picture.coloured() {
                return Err(Error::Incompatible {
                    first: "a picture with colour".into(),
                    second: "features that were trained on grey ones".into(),
                    remedy: "train others on pictures with colour".into(),
                });
            }
            picture.fit(size, channels)
        });
        let fitted: Vec<Vec<u8>> = fitted.collect::<Result<_, _>>()?;
        let data = Dataset::new(fitted.concat(), [channels, size, size], None, Vec::new())?;
        let all: Vec<usize> = (0..data.len()).collect();
        self.extract(data.batch(&all, &[], device))
    }
}

/// Builds the network from stored tensors, with every difference listed in the error.
pub(super) fn load(
    config: &FeatureConfig,
    mut tensors: BTreeMap<String, TensorData>,
    path: &Path,
    device: &Device,
) -> Result<FeatureNetwork, Error> {
    let mut differences = Differences::default();
    let network = FeatureNetwork::build(config, &mut |name, shape| {
        let len = shape.iter().product();
        let mut values = vec![0.0; len];
        match tensors.remove(name) {
            None => differences.miss(name),
            Some(data) if data.shape().as_slice() != shape => {
                differences.differ(name, data.shape().as_slice(), shape);
            }
            Some(data) => values = data.iter::<f32>().collect(),
        }
        Tensor::from_data(TensorData::new(values, [len]), device)
    });
    tensors.keys().for_each(|name| differences.surplus(name));
    differences.check(path)?;
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const TINY: FeatureConfig = FeatureConfig {
        size: 8,
        channels: 1,
        widths: [2, 3, 4],
        features: 5,
        classes: 3,
    };

    #[test]
    fn a_file_describes_itself_and_gives_the_same_features() {
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.safetensors");
        let network = FeatureNetwork::init(&TINY, 1, &device).unwrap();
        let card = FeatureCard::new(TINY, serde_json::json!({"seed": 1}), Some(0.5));
        Features::write(&network, &card, &path).unwrap();
        let read = Features::read(&path, &device).unwrap();
        assert_eq!(read.card, card);
        assert_eq!(read.hash.len(), 64);
        let images = crate::noise::latents(&[1, 2, 3], [1, 8, 8], &device);
        let features = read.extract(images.clone()).unwrap();
        assert_eq!(features.len(), 15);
        assert!(features.iter().all(|f| *f >= 0.0) && features.iter().any(|f| *f > 0.0));
        let rounded = network.clone().rounded().features(images.clone());
        let rounded: Vec<f32> = rounded.into_data().try_to_vec().unwrap();
        assert_eq!(features, rounded);
        // The weights in the file are rounded to 11 bits.
        let exact: Vec<f32> = network
            .features(images.clone())
            .into_data()
            .try_to_vec()
            .unwrap();
        for (a, b) in features.iter().zip(&exact) {
            assert!((a - b).abs() < 1e-2 * (1.0 + b.abs()), "{a} {b}");
        }
        // Reading and writing again changes nothing.
        let again = folder.path().join("again.safetensors");
        Features::write(read.network(), &card, &again).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(again).unwrap());
        assert!(read.extract(images.clone().narrow(2, 0, 4)).is_err());
        // One for any size takes those of its own as they are, and scales others.
        let any = FeatureCard {
            any_size: true,
            ..card
        };
        Features::write(&network, &any, &path).unwrap();
        let read = Features::read(&path, &device).unwrap();
        assert_eq!(read.extract(images.clone()).unwrap(), features);
        let large = images.clone().repeat(&[1, 1, 2, 3]);
        assert_eq!(read.extract(large).unwrap().len(), 15);
        let colour = images.repeat(&[1, 3, 1, 1]);
        assert_eq!(read.extract(colour.clone()).unwrap().len(), 15);
        let red = Tensor::cat(
            vec![
                colour.clone().narrow(1, 0, 2),
                colour.narrow(1, 0, 1) * -1.0,
            ],
            1,
        );
        let message = read.extract(red).unwrap_err().to_string();
        assert!(message.contains("colour"), "{message}");
    }

    #[test]
    fn foreign_files_are_refused() {
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.safetensors");
        let network = FeatureNetwork::init(&TINY, 1, &device).unwrap();
        let refuse = |card: &FeatureCard, reason: &str| {
            Features::write(&network, card, &path).unwrap();
            let message = Features::read(&path, &device).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        };
        let mut card = FeatureCard::new(TINY, serde_json::Value::Null, None);
        card.network.features = 6;
        refuse(&card, "hidden.weight: file [5, 4], network [6, 4]");
        card.kind = "teacher".into();
        refuse(&card, "`teacher` file");
        File::default().write(&path).unwrap();
        let message = Features::read(&path, &device).unwrap_err().to_string();
        assert!(message.contains("no card"), "{message}");
        let odd = FeatureConfig { size: 30, ..TINY };
        assert!(FeatureNetwork::init(&odd, 1, &device).is_err());
    }
}
