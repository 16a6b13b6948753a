//! Where a layer is built: it says the name of its parameters, and with it all that is known about them, here and nowhere
//! else.

use super::adapter::{Adapter, Adapters};
use super::key::{Key, Start};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor};
use std::cell::RefCell;
use std::sync::Arc;

/// How a kind of network draws its fresh weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Draw {
    /// Every matrix and kernel uniform with variance 2 / (fan in + fan out), biases zero.
    Glorot,
    /// Every matrix, kernel and bias uniform in +- 1 / sqrt(fan in).
    FanIn,
    /// Every matrix and kernel normal with variance 1 / (fan in), biases zero.
    Normal,
}

/// A place in a module that is being built.
#[derive(Clone)]
pub(crate) struct Site<'a> {
    list: &'a List<'a>,
    name: String,
    zero: bool,
    step: bool,
    attention: bool,
    drawn: Option<Start>,
    beside: Option<String>,
}

/// What has been built.
struct List<'a> {
    device: &'a Device,
    draw: Draw,
    /// Whether there are only names and shapes, and no numbers.
    bare: bool,
    adapters: &'a Adapters,
    found: RefCell<Vec<(Option<ParamId>, Key)>>,
}

/// What is known about the parameters of a built module, in the order of its fields.
#[derive(Clone, Debug)]
pub struct Keys {
    all: Arc<[Key]>,
    buffers: Arc<[Key]>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            all: Arc::new([]),
            buffers: Arc::new([]),
        }
    }
}

impl Keys {
    /// Of each parameter.
    pub(crate) fn all(&self) -> &[Key] {
        &self.all
    }

    /// Of each constant that official files hold besides.
    pub(crate) fn buffers(&self) -> &[Key] {
        &self.buffers
    }
}

/// Builds a module with all weights zero and norms one; `name` is the start of its names.
pub(crate) fn build<M: Module>(
    name: &str,
    draw: Draw,
    device: &Device,
    make: impl FnOnce(&Site<'_>) -> M,
) -> (M, Keys) {
    build_adapted(name, draw, (&Adapters::default(), device), make)
}

/// As [`build`], with low-rank adapters in some layers. With adapters the other numbers are to come from a base: no memory is
/// taken for them before one is looked at.
pub(crate) fn build_adapted<M: Module>(
    name: &str,
    draw: Draw,
    (adapters, device): (&Adapters, &Device),
    make: impl FnOnce(&Site<'_>) -> M,
) -> (M, Keys) {
    struct Order(Vec<ParamId>);
    impl ModuleVisitor for Order {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.id);
        }
    }
    let (module, found) = make_at(name, draw, (adapters, device), adapters.bare(), make);
    let mut order = Order(Vec::new());
    module.visit(&mut order);
    let (mut buffers, mut all) = (Vec::new(), Vec::new());
    for (id, key) in found {
        match id {
            None => buffers.push(key),
            Some(id) => {
                let place = order.0.iter().position(|other| *other == id);
                all.push((place.expect("what is built is a field"), key));
            }
        }
    }
    all.sort_by_key(|(place, _)| *place);
    assert_eq!(all.len(), order.0.len(), "every parameter has a name");
    let keys = Keys {
        all: all.into_iter().map(|(_, key)| key).collect(),
        buffers: buffers.into(),
    };
    (module, keys)
}

/// Names and shapes of what [`build`] would build, in the order of official files; no memory is taken for numbers.
pub(crate) fn outline<M: Module>(
    name: &str,
    draw: Draw,
    make: impl FnOnce(&Site<'_>) -> M,
) -> Vec<Key> {
    let (_, found) = make_at(
        name,
        draw,
        (&Adapters::default(), &Device::flex()),
        true,
        make,
    );
    found.into_iter().map(|(_, key)| key).collect()
}

fn make_at<M>(
    name: &str,
    draw: Draw,
    (adapters, device): (&Adapters, &Device),
    bare: bool,
    make: impl FnOnce(&Site<'_>) -> M,
) -> (M, Vec<(Option<ParamId>, Key)>) {
    let list = List {
        device,
        draw,
        bare,
        adapters,
        found: RefCell::new(Vec::new()),
    };
    let module = make(&Site {
        list: &list,
        name: name.to_string(),
        zero: false,
        step: false,
        attention: false,
        drawn: None,
        beside: None,
    });
    (module, list.found.into_inner())
}

impl Site<'_> {
    /// The place of a part.
    pub(crate) fn at(&self, name: impl std::fmt::Display) -> Self {
        let name = match self.name.as_str() {
            "" => name.to_string(),
            start => format!("{start}.{name}"),
        };
        Self {
            name,
            ..self.clone()
        }
    }

    /// What is built there starts at zero: the ends of branches, so that every block starts as the identity up to scale.
    pub(crate) fn zero(&self) -> Self {
        Self {
            zero: true,
            ..self.clone()
        }
    }

    /// The matrices and kernels that are built there are drawn in a way of their own.
    pub(crate) fn drawn(&self, start: Start) -> Self {
        Self {
            drawn: Some(start),
            ..self.clone()
        }
    }

    /// What is built there belongs to the step branch.
    pub(crate) fn step(&self) -> Self {
        Self {
            step: true,
            ..self.clone()
        }
    }

    /// What is built there belongs to attention.
    pub(crate) fn attention(&self) -> Self {
        Self {
            attention: true,
            ..self.clone()
        }
    }

    /// What is built there is the layer through which the step branch tells a block what `beside` tells it of the noise
    /// level.
    pub(crate) fn tells(&self, beside: &Self) -> Self {
        Self {
            beside: Some(beside.name.clone()),
            ..self.step()
        }
    }

    /// The matrix or kernel of a layer, `[out, in, ...]`.
    pub(crate) fn weight<const D: usize>(&self, shape: [usize; D]) -> Param<Tensor<D>> {
        let weight = self.table(shape);
        // The step branch is small, and trained itself where there is one.
        if let Some((_, key)) = self.list.found.borrow_mut().last_mut() {
            key.layer = !self.step;
        }
        weight
    }

    /// As [`weight`](Self::weight), of what is no layer.
    pub(crate) fn table<const D: usize>(&self, shape: [usize; D]) -> Param<Tensor<D>> {
        let kernel: usize = shape[2..].iter().product();
        let input = shape[1] * kernel;
        let usual = match self.list.draw {
            Draw::Glorot => Start::Glorot {
                input,
                output: shape[0] * kernel,
            },
            Draw::FanIn => Start::FanIn(input),
            Draw::Normal => Start::NormalFanIn(input),
        };
        self.put("weight", shape, self.drawn.unwrap_or(usual), false)
    }

    /// The bias of a layer each of whose outputs is made of `input` numbers.
    pub(crate) fn bias(&self, output: usize, input: usize) -> Param<Tensor<1>> {
        let start = match self.list.draw {
            Draw::FanIn => Start::FanIn(input),
            Draw::Glorot | Draw::Normal => Start::Zeros,
        };
        self.put("bias", [output], start, false)
    }

    /// Gain and offset of a norm: ones and zeros.
    pub(crate) fn norm(&self, width: usize) -> (Param<Tensor<1>>, Param<Tensor<1>>) {
        let weight = self.put("weight", [width], Start::Ones, false);
        (weight, self.put("bias", [width], Start::Zeros, false))
    }

    /// The low-rank adapter that the layer here is to have, if any.
    pub(crate) fn adapter(&self) -> Option<Adapter> {
        match self.step {
            true => None,
            false => self.list.adapters.of(&self.name),
        }
    }

    /// A factor of it.
    pub(crate) fn factor<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        start: Start,
    ) -> Param<Tensor<D>> {
        let own = Self {
            zero: false,
            beside: None,
            ..self.clone()
        };
        let factor = own.put(name, shape, start, false);
        if let Some((_, key)) = self.list.found.borrow_mut().last_mut() {
            key.adapter = true;
        }
        factor
    }

    /// Normal numbers that are drawn once and never trained.
    pub(crate) fn fixed(&self, name: &str, width: usize, start: Start) -> Param<Tensor<1>> {
        self.put(name, [width], start, true)
    }

    /// A vector of its own, zero at first.
    pub(crate) fn vector(&self, name: &str, width: usize) -> Param<Tensor<1>> {
        self.put(name, [width], Start::Zeros, false)
    }

    /// A constant that official files hold besides the parameters.
    pub(crate) fn buffer(&self, name: &str, shape: &[usize]) {
        let key = Key {
            buffer: true,
            ..self.key(name, shape, Start::Zeros, true)
        };
        self.list.found.borrow_mut().push((None, key));
    }

    fn key(&self, name: &str, shape: &[usize], start: Start, fixed: bool) -> Key {
        Key {
            name: self.at(name).name,
            shape: shape.to_vec(),
            buffer: false,
            step: self.step,
            layer: false,
            attention: self.attention,
            adapter: false,
            fixed,
            start: if self.zero { Start::Zeros } else { start },
            beside: self.beside.clone(),
        }
    }

    fn put<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        start: Start,
        fixed: bool,
    ) -> Param<Tensor<D>> {
        let fill = move |device: &Device| match start {
            Start::Ones => Tensor::ones(shape, device),
            _ => Tensor::zeros(shape, device),
        };
        let id = ParamId::new();
        let param = match self.list.bare {
            // Filled when it is looked at, if ever.
            true => Param::uninitialized(
                id,
                move |device: &Device, _| fill(device),
                self.list.device.clone(),
                true,
                shape.into(),
            ),
            false => Param::from_tensor(fill(self.list.device)),
        };
        let key = self.key(name, &shape, start, fixed);
        self.list.found.borrow_mut().push((Some(param.id), key));
        param
    }
}
