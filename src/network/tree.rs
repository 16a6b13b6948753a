//! Parameters of a module under the paths of its fields, for networks whose fields are named as official files name them.

use super::initial::name_key;
use crate::Error;
use crate::noise::{Domain, Stream};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;
use std::path::Path;

/// Path and dimensions of every parameter, in the order of the fields.
pub(crate) fn paths<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    struct Reader {
        path: Vec<String>,
        found: Vec<(String, Vec<usize>)>,
    }
    impl ModuleVisitor for Reader {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found
                .push((self.path.join("."), param.val().dims().to_vec()));
        }
    }
    let mut reader = Reader {
        path: Vec::new(),
        found: Vec::new(),
    };
    module.visit(&mut reader);
    reader.found
}

/// What a parameter with a path and dimensions becomes, flattened.
pub(crate) type NewNumbers<'a> = dyn FnMut(&str, &[usize]) -> Option<Vec<f32>> + 'a;

/// Replaces parameters, where `new` gives numbers, one after the other.
pub(crate) fn fill<M: Module>(module: M, device: &Device, new: &mut NewNumbers<'_>) -> M {
    struct Writer<'a> {
        path: Vec<String>,
        device: &'a Device,
        new: &'a mut NewNumbers<'a>,
    }
    impl ModuleMapper for Writer<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, value, mapper) = param.consume();
            let shape = value.dims();
            let value = match (self.new)(&self.path.join("."), &shape) {
                Some(numbers) => Tensor::from_data(TensorData::new(numbers, shape), self.device),
                None => value,
            };
            Param::from_mapped_value(id, value, mapper)
        }
    }
    let mut writer = Writer {
        path: Vec::new(),
        device,
        new,
    };
    module.map(&mut writer)
}

/// Random weights, a function of seed and path: matrices and kernels normal with variance 1 / (fan in), norms one and
/// biases zero.
pub(crate) fn draw<M: Module>(module: M, seed: u64, device: &Device) -> M {
    fill(module, device, &mut |path, shape| {
        if shape.len() < 2 {
            return None;
        }
        let fan_in: usize = shape[1..].iter().product();
        let scale = 1.0 / (fan_in as f32).sqrt();
        let mut values =
            Stream::new(seed, Domain::Init, name_key(path)).normals(shape.iter().product());
        values.iter_mut().for_each(|value| *value *= scale);
        Some(values)
    })
}

/// The module with all its parameters from `weights`, which has no others; `path` is for messages.
///
/// # Errors
/// [`Error::Weights`] that lists every difference.
pub(crate) fn load<M: Module>(
    module: M,
    weights: &BTreeMap<String, TensorData>,
    device: &Device,
    path: &Path,
) -> Result<M, Error> {
    let shapes = weights.iter();
    let shapes = shapes.map(|(name, data)| (name.clone(), data.shape().as_slice().to_vec()));
    compare(&paths(&module), shapes.collect(), path, |ours, file| {
        ours == file
    })?;
    Ok(fill(module, device, &mut |name, _| {
        let data = weights.get(name)?;
        Some(data.iter::<f32>().collect())
    }))
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
    let (mut missing, mut mismatched) = (Vec::new(), Vec::new());
    for (name, shape) in ours {
        match file.remove(name) {
            None => missing.push(name.clone()),
            Some(found) if !fits(shape, &found) => {
                mismatched.push(format!("{name}: file {found:?}, network {shape:?}"));
            }
            Some(_) => {}
        }
    }
    let unexpected: Vec<String> = file.into_keys().collect();
    if missing.is_empty() && mismatched.is_empty() && unexpected.is_empty() {
        return Ok(());
    }
    Err(Error::Weights {
        path: path.to_path_buf(),
        missing,
        unexpected,
        mismatched,
    })
}
