//! Feature networks in files.

use super::network::{FeatureConfig, FeatureNetwork};
use crate::feature::card::read_card;
use crate::feature::extract::Extract;
use crate::file::hash_file;
use crate::model::File;
use crate::parameter::Differences;
use crate::{Error, Images};
use burn::tensor::{DType, Device, Tensor, TensorData};
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
    /// Share of the test images that it classifies rightly, in [0, 1], where measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Version of fewstep that wrote it.
    pub version: String,
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
        Some([network.channels, network.size, network.size])
    }

    fn extract(&self, images: Images) -> Result<Vec<f32>, Error> {
        self.extract(images)
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
        assert!(read.extract(images.narrow(2, 0, 4)).is_err());
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
