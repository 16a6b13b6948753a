//! The operators that layers are made of. Values are f32 unless said otherwise, `[b, c, h, w]` are images.

use super::build::{Graph, Setting, Value};
use super::schema::DataType;
use Setting::{Float, Int, Ints, Text};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, FRAC_PI_2};

impl Graph {
    pub(crate) fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Add", &[a, b], &[])
    }

    pub(crate) fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Mul", &[a, b], &[])
    }

    /// `a` times a number.
    pub(crate) fn scale(&mut self, a: &Value, factor: f64) -> Value {
        let factor = self.floats(&[], &[factor as f32]);
        self.mul(a, &factor)
    }

    /// `a` plus a number.
    pub(crate) fn shift(&mut self, a: &Value, by: f64) -> Value {
        let by = self.floats(&[], &[by as f32]);
        self.add(a, &by)
    }

    pub(crate) fn cast(&mut self, a: &Value, kind: DataType) -> Value {
        self.node("Cast", &[a], &[("to", Int(i32::from(kind).into()))])
    }

    pub(crate) fn silu(&mut self, a: &Value) -> Value {
        let gate = self.node("Sigmoid", &[a], &[]);
        self.mul(a, &gate)
    }

    /// GELU by its definition, or by the approximation with a hyperbolic tangent.
    pub(crate) fn gelu(&mut self, a: &Value, approximate: bool) -> Value {
        let gate = if approximate {
            // sqrt(2 / pi) (a + 0.044715 a^3)
            let square = self.mul(a, a);
            let cube = self.scale(&square, 0.044_715);
            let cube = self.shift(&cube, 1.0);
            let inner = self.mul(a, &cube);
            let inner = self.scale(&inner, FRAC_2_PI.sqrt());
            self.node("Tanh", &[&inner], &[])
        } else {
            let inner = self.scale(a, FRAC_1_SQRT_2);
            self.node("Erf", &[&inner], &[])
        };
        let gate = self.shift(&gate, 1.0);
        let gated = self.mul(a, &gate);
        self.scale(&gated, 0.5)
    }

    /// New dimensions: 0 keeps one, -1 is what is left.
    pub(crate) fn reshape(&mut self, a: &Value, shape: &[i64]) -> Value {
        let shape = self.integers(shape);
        self.node("Reshape", &[a, &shape], &[])
    }

    /// The dimensions of `like`.
    pub(crate) fn reshape_like(&mut self, a: &Value, like: &Value) -> Value {
        let shape = self.node("Shape", &[like], &[]);
        self.node("Reshape", &[a, &shape], &[])
    }

    pub(crate) fn transpose(&mut self, a: &Value, order: &[i64]) -> Value {
        self.node("Transpose", &[a], &[("perm", Ints(order))])
    }

    pub(crate) fn unsqueeze(&mut self, a: &Value, axes: &[i64]) -> Value {
        let axes = self.integers(axes);
        self.node("Unsqueeze", &[a, &axes], &[])
    }

    pub(crate) fn concat(&mut self, all: &[&Value], axis: i64) -> Value {
        self.node("Concat", all, &[("axis", Int(axis))])
    }

    /// So many equal parts, `size` long each.
    pub(crate) fn split(&mut self, a: &Value, axis: i64, size: usize, parts: usize) -> Vec<Value> {
        let sizes = self.integers(&vec![size as i64; parts]);
        self.node_of("Split", &[a, &sizes], &[("axis", Int(axis))], parts)
    }

    pub(crate) fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("MatMul", &[a, b], &[])
    }

    /// `[rows, in]` times the transpose of `[out, in]`, plus `[out]`.
    pub(crate) fn gemm(&mut self, a: &Value, weight: &Value, bias: Option<&Value>) -> Value {
        let inputs: Vec<&Value> = [a, weight].into_iter().chain(bias).collect();
        self.node("Gemm", &inputs, &[("transB", Int(1))])
    }

    /// A convolution of `taps` x `taps` with `padding` zeros on all sides.
    pub(crate) fn conv(
        &mut self,
        images: &Value,
        (weight, bias): (&Value, Option<&Value>),
        [taps, stride, padding, groups]: [usize; 4],
    ) -> Value {
        let [taps, stride, padding] = [taps, stride, padding].map(|n| n as i64);
        let inputs: Vec<&Value> = [images, weight].into_iter().chain(bias).collect();
        self.node(
            "Conv",
            &inputs,
            &[
                ("kernel_shape", Ints(&[taps; 2])),
                ("strides", Ints(&[stride; 2])),
                ("pads", Ints(&[padding; 4])),
                ("group", Int(groups as i64)),
            ],
        )
    }

    /// Images of mean 0 and variance 1 in each group of channels.
    pub(crate) fn normal(&mut self, images: &Value, groups: usize, epsilon: f64) -> Value {
        // GroupNormalization is not in all runtimes; this is, and groups are planes of it.
        let planes = self.reshape(images, &[0, groups as i64, -1]);
        let ones = self.floats(&[groups], &vec![1.0; groups]);
        let zeros = self.floats(&[groups], &vec![0.0; groups]);
        let normal = self.node(
            "InstanceNormalization",
            &[&planes, &ones, &zeros],
            &[("epsilon", Float(epsilon))],
        );
        self.reshape_like(&normal, images)
    }

    /// Tokens of mean 0 and variance 1 each, times `weight` plus `bias`, both as wide as a token.
    pub(crate) fn layer_norm(
        &mut self,
        tokens: &Value,
        weight: &Value,
        bias: Option<&Value>,
        epsilon: f64,
    ) -> Value {
        let inputs: Vec<&Value> = [tokens, weight].into_iter().chain(bias).collect();
        let settings = [("axis", Int(-1)), ("epsilon", Float(epsilon))];
        self.node("LayerNormalization", &inputs, &settings)
    }

    /// softmax(q k / sqrt(width)) v: queries `[b, heads, n, width]`, keys `[b, heads, width, m]` and values
    /// `[b, heads, m, width]` to `[b, heads, n, width]`.
    pub(crate) fn attention(
        &mut self,
        query: &Value,
        key: &Value,
        value: &Value,
        width: usize,
    ) -> Value {
        let query = self.scale(query, 1.0 / (width as f64).sqrt());
        let scores = self.matmul(&query, key);
        let weights = self.node("Softmax", &[&scores], &[("axis", Int(-1))]);
        self.matmul(&weights, value)
    }

    /// Sines and cosines of values times frequencies, of a further dimension: f64 `[..]` to f32 `[.., 2 frequencies]`.
    pub(crate) fn waves(&mut self, values: &Value, frequencies: &[f64], sine_first: bool) -> Value {
        let values = self.unsqueeze(values, &[-1]);
        let frequencies = self.doubles(&[frequencies.len()], frequencies);
        let angles = self.mul(&values, &frequencies);
        // Not all runtimes have a cosine of f64.
        let quarter = self.doubles(&[], &[FRAC_PI_2]);
        let turned = self.add(&angles, &quarter);
        let [sine, cosine] = [&angles, &turned].map(|angles| self.node("Sin", &[angles], &[]));
        let both = match sine_first {
            true => self.concat(&[&sine, &cosine], -1),
            false => self.concat(&[&cosine, &sine], -1),
        };
        self.cast(&both, DataType::Float)
    }

    /// Each pixel as 2x2 of it.
    pub(crate) fn double(&mut self, images: &Value) -> Value {
        let none = self.floats(&[0], &[]);
        let scales = self.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
        let settings = [
            ("mode", Text("nearest")),
            ("coordinate_transformation_mode", Text("asymmetric")),
            ("nearest_mode", Text("floor")),
        ];
        self.node("Resize", &[images, &none, &scales], &settings)
    }

    /// The means of 2x2 pixels.
    pub(crate) fn halve(&mut self, images: &Value) -> Value {
        let settings = [("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))];
        self.node("AveragePool", &[images], &settings)
    }

    /// `[rows, columns]` to `[rows]`.
    pub(crate) fn sum_of_rows(&mut self, matrix: &Value) -> Value {
        let axis = self.integers(&[1]);
        self.node("ReduceSum", &[matrix, &axis], &[("keepdims", Int(0))])
    }

    /// One row of a matrix, `[1, columns]`.
    pub(crate) fn row(&mut self, matrix: &Value, row: usize) -> Value {
        let row = self.integers(&[row as i64]);
        self.node("Gather", &[matrix, &row], &[("axis", Int(0))])
    }

    /// Images without the pixels at their edges.
    pub(crate) fn inside(&mut self, images: &Value) -> Value {
        let [starts, ends, axes] = [[1, 1], [-1, -1], [2, 3]].map(|list| self.integers(&list));
        self.node("Slice", &[images, &starts, &ends, &axes], &[])
    }
}
