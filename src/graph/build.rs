//! Building a graph, operator by operator.

use super::schema::{
    AttributeProto, AttributeType, DataType, Dimension, DimensionProto, NodeProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::parameter::Named;
use burn::module::{ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Tensor};
use std::collections::HashMap;
use std::rc::Rc;

/// The set of operators: of 2021, which every runtime in use knows.
pub(crate) const OPSET: i64 = 17;

/// A value of a graph, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value(Rc<str>);

impl Value {
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

/// Numbers that belong to a graph.
pub(crate) struct Constant {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: DataType,
    pub(crate) numbers: Numbers,
}

/// Where a constant's numbers are until they are written.
pub(crate) enum Numbers {
    /// Here, little-endian.
    Bytes(Vec<u8>),
    /// In the network, of whose memory this is a share.
    Weight(Tensor<1>),
    /// The same of a matrix, the other way round.
    Transposed(Tensor<2>),
}

impl Constant {
    /// Bytes of it in a file.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.kind.size()
    }

    /// Its numbers as f32, if it is a weight of the network.
    pub(crate) fn weight(&self) -> Option<Vec<f32>> {
        let data = match &self.numbers {
            Numbers::Bytes(_) => return None,
            Numbers::Weight(weight) => weight.clone().into_data_dtype(DType::F32),
            Numbers::Transposed(matrix) => {
                let turned = matrix.clone().transpose();
                turned.into_data_dtype(DType::F32)
            }
        };
        Some(data.iter::<f32>().collect())
    }
}

/// Operators, constants, and what goes in and comes out.
pub(crate) struct Graph {
    pub(crate) nodes: Vec<NodeProto>,
    pub(crate) constants: Vec<Constant>,
    pub(crate) inputs: Vec<ValueInfoProto>,
    pub(crate) outputs: Vec<ValueInfoProto>,
    /// Official names of the parameters of the network that is traced.
    names: HashMap<ParamId, String>,
    /// Parameters that are there already, by name.
    known: HashMap<String, Value>,
    /// Constants that are there already.
    same: HashMap<(DataType, Vec<usize>, Vec<u8>), Value>,
    /// Of which type the network's weights are; they are computed with as f32.
    weights: DataType,
}

/// A setting of an operator.
pub(crate) enum Setting<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f64),
    Text(&'a str),
}

impl Graph {
    /// An empty graph for a network, whose weights are written as `weights`, f32 or f16.
    pub(crate) fn new<M: Named>(network: &M, weights: DataType) -> Self {
        struct Reader(Vec<ParamId>);
        impl ModuleVisitor for Reader {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.push(param.id);
            }
        }
        let mut reader = Reader(Vec::new());
        network.visit(&mut reader);
        let keys = network.keys().all().iter();
        let names = reader.0.into_iter().zip(keys.map(|key| key.name.clone()));
        Self {
            nodes: Vec::new(),
            constants: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            names: names.collect(),
            known: HashMap::new(),
            same: HashMap::new(),
            weights,
        }
    }

    /// Something that whoever runs the graph gives it; a dimension is a number or, from the start, a name.
    pub(crate) fn input(&mut self, name: &str, dimensions: &[&str], about: &str) -> Value {
        self.inputs.push(described(name, dimensions, about));
        Value(name.into())
    }

    /// An input that is there already.
    pub(crate) fn known(&self, name: &str) -> Value {
        Value(name.into())
    }

    /// Gives `value` back, under this name.
    pub(crate) fn output(&mut self, name: &str, value: &Value, dimensions: &[&str], about: &str) {
        self.outputs.push(described(name, dimensions, about));
        self.nodes.push(NodeProto {
            input: vec![value.name().into()],
            output: vec![name.into()],
            name: Some(name.into()),
            op_type: Some("Identity".into()),
            attribute: Vec::new(),
        });
    }

    /// Adds an operator with several answers.
    pub(crate) fn node_of(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        settings: &[(&str, Setting<'_>)],
        outputs: usize,
    ) -> Vec<Value> {
        let name = format!("{operator}_{}", self.nodes.len());
        let outputs: Vec<Value> = (0..outputs)
            .map(|i| match i {
                0 => Value(name.as_str().into()),
                _ => Value(format!("{name}_{i}").into()),
            })
            .collect();
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|value| value.name().into()).collect(),
            output: outputs.iter().map(|value| value.name().into()).collect(),
            name: Some(name),
            op_type: Some(operator.into()),
            attribute: settings
                .iter()
                .map(|(name, value)| attribute(name, value))
                .collect(),
        });
        outputs
    }

    /// Adds an operator.
    pub(crate) fn node(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        settings: &[(&str, Setting<'_>)],
    ) -> Value {
        let mut outputs = self.node_of(operator, inputs, settings, 1);
        outputs.swap_remove(0)
    }

    /// A parameter of the network, with dimensions that hold as many numbers.
    pub(crate) fn weight<const D: usize>(
        &mut self,
        param: &Param<Tensor<D>>,
        shape: &[usize],
    ) -> Value {
        let name = self.names[&param.id].clone();
        let value = param.val().without_autodiff();
        let count: usize = shape.iter().product();
        self.parameter(name, shape, Numbers::Weight(value.reshape([count])))
    }

    /// A matrix `[out, in]` of the network as `[in, out]`.
    pub(crate) fn transposed(&mut self, param: &Param<Tensor<2>>) -> Value {
        let name = format!("{}.transposed", self.names[&param.id]);
        let value = param.val().without_autodiff();
        let [output, input] = value.dims();
        self.parameter(name, &[input, output], Numbers::Transposed(value))
    }

    fn parameter(&mut self, name: String, shape: &[usize], numbers: Numbers) -> Value {
        if let Some(value) = self.known.get(&name) {
            return value.clone();
        }
        self.constants.push(Constant {
            name: name.clone(),
            shape: shape.to_vec(),
            kind: self.weights,
            numbers,
        });
        let stored = Value(name.as_str().into());
        let value = match self.weights {
            DataType::Float => stored,
            _ => self.cast(&stored, DataType::Float),
        };
        self.known.insert(name, value.clone());
        value
    }

    /// Numbers of f32.
    pub(crate) fn floats(&mut self, shape: &[usize], values: &[f32]) -> Value {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(shape, DataType::Float, bytes)
    }

    /// Numbers of f64.
    pub(crate) fn doubles(&mut self, shape: &[usize], values: &[f64]) -> Value {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(shape, DataType::Double, bytes)
    }

    /// A list of whole numbers.
    pub(crate) fn integers(&mut self, values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(&[values.len()], DataType::Int64, bytes)
    }

    fn constant(&mut self, shape: &[usize], kind: DataType, bytes: Vec<u8>) -> Value {
        let what = (kind, shape.to_vec(), bytes);
        if let Some(value) = self.same.get(&what) {
            return value.clone();
        }
        let name = format!("constant_{}", self.constants.len());
        let value = Value(name.as_str().into());
        self.constants.push(Constant {
            name,
            shape: shape.to_vec(),
            kind,
            numbers: Numbers::Bytes(what.2.clone()),
        });
        self.same.insert(what, value.clone());
        value
    }
}

fn described(name: &str, dimensions: &[&str], about: &str) -> ValueInfoProto {
    let dim = dimensions.iter().map(|text| DimensionProto {
        value: Some(match text.parse() {
            Ok(number) => Dimension::Number(number),
            Err(_) => Dimension::Name((*text).into()),
        }),
    });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(DataType::Float.into()),
                shape,
            }),
        }),
        doc_string: Some(about.into()),
    }
}

fn attribute(name: &str, value: &Setting<'_>) -> AttributeProto {
    let empty = AttributeProto {
        name: Some(name.into()),
        ..AttributeProto::default()
    };
    let of = |kind: AttributeType| Some(kind.into());
    match value {
        Setting::Int(i) => AttributeProto {
            i: Some(*i),
            r#type: of(AttributeType::Int),
            ..empty
        },
        Setting::Ints(ints) => AttributeProto {
            ints: ints.to_vec(),
            r#type: of(AttributeType::Ints),
            ..empty
        },
        Setting::Float(f) => AttributeProto {
            f: Some(*f as f32),
            r#type: of(AttributeType::Float),
            ..empty
        },
        Setting::Text(text) => AttributeProto {
            s: Some(text.as_bytes().to_vec()),
            r#type: of(AttributeType::String),
            ..empty
        },
    }
}
