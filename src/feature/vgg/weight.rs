//! Weights of VGG16 and of the linear heads from files.

use super::{BLOCKS, Perceptual, PerceptualConfig};
use crate::Error;
use crate::file::hash_bytes;
use crate::import::Checkpoint;
use crate::parameter::Differences;
use burn::tensor::{DType, Device, Tensor, TensorData};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Positions of VGG16's convolutions in torchvision's list of layers.
const POSITIONS: [&[usize]; 5] = [
    &[0, 2],
    &[5, 7],
    &[10, 12, 14],
    &[17, 19, 21],
    &[24, 26, 28],
];

/// What the usual files hold besides: VGG16's classifier, constants, and the heads once more.
const PASSED_OVER: [&str; 3] = ["classifier.", "scaling_layer.", "lins."];

fn passed_over(name: &str) -> bool {
    PASSED_OVER.iter().any(|start| name.starts_with(start))
}

/// Takes tensors by name and takes note of what does not fit.
struct Reader {
    tensors: BTreeMap<String, TensorData>,
    bytes: Vec<u8>,
    differences: Differences,
}

impl Perceptual {
    /// Reads weights from safetensors or PyTorch's files, which are looked at as one: VGG16 under torchvision's names
    /// (`features.0.weight`...) and the heads under those of the LPIPS authors (`lin0.model.1.weight`...), or all of
    /// it as the LPIPS authors save it (`net.slice1.0.weight`...).
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Malformed`], [`Error::Weights`] listing every difference, or [`Error::InvalidValue`]
    /// for another size or other weights than `config` asks for.
    pub fn read(
        paths: &[PathBuf],
        config: &PerceptualConfig,
        device: &Device,
    ) -> Result<Self, Error> {
        let mut tensors = BTreeMap::new();
        for path in paths {
            let file = Checkpoint::read(path)?;
            for (name, info) in file.tensors().iter().filter(|(name, _)| !passed_over(name)) {
                let data = TensorData::new(file.values(name)?, info.shape.clone());
                tensors.insert(name.clone(), data);
            }
        }
        let named = paths.first().map_or(Path::new("perceptual weights"), |p| p);
        Self::from_tensors(tensors, config, named, device)
    }

    /// As [`read`](Self::read), from tensors by name; `path` is for messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_tensors(
        tensors: BTreeMap<String, TensorData>,
        config: &PerceptualConfig,
        path: &Path,
        device: &Device,
    ) -> Result<Self, Error> {
        config.check()?;
        let device = device.clone().inner();
        let mut reader = Reader {
            tensors,
            bytes: Vec::new(),
            differences: Differences::default(),
        };
        let mut input = 3;
        let (mut blocks, mut heads) = (Vec::new(), Vec::new());
        for (block, (widths, positions)) in BLOCKS.iter().zip(POSITIONS).enumerate() {
            let mut convolutions = Vec::new();
            for (&output, at) in widths.iter().zip(positions) {
                let names = |end: &str| {
                    let slice = block + 1;
                    [
                        format!("features.{at}.{end}"),
                        format!("net.slice{slice}.{at}.{end}"),
                    ]
                };
                let weight = reader.take(names("weight"), [output, input, 3, 3], &device);
                let bias = reader.take(names("bias"), [output], &device);
                convolutions.push((weight, bias));
                input = output;
            }
            blocks.push(convolutions);
            let names = [
                format!("lin{block}.model.1.weight"),
                format!("lin{block}.weight"),
            ];
            let head = reader.take(names, [1, input, 1, 1], &device);
            heads.push(head.reshape([input]));
        }
        let (sha256, config) = (reader.finish(path)?, config.clone());
        if config
            .sha256
            .as_ref()
            .is_some_and(|wanted| *wanted != sha256)
        {
            let expected = config.sha256.unwrap_or_default();
            return Err(Error::invalid("perceptual.sha256", expected, sha256));
        }
        Ok(Self {
            config: PerceptualConfig {
                sha256: Some(sha256),
                ..config
            },
            blocks,
            heads,
        })
    }
}

impl Reader {
    /// The tensor under the first of `names` that there is; zeros, and a note, if it is missing or of another shape.
    fn take<const D: usize>(
        &mut self,
        names: [String; 2],
        shape: [usize; D],
        device: &Device,
    ) -> Tensor<D> {
        let found = names.iter().find_map(|name| self.tensors.remove(name));
        match found {
            Some(data) if data.shape().as_slice() == shape => {
                let data = data.convert_dtype(DType::F32);
                self.bytes.extend_from_slice(data.as_bytes());
                return Tensor::from_data(data, device);
            }
            Some(data) => {
                let file = data.shape().as_slice();
                self.differences.differ(&names[0], file, &shape);
            }
            None => self.differences.miss(&names[0]),
        }
        Tensor::zeros(shape, device)
    }

    /// The hash of all values.
    fn finish(mut self, path: &Path) -> Result<String, Error> {
        let names = self.tensors.keys().filter(|name| !passed_over(name));
        names.for_each(|name| self.differences.surplus(name));
        self.differences.check(path)?;
        Ok(hash_bytes(&self.bytes))
    }
}
