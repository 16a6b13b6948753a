//! A small network that turns images into features: a classifier without its last layer.

use crate::checkpoint::{File, hash_file};
use crate::noise::{Domain, Stream};
use crate::{Error, Images};
use burn::module::{Module, Param};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{DType, Device, Tensor, TensorData, activation, module};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Sizes of a [`FeatureNetwork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FeatureConfig {
    /// Height and width of the images, a multiple of 8 in 8..=256.
    pub size: usize,
    /// Channels of the images: 1 or 3.
    pub channels: usize,
    /// Channels of the three convolutions, 1 to 1024 each.
    pub widths: [usize; 3],
    /// Number of features, 1 to 4096.
    pub features: usize,
    /// Number of classes it is trained to tell apart, 2 to 65536.
    pub classes: usize,
}

impl FeatureConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] naming the size.
    pub fn check(&self) -> Result<(), Error> {
        let widths = self.widths.iter().all(|w| (1..=1024).contains(w));
        let checks = [
            (
                "size",
                self.size,
                self.size % 8 == 0 && (8..=256).contains(&self.size),
                "a multiple of 8 in 8..=256",
            ),
            (
                "channels",
                self.channels,
                [1, 3].contains(&self.channels),
                "1 or 3",
            ),
            (
                "widths",
                self.widths[0],
                widths,
                "three numbers in 1..=1024",
            ),
            (
                "features",
                self.features,
                (1..=4096).contains(&self.features),
                "in 1..=4096",
            ),
            (
                "classes",
                self.classes,
                (2..=65536).contains(&self.classes),
                "in 2..=65536",
            ),
        ];
        match checks.into_iter().find(|(_, _, fine, _)| !fine) {
            Some((name, value, _, expected)) => Err(Error::invalid(name, value, expected)),
            None => Ok(()),
        }
    }
}

/// Three convolutions (5x5 with stride 2; 3x3 and 3x3, each followed by a 2x2 maximum), a linear layer whose
/// rectified outputs are the features, and one that makes them class scores.
#[derive(Module, Debug)]
pub struct FeatureNetwork {
    conv0: Param<Tensor<4>>,
    conv0_bias: Param<Tensor<1>>,
    conv1: Param<Tensor<4>>,
    conv1_bias: Param<Tensor<1>>,
    conv2: Param<Tensor<4>>,
    conv2_bias: Param<Tensor<1>>,
    hidden: Param<Tensor<2>>,
    hidden_bias: Param<Tensor<1>>,
    output: Param<Tensor<2>>,
    output_bias: Param<Tensor<1>>,
}

impl FeatureNetwork {
    /// Random weights, a function of the seed only: normal with variance 2 / (fan in), biases zero. [He et al. 2015]
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes out of range.
    pub fn init(config: &FeatureConfig, seed: u64, device: &Device) -> Result<Self, Error> {
        config.check()?;
        let mut index = 0;
        Self::build(config, &mut |name, shape| {
            let fan_in: usize = shape[1..].iter().product();
            let len = shape.iter().product();
            let mut values = vec![0.0; len];
            if name.ends_with("weight") {
                let scale = (2.0 / fan_in as f64).sqrt() as f32;
                let normals = Stream::new(seed, Domain::Init, index).normals(len);
                values = normals.into_iter().map(|value| value * scale).collect();
            }
            index += 1;
            Ok(Tensor::from_data(TensorData::new(values, [len]), device))
        })
    }

    /// Asks `tensor` for each parameter by name and shape, flattened.
    fn build(
        config: &FeatureConfig,
        tensor: &mut dyn FnMut(&str, &[usize]) -> Result<Tensor<1>, Error>,
    ) -> Result<Self, Error> {
        let [a, b, c] = config.widths;
        let flat = c * (config.size / 8).pow(2);
        let conv = [[a, config.channels, 5, 5], [b, a, 3, 3], [c, b, 3, 3]];
        let linear = [[config.features, flat], [config.classes, config.features]];
        let mut get = |name: &str, shape: &[usize]| tensor(name, shape);
        Ok(Self {
            conv0: Param::from_tensor(get("conv0.weight", &conv[0])?.reshape(conv[0])),
            conv0_bias: Param::from_tensor(get("conv0.bias", &[a])?),
            conv1: Param::from_tensor(get("conv1.weight", &conv[1])?.reshape(conv[1])),
            conv1_bias: Param::from_tensor(get("conv1.bias", &[b])?),
            conv2: Param::from_tensor(get("conv2.weight", &conv[2])?.reshape(conv[2])),
            conv2_bias: Param::from_tensor(get("conv2.bias", &[c])?),
            hidden: Param::from_tensor(get("hidden.weight", &linear[0])?.reshape(linear[0])),
            hidden_bias: Param::from_tensor(get("hidden.bias", &[config.features])?),
            output: Param::from_tensor(get("output.weight", &linear[1])?.reshape(linear[1])),
            output_bias: Param::from_tensor(get("output.bias", &[config.classes])?),
        })
    }

    /// Features of images in [-1, 1]: `[batch, channels, size, size]` to `[batch, features]`, none negative.
    pub fn features(&self, images: Images) -> Tensor<2> {
        let conv = |images, weight: &Param<Tensor<4>>, bias: &Param<Tensor<1>>, stride, padding| {
            let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
            activation::relu(module::conv2d(
                images,
                weight.val(),
                Some(bias.val()),
                options,
            ))
        };
        let pool =
            |images| module::max_pool2d(images, MaxPoolOptions::new([2, 2]).with_stride([2, 2]));
        let x = conv(images, &self.conv0, &self.conv0_bias, 2, 2);
        let x = pool(conv(x, &self.conv1, &self.conv1_bias, 1, 1));
        let x = pool(conv(x, &self.conv2, &self.conv2_bias, 1, 1));
        activation::relu(linear(x.flatten(1, 3), &self.hidden, &self.hidden_bias))
    }

    /// Class scores (logits): `[batch, channels, size, size]` to `[batch, classes]`.
    pub fn scores(&self, images: Images) -> Tensor<2> {
        linear(self.features(images), &self.output, &self.output_bias)
    }

    /// The parameters by name, as stored: rounded to f16.
    fn tensors(&self) -> BTreeMap<String, TensorData> {
        fn data<const D: usize>(param: &Param<Tensor<D>>) -> TensorData {
            param.val().into_data_dtype(DType::F16)
        }
        let all = [
            ("conv0.weight", data(&self.conv0)),
            ("conv0.bias", data(&self.conv0_bias)),
            ("conv1.weight", data(&self.conv1)),
            ("conv1.bias", data(&self.conv1_bias)),
            ("conv2.weight", data(&self.conv2)),
            ("conv2.bias", data(&self.conv2_bias)),
            ("hidden.weight", data(&self.hidden)),
            ("hidden.bias", data(&self.hidden_bias)),
            ("output.weight", data(&self.output)),
            ("output.bias", data(&self.output_bias)),
        ];
        all.into_iter()
            .map(|(name, data)| (name.to_owned(), data))
            .collect()
    }
}

/// x W^T + b, weight `[out, in]`.
fn linear(x: Tensor<2>, weight: &Param<Tensor<2>>, bias: &Param<Tensor<1>>) -> Tensor<2> {
    x.matmul(weight.val().transpose()) + bias.val().unsqueeze()
}

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
        let malformed = |reason: String| Error::malformed(path, "feature network", reason);
        let file = File::read(path)?;
        let json = file.json.as_deref();
        let json =
            json.ok_or_else(|| malformed("it has no card (metadata key `fewstep`)".into()))?;
        let card: FeatureCard = serde_json::from_str(json)
            .map_err(|error| malformed(format!("its card cannot be understood: {error}")))?;
        if (card.format, card.kind.as_str()) != (1, "features") {
            let reason = format!("it is a `{}` file of format {}", card.kind, card.format);
            return Err(malformed(reason));
        }
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

/// Builds the network from stored tensors, with every difference listed in the error.
fn load(
    config: &FeatureConfig,
    mut tensors: BTreeMap<String, TensorData>,
    path: &Path,
    device: &Device,
) -> Result<FeatureNetwork, Error> {
    let (mut missing, mut mismatched) = (Vec::new(), Vec::new());
    let network = FeatureNetwork::build(config, &mut |name, shape| {
        let len = shape.iter().product();
        let mut values = vec![0.0; len];
        match tensors.remove(name) {
            None => missing.push(name.to_owned()),
            Some(data) if data.shape().as_slice() != shape => {
                let stored = data.shape().as_slice();
                mismatched.push(format!("{name}: file {stored:?}, network {shape:?}"));
            }
            Some(data) => values = data.iter::<f32>().collect(),
        }
        Ok(Tensor::from_data(TensorData::new(values, [len]), device))
    })?;
    if missing.is_empty() && mismatched.is_empty() && tensors.is_empty() {
        return Ok(network);
    }
    Err(Error::Weights {
        path: path.to_owned(),
        missing,
        unexpected: tensors.into_keys().collect(),
        mismatched,
    })
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
