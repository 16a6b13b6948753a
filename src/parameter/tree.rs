//! Reading and replacing the parameters of a module under their official names.

use super::key::Key;
use super::site::Keys;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use std::collections::BTreeMap;

/// A module that knows what its parameters are called.
pub trait Named: Module {
    /// What is known about them, in the order of its fields.
    fn keys(&self) -> &Keys;
}

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

impl Gathered {
    fn of(key: &Key, tensor: Option<Tensor<1>>) -> Self {
        Self {
            name: key.name.clone(),
            shape: key.shape.clone(),
            tensor,
        }
    }
}

/// All parameters, in the order of the network.
pub fn parameters<M: Named>(network: &M) -> Vec<Parameter> {
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
pub fn shapes<M: Named>(network: &M) -> Vec<(String, Vec<usize>)> {
    let keys = network.keys().all().iter();
    keys.map(|key| (key.name.clone(), key.shape.clone()))
        .collect()
}

/// Adds the gradients of parameters, those that there are, and takes them out of what a backward pass found: so that
/// memory for two of each is needed for one parameter at a time only.
pub(crate) fn add_gradients<M: Named>(
    network: &M,
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
        let keys = network.keys().all().iter();
        keys.map(|key| Gathered::of(key, None)).collect()
    });
    let mut adder = Adder {
        gradients,
        sums: sums.iter_mut(),
    };
    network.visit(&mut adder);
}

/// Adds gradients to others of the same network.
pub(crate) fn join_gradients(sum: &mut Option<Vec<Gathered>>, more: Option<Vec<Gathered>>) {
    let Some(more) = more else {
        return;
    };
    let Some(before) = sum.as_mut() else {
        *sum = Some(more);
        return;
    };
    for (sum, more) in before.iter_mut().zip(more) {
        sum.tensor = match (sum.tensor.take(), more.tensor) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
    }
}

/// The gradient of each parameter.
pub(crate) fn gradients<M: Named>(network: &M, gradients: &Gradients) -> Vec<Gathered> {
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
    network.visit(&mut reader);
    named(network, reader.1)
}

/// The value of each parameter that has one, by name.
pub(crate) fn by_name<M: Named>(network: &M) -> BTreeMap<String, Tensor<1>> {
    let all = gather(network).into_iter();
    all.filter_map(|g| Some((g.name, g.tensor?))).collect()
}

/// The value of each parameter.
pub(crate) fn gather<M: Named>(network: &M) -> Vec<Gathered> {
    struct Reader(Vec<Option<Tensor<1>>>);
    impl ModuleVisitor for Reader {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let flat = value.shape().num_elements();
            self.0.push(Some(value.without_autodiff().reshape([flat])));
        }
    }
    let mut reader = Reader(Vec::new());
    network.visit(&mut reader);
    named(network, reader.0)
}

fn named<M: Named>(network: &M, tensors: Vec<Option<Tensor<1>>>) -> Vec<Gathered> {
    let keys = network.keys().all().iter();
    keys.zip(tensors)
        .map(|(key, tensor)| Gathered::of(key, tensor))
        .collect()
}

/// The weights of all convolutions, sharing the memory of the network's.
pub(crate) fn kernels<M: Module>(network: &M) -> Vec<Tensor<4>> {
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
    network.visit(&mut reader);
    reader.0
}

/// The new value, flattened, of the parameter at a position, given the old one.
pub(crate) type Update<'a> = dyn FnMut(usize, Tensor<1>) -> Tensor<1> + 'a;

/// Replaces all parameters by what `new` makes of them. Where nothing else holds a parameter, its memory can be used
/// for the new one.
pub(crate) fn update<M: Module>(network: M, new: &mut Update<'_>) -> M {
    struct Writer<'a> {
        position: usize,
        new: &'a mut Update<'a>,
    }
    impl ModuleMapper for Writer<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let position = self.position;
            self.position += 1;
            let (id, value, mapper) = param.consume();
            let (shape, tracked) = (value.dims(), value.is_require_grad());
            let autodiff = value.is_autodiff();
            let flat = value
                .without_autodiff()
                .reshape([shape.iter().product::<usize>()]);
            let value = (self.new)(position, flat).reshape(shape);
            let value = match tracked {
                true => value.autodiff().require_grad(),
                false if autodiff => value.autodiff(),
                false => value,
            };
            Param::from_mapped_value(id, value, mapper)
        }
    }
    network.map(&mut Writer { position: 0, new })
}

/// The module with the parameters that are `frozen` left alone by autodiff: no gradient of theirs is computed.
pub(crate) fn freeze<M: Named>(network: M, frozen: &dyn Fn(&Key) -> bool) -> M {
    struct Marker<'a>(Keys, usize, &'a dyn Fn(&Key) -> bool);
    impl ModuleMapper for Marker<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let key = &self.0.all()[self.1];
            self.1 += 1;
            match (self.2)(key) {
                true => param.set_require_grad(false),
                false => param,
            }
        }
    }
    let keys = network.keys().clone();
    network.map(&mut Marker(keys, 0, frozen))
}

/// The new value, flattened, of a parameter, if it has one.
pub(crate) type NewValue<'a> = dyn FnMut(usize, &Key) -> Option<Tensor<1>> + 'a;

/// Replaces parameters by the flattened tensors that `new` gives for (position, key); where it gives `None` a parameter
/// stays as it is.
pub(crate) fn refill<M: Named>(network: M, new: &mut NewValue<'_>) -> M {
    struct Writer<'a> {
        keys: Keys,
        position: usize,
        new: &'a mut NewValue<'a>,
    }
    impl ModuleMapper for Writer<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let position = self.position;
            self.position += 1;
            let (id, value, mapper) = param.consume();
            let shape = value.dims();
            let key = &self.keys.all()[position];
            let value = match (self.new)(position, key) {
                // A fresh leaf on the device of the old one, with its place in the graph forgotten.
                Some(new) if value.is_require_grad() => {
                    new.reshape(shape).autodiff().require_grad()
                }
                Some(new) if value.is_autodiff() => new.reshape(shape).autodiff(),
                Some(new) => new.reshape(shape),
                None => value,
            };
            Param::from_mapped_value(id, value, mapper)
        }
    }
    let mut writer = Writer {
        keys: network.keys().clone(),
        position: 0,
        new,
    };
    network.map(&mut writer)
}

/// The new value, flattened, of the parameter at a position with a name and a shape, if it has one.
pub(crate) type NewNamed<'a> = dyn FnMut(usize, &str, &[usize]) -> Option<Tensor<1>> + 'a;

/// As [`refill`], given (position, official name, shape).
pub(crate) fn replace<M: Named>(network: M, new: &mut NewNamed<'_>) -> M {
    refill(network, &mut |i, key| new(i, &key.name, &key.shape))
}

/// The plain (autodiff-free) device the parameters are on.
pub(crate) fn device<M: Named>(network: &M) -> Device {
    gather(network)
        .into_iter()
        .find_map(|g| g.tensor.map(|t| t.device().inner()))
        .unwrap_or_default()
}
