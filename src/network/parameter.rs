//! Reading and replacing the parameters of a network under their official names.

use super::Network;
use crate::Error;
use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Gradients, Tensor, TensorData};
use std::collections::BTreeMap;
use std::path::Path;

/// A parameter as data.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Official name, such as `model.enc.32x32_conv.weight`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values, f32, row-major.
    pub data: TensorData,
}

/// Something per parameter (a value, a gradient), flattened and without autodiff.
#[derive(Clone, Debug)]
pub(crate) struct Gathered {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// `None` where a parameter has no gradient.
    pub(crate) tensor: Option<Tensor<1>>,
}

/// All parameters, in the order of the network.
pub fn parameters(network: &Network) -> Vec<Parameter> {
    let data = gather(network).into_iter().filter_map(|g| {
        let flat = g.tensor?.into_data_dtype(DType::F32);
        let data =
            TensorData::from_bytes_vec(flat.as_bytes().to_vec(), g.shape.clone(), DType::F32);
        Some(Parameter {
            name: g.name,
            shape: g.shape,
            data,
        })
    });
    data.collect()
}

/// Name and dimensions of every parameter, in the order of the network.
pub fn shapes(network: &Network) -> Vec<(String, Vec<usize>)> {
    let all = gather(network).into_iter();
    all.map(|g| (g.name, g.shape)).collect()
}

/// Adds the gradients of parameters, those that there are, and takes them out of what a backward pass found: so that
/// memory for two of each is needed for one parameter at a time only.
pub(crate) fn add_gradients(
    network: &Network,
    gradients: &mut Gradients,
    sum: &mut Option<Vec<Gathered>>,
) {
    struct Adder<'a> {
        gradients: &'a mut Gradients,
        sums: std::slice::IterMut<'a, Gathered>,
    }
    impl ModuleVisitor for Adder<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(sum) = self.sums.next() else { return };
            let more = param.val().grad_remove(self.gradients);
            let more = more.map(|more| more.reshape([sum.shape.iter().product::<usize>()]));
            sum.tensor = match (sum.tensor.take(), more) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
    }
    let sums = sum.get_or_insert_with(|| {
        let all = gather(network).into_iter();
        all.map(|g| Gathered { tensor: None, ..g }).collect()
    });
    let mut adder = Adder {
        gradients,
        sums: sums.iter_mut(),
    };
    network.visit_with(&mut adder);
}

/// The gradient of each parameter.
pub(crate) fn gradients(network: &Network, gradients: &Gradients) -> Vec<Gathered> {
    struct Reader<'a>(&'a Gradients, Vec<Option<Tensor<1>>>);
    impl ModuleVisitor for Reader<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let flat = value.shape().num_elements();
            let gradient = value.grad(self.0);
            self.1.push(gradient.map(|g| g.reshape([flat])));
        }
    }
    let mut reader = Reader(gradients, Vec::new());
    network.visit_with(&mut reader);
    let all = gather(network).into_iter().zip(reader.1);
    all.map(|(g, tensor)| Gathered { tensor, ..g }).collect()
}

/// The value of each parameter.
pub(crate) fn gather(network: &Network) -> Vec<Gathered> {
    struct Reader<'a> {
        network: &'a Network,
        path: Vec<String>,
        found: Vec<Gathered>,
    }
    impl ModuleVisitor for Reader<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let shape = value.dims().to_vec();
            let flat = shape.iter().product::<usize>();
            self.found.push(Gathered {
                name: self.network.official_name(&self.path.join(".")),
                tensor: Some(value.without_autodiff().reshape([flat])),
                shape,
            });
        }
    }
    let mut reader = Reader {
        network,
        path: Vec::new(),
        found: Vec::new(),
    };
    network.visit_with(&mut reader);
    reader.found
}

/// The weights of all convolutions, sharing the memory of the network's.
pub(super) fn kernels(network: &Network) -> Vec<Tensor<4>> {
    struct Reader(Vec<Tensor<4>>);
    impl ModuleVisitor for Reader {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            match *value.dims().as_slice() {
                [output, input, height, width] => {
                    self.0.push(value.reshape([output, input, height, width]));
                }
                [output, input, width] => self.0.push(value.reshape([output, input, 1, width])),
                _ => {}
            }
        }
    }
    let mut reader = Reader(Vec::new());
    network.visit_with(&mut reader);
    reader.0
}

/// The new value, flattened, of the parameter at a position, given the old one.
pub(crate) type Update<'a> = dyn FnMut(usize, Tensor<1>) -> Tensor<1> + 'a;

/// Replaces all parameters by what `new` makes of them. Where nothing else holds a parameter, its memory can be used
/// for the new one.
pub(crate) fn update(network: Network, new: &mut Update<'_>) -> Network {
    struct Writer<'a> {
        position: usize,
        new: &'a mut Update<'a>,
    }
    impl ModuleMapper for Writer<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let position = self.position;
            self.position += 1;
            let (id, value, mapper) = param.consume();
            let (shape, tracked) = (value.dims(), value.is_autodiff());
            let flat = value
                .without_autodiff()
                .reshape([shape.iter().product::<usize>()]);
            let value = (self.new)(position, flat).reshape(shape);
            let value = match tracked {
                true => value.autodiff().require_grad(),
                false => value,
            };
            Param::from_mapped_value(id, value, mapper)
        }
    }
    network.map_with(&mut Writer { position: 0, new })
}

/// The new value, flattened, of the parameter at a position with a name and a shape, if it has one.
pub(crate) type NewValue<'a> = dyn FnMut(usize, &str, &[usize]) -> Option<Tensor<1>> + 'a;

/// Replaces parameters by the flattened tensors that `new` gives for (position, official name); where it gives
/// `None` a parameter stays as it is.
pub(crate) fn replace(network: Network, new: &mut NewValue<'_>) -> Network {
    struct Writer<'a> {
        names: std::vec::IntoIter<String>,
        position: usize,
        new: &'a mut NewValue<'a>,
    }
    impl ModuleMapper for Writer<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let name = self.names.next().unwrap_or_default();
            let position = self.position;
            self.position += 1;
            let (id, value, mapper) = param.consume();
            let shape = value.dims();
            let value = match (self.new)(position, &name, &shape) {
                // A fresh leaf on the device of the old one, with its place in the graph forgotten.
                Some(new) if value.is_autodiff() => new.reshape(shape).autodiff().require_grad(),
                Some(new) => new.reshape(shape),
                None => value,
            };
            Param::from_mapped_value(id, value, mapper)
        }
    }
    // The names are taken beforehand: a second handle to the network would keep every old tensor alive to the end.
    let names: Vec<String> = gather(&network).into_iter().map(|g| g.name).collect();
    let mut writer = Writer {
        names: names.into_iter(),
        position: 0,
        new,
    };
    network.map_with(&mut writer)
}

/// Loads weights by official name; `path` is for messages only. Tensors that are no parameter of the network are an
/// error, except `resample_filter` buffers with as many taps as its filter, and so are missing ones that `may_miss`
/// does not allow; those keep their values.
///
/// # Errors
/// [`Error::Weights`] listing every difference.
pub fn load(
    network: Network,
    weights: &BTreeMap<String, TensorData>,
    may_miss: &dyn Fn(&str) -> bool,
    path: &Path,
) -> Result<Network, Error> {
    let (mut missing, mut mismatched) = (Vec::new(), Vec::new());
    let mut known = std::collections::BTreeSet::new();
    let target = device(&network);
    let taps = network.taps();
    for (name, data) in weights {
        let shape = data.shape();
        if let Some(taps) = taps.filter(|_| is_filter(name))
            && shape.as_slice() != [1, 1, taps, taps]
        {
            mismatched.push(format!(
                "{name}: file {:?}, network {:?}",
                shape.as_slice(),
                [1, 1, taps, taps]
            ));
        }
    }
    let network = replace(network, &mut |_, name, shape| {
        known.insert(name.to_string());
        let Some(data) = weights.get(name) else {
            if !may_miss(name) {
                missing.push(name.to_string());
            }
            return None;
        };
        if data.shape().as_slice() != shape {
            mismatched.push(format!(
                "{name}: file {:?}, network {shape:?}",
                data.shape().as_slice()
            ));
            return None;
        }
        let values = data.iter::<f32>().collect::<Vec<_>>();
        let len = values.len();
        Some(Tensor::from_data(TensorData::new(values, [len]), &target))
    });
    let unexpected: Vec<String> = weights
        .keys()
        .filter(|name| {
            let constant = taps.is_some() && is_filter(name);
            !constant && !known.contains(*name)
        })
        .cloned()
        .collect();
    if missing.is_empty() && unexpected.is_empty() && mismatched.is_empty() {
        return Ok(network);
    }
    Err(Error::Weights {
        path: path.to_path_buf(),
        missing,
        unexpected,
        mismatched,
    })
}

/// Whether a tensor of an official file is a constant filter.
fn is_filter(name: &str) -> bool {
    name.ends_with(super::key::FILTER)
}

/// The plain (autodiff-free) device the parameters are on.
pub(crate) fn device(network: &Network) -> burn::tensor::Device {
    gather(network)
        .into_iter()
        .find_map(|g| g.tensor.map(|t| t.device().inner()))
        .unwrap_or_default()
}
