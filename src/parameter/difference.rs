//! The one comparison of what a file holds with what a module has.

use super::key::Key;
use super::tree::{Named, device, refill};
use crate::Error;
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;
use std::path::Path;

/// Names and shapes that only one side has.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    missing: Vec<String>,
    unexpected: Vec<String>,
    mismatched: Vec<String>,
}

impl Differences {
    /// The file does not have it.
    pub(crate) fn miss(&mut self, name: &str) {
        self.missing.push(name.to_string());
    }

    /// The module does not have it.
    pub(crate) fn surplus(&mut self, name: &str) {
        self.unexpected.push(name.to_string());
    }

    /// Both have it, in different shapes.
    pub(crate) fn differ(&mut self, name: &str, file: &[usize], ours: &[usize]) {
        self.mismatched
            .push(format!("{name}: file {file:?}, network {ours:?}"));
    }

    /// [`Error::Weights`] that lists all of them, if there are any.
    pub(crate) fn check(self, path: &Path) -> Result<(), Error> {
        let Self {
            missing,
            unexpected,
            mismatched,
        } = self;
        if missing.is_empty() && unexpected.is_empty() && mismatched.is_empty() {
            return Ok(());
        }
        Err(Error::Weights {
            path: path.to_path_buf(),
            missing,
            unexpected,
            mismatched,
        })
    }
}

/// Compares the parameters of a module with what a file has.
///
/// # Errors
/// [`Error::Weights`] that lists every difference.
pub(crate) fn compare(
    ours: &[(String, Vec<usize>)],
    mut file: BTreeMap<String, Vec<usize>>,
    path: &Path,
    fits: impl Fn(&[usize], &[usize]) -> bool,
) -> Result<(), Error> {
    let mut differences = Differences::default();
    for (name, shape) in ours {
        match file.remove(name) {
            None => differences.miss(name),
            Some(found) if !fits(shape, &found) => differences.differ(name, &found, shape),
            Some(_) => {}
        }
    }
    file.keys().for_each(|name| differences.surplus(name));
    differences.check(path)
}

/// Loads weights by official name; `path` is for messages only. Tensors that are no parameter of the network are an
/// error, except its constant filters, and so are missing ones that `may_miss` does not allow; those keep their values.
///
/// # Errors
/// [`Error::Weights`] listing every difference.
pub fn load<M: Named>(
    network: M,
    weights: &BTreeMap<String, TensorData>,
    may_miss: &dyn Fn(&str) -> bool,
    path: &Path,
) -> Result<M, Error> {
    let mut differences = Differences::default();
    let target = device(&network);
    let keys = network.keys().clone();
    let named = |keys: &[Key], name: &str| keys.iter().any(|key| key.name == name);
    for key in keys.buffers() {
        let found = weights.get(&key.name).map(TensorData::shape);
        if let Some(shape) = found.filter(|shape| shape.as_slice() != key.shape) {
            differences.differ(&key.name, shape.as_slice(), &key.shape);
        }
    }
    let network = refill(network, &mut |_, key| {
        let Some(data) = weights.get(&key.name) else {
            if !may_miss(&key.name) {
                differences.miss(&key.name);
            }
            return None;
        };
        if data.shape().as_slice() != key.shape {
            differences.differ(&key.name, data.shape().as_slice(), &key.shape);
            return None;
        }
        let values = data.iter::<f32>().collect::<Vec<_>>();
        let len = values.len();
        Some(Tensor::from_data(TensorData::new(values, [len]), &target))
    });
    for name in weights.keys() {
        if !(named(keys.all(), name) || named(keys.buffers(), name)) {
            differences.surplus(name);
        }
    }
    differences.check(path)?;
    Ok(network)
}
