//! Weights of the network from files, with batch norms folded in.

use super::formula::formula;
use super::layer::{Layer, layers};
use crate::Error;
use crate::file::hexadecimal;
use crate::import::Checkpoint;
use crate::parameter::compare;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Classes of the last layer: those of ImageNet and eight that mean nothing.
pub(super) const CLASSES: usize = 1008;
/// Features before the last layer.
pub(super) const WIDTH: usize = 2048;

/// What is added to variances.
const EPSILON: f64 = 1e-3;
/// A count that PyTorch may keep beside its batch norms: no weight.
const COUNT: &str = "num_batches_tracked";

/// A kernel and what is added after it.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    pub layer: Layer,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// What gives the values of a tensor by its name and dimensions.
type Read<'a> = Box<dyn Fn(&str, &[usize]) -> Result<Vec<f32>, Error> + 'a>;

/// All weights of the network, read but for the kernels.
pub(super) struct Weights<'a> {
    layers: BTreeMap<String, Layer>,
    read: Read<'a>,
    /// SHA-256 of all values, once all are read.
    digest: Sha256,
}

/// Names and dimensions of the 472 tensors, in the order of the file.
pub(super) fn keys() -> Vec<(String, Vec<usize>)> {
    let of_layer = |layer: Layer| {
        let norm = ["weight", "bias", "running_mean", "running_var"]
            .map(|name| (format!("{}.bn.{name}", layer.name), vec![layer.output]));
        std::iter::once((format!("{}.conv.weight", layer.name), layer.dims())).chain(norm)
    };
    let last = [
        ("fc.weight".to_string(), vec![CLASSES, WIDTH]),
        ("fc.bias".to_string(), vec![CLASSES]),
    ];
    layers()
        .into_iter()
        .flat_map(of_layer)
        .chain(last)
        .collect()
}

impl<'a> Weights<'a> {
    /// Those of a file, which must hold all of them and no others.
    pub fn of(file: &'a Checkpoint) -> Result<Self, Error> {
        let shapes = file.tensors().iter();
        let shapes = shapes
            .filter(|(name, _)| !name.ends_with(COUNT))
            .map(|(name, info)| (name.clone(), info.shape.clone()));
        let same = |ours: &[usize], file: &[usize]| ours == file;
        compare(&keys(), shapes.collect(), file.path(), same)?;
        Ok(Self::new(|name: &str, _: &[usize]| file.values(name)))
    }

    /// Those of the [`formula`].
    pub fn made_up() -> Self {
        Self::new(|name: &str, dims: &[usize]| Ok(formula(name, dims)))
    }

    fn new(read: impl Fn(&str, &[usize]) -> Result<Vec<f32>, Error> + 'a) -> Self {
        let named = layers()
            .into_iter()
            .map(|layer| (layer.name.clone(), layer));
        Self {
            layers: named.collect(),
            read: Box::new(read),
            digest: Sha256::new(),
        }
    }

    /// A layer's kernel with its batch norm folded in; each layer once, always in the same order.
    pub fn take(&mut self, name: &str) -> Result<Folded, Error> {
        let layer = self
            .layers
            .remove(name)
            .expect("a layer of the network, once");
        let mut weight = self.read(&format!("{name}.conv.weight"), &layer.dims())?;
        let mut norm = |part: &str| self.read(&format!("{name}.bn.{part}"), &[layer.output]);
        let (gain, shift) = (norm("weight")?, norm("bias")?);
        let (mean, variance) = (norm("running_mean")?, norm("running_var")?);
        let mut bias = Vec::with_capacity(layer.output);
        let rows = weight.chunks_exact_mut(layer.dims()[1..].iter().product());
        for (i, row) in rows.enumerate() {
            let scale = f64::from(gain[i]) / (f64::from(variance[i]) + EPSILON).sqrt();
            row.iter_mut()
                .for_each(|w| *w = (f64::from(*w) * scale) as f32);
            bias.push((f64::from(shift[i]) - f64::from(mean[i]) * scale) as f32);
        }
        Ok(Folded {
            layer,
            weight,
            bias,
        })
    }

    /// The matrix of the last layer, `[classes, features]`.
    pub fn last(&mut self) -> Result<Vec<f32>, Error> {
        self.read("fc.weight", &[CLASSES, WIDTH])
    }

    fn read(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>, Error> {
        let values = (self.read)(name, dims)?;
        self.digest.update(name);
        for value in &values {
            self.digest.update(value.to_le_bytes());
        }
        Ok(values)
    }

    /// A hash of all values that were taken, whatever file they lie in, in hexadecimal.
    pub fn finish(self) -> String {
        hexadecimal(&self.digest.finalize())
    }
}
