//! The operations as an extension of Burn's Flex backend.

use super::frozen;
use crate::{activation, attention, conv, join, linear, norm, resample, sum};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, backend_extension};
use burn::tensor::{Bytes, DType, Shape};

/// The operations of this crate; all tensors are f32 on the CPU.
///
/// The functions at the crate root are the way in: they check shapes and types first.
#[backend_extension(Flex, Autodiff)]
pub trait Kernels: Backend {
    /// Convolution with a square kernel of 1 or 3 taps a side, stride 1, same size.
    fn conv2d_same(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Group normalisation of `x + shift`, then SiLU if `silu`.
    fn group_norm_silu(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: usize,
        eps: f64,
        silu: bool,
    ) -> FloatTensor<Self>;

    /// `x * sigmoid(x)`.
    fn silu_fast(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `(a + b) * scale` of equal shapes.
    fn add_scaled(a: FloatTensor<Self>, b: FloatTensor<Self>, scale: f64) -> FloatTensor<Self>;

    /// The channels of `a`, then those of `b`.
    fn join_channels(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Nearest-neighbour doubling of height and width.
    fn double(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Mean over 2x2 blocks.
    fn halve(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Scaled dot-product attention of `[batch, heads, tokens, width]`; the answer is `[batch, tokens, heads, width]` if it
    /// is for `tokens`, else `[batch, heads, width, tokens]`.
    fn attention_tiled(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        tokens: bool,
    ) -> FloatTensor<Self>;

    /// Scaled dot-product attention of queries, keys and values that lie together, `[batch, 3 heads, width, tokens]`; the
    /// answer is `[batch, heads, width, tokens]`.
    fn self_attention(qkv: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Rows times the transposed weight, each row on its own.
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Value times GELU of a gate, of rows `[value, gate]`.
    fn gated_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The tensor's values in row-major order without gaps; copied only if they are not so already.
pub(crate) fn dense(t: FlexTensor) -> FlexTensor {
    match t.as_slice::<f32>() {
        Some(_) => t,
        None => t.to_contiguous(),
    }
}

/// The values of a [`dense`] tensor.
pub(crate) fn values(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().expect("a dense f32 tensor")
}

/// A tensor of `values`.
pub(crate) fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(shape),
        DType::F32,
    )
}

/// Sizes of the convolution of `x` with `weight`.
pub(crate) fn conv_shape(x: &FlexTensor, weight: &FlexTensor) -> conv::Shape {
    let ([batch, cin, height, width], [cout, _, side, _]) =
        (x.layout().shape().dims(), weight.layout().shape().dims());
    conv::Shape {
        batch,
        cin,
        cout,
        height,
        width,
        side,
    }
}

/// Sizes of the normalisation of `x`.
pub(crate) fn norm_shape(x: &FlexTensor, groups: usize, eps: f64, silu: bool) -> norm::Norm {
    let [batch, channels, height, width] = x.layout().shape().dims();
    norm::Norm {
        batch,
        channels,
        pixels: height * width,
        groups,
        eps,
        silu,
    }
}

/// Sizes of the attention of queries and keys.
pub(crate) fn attention_shape(query: &FlexTensor, key: &FlexTensor) -> attention::Shape {
    let [batch, heads, queries, width] = query.layout().shape().dims();
    let [_, _, keys, _] = key.layout().shape().dims();
    attention::Shape {
        batch,
        heads,
        queries,
        keys,
        width,
    }
}

/// Sizes of the attention of queries, keys and values that lie together.
pub(crate) fn joint_shape(qkv: &FlexTensor) -> attention::Shape {
    let [batch, heads, width, tokens] = qkv.layout().shape().dims();
    attention::Shape {
        batch,
        heads: heads / 3,
        queries: tokens,
        keys: tokens,
        width,
    }
}

/// A tensor whose numbers can be reached by steps forward.
pub(crate) fn forward_steps(t: FlexTensor) -> FlexTensor {
    match t.layout().has_positive_strides() {
        true => t,
        false => t.to_contiguous(),
    }
}

/// The rows of a tensor with [`forward_steps`].
pub(crate) fn attention_rows(t: &FlexTensor) -> attention::Rows<'_> {
    let mut steps = [0; 4];
    for (step, stride) in steps.iter_mut().zip(t.layout().strides()) {
        *step = stride.unsigned_abs();
    }
    attention::Rows {
        values: t.storage(),
        first: t.layout().start_offset(),
        steps,
    }
}

/// The answer of an attention, and what its backward pass needs beside the inputs: for each query the logarithm of its
/// weights' sum, `[batch, heads, queries]`.
#[derive(Clone, Debug)]
pub(crate) struct Attended {
    pub answer: FlexTensor,
    pub sums: FlexTensor,
}

impl Attended {
    fn new(s: &attention::Shape, found: attention::Answer, tokens: bool) -> Self {
        let shape = match tokens {
            true => [s.batch, s.queries, s.heads, s.width],
            false => [s.batch, s.heads, s.width, s.queries],
        };
        Self {
            answer: tensor(found.values, Shape::new(shape)),
            sums: tensor(found.sums, Shape::new([s.batch, s.heads, s.queries])),
        }
    }
}

/// Attention of queries, keys and values with [`forward_steps`].
pub(crate) fn attend([query, key, value]: [&FlexTensor; 3], tokens: bool) -> Attended {
    let s = attention_shape(query, key);
    let [q, k, v] = [query, key, value].map(attention_rows);
    Attended::new(&s, attention::forward(s, &q, &k, &v, tokens), tokens)
}

/// Attention of queries, keys and values that lie together in a [`dense`] tensor.
pub(crate) fn attend_jointly(qkv: &FlexTensor) -> Attended {
    let s = joint_shape(qkv);
    let [q, k, v] = attention::joint_rows(&s, values(qkv));
    Attended::new(&s, attention::forward(s, &q, &k, &v, false), false)
}

impl Kernels for Flex {
    fn conv2d_same(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let (x, weight, bias) = (dense(x), dense(weight), dense(bias));
        let s = conv_shape(&x, &weight);
        let pack = || conv::pack(s, values(&weight));
        let mut packed = match conv::worth_keeping(&s) {
            true => frozen::packed(&weight, pack),
            false => frozen::Packed::New(pack()),
        };
        // Kept for images of another size, which are convolved in another way.
        if packed.len() != conv::packed_len(&s) {
            packed = frozen::Packed::New(pack());
        }
        let y = conv::forward(s, values(&x), &packed, Some(values(&bias)));
        tensor(y, Shape::new([s.batch, s.cout, s.height, s.width]))
    }

    fn group_norm_silu(
        x: FlexTensor,
        shift: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        groups: usize,
        eps: f64,
        silu: bool,
    ) -> FlexTensor {
        let (x, shift, gamma, beta) = (dense(x), dense(shift), dense(gamma), dense(beta));
        let inputs = norm::Inputs {
            x: values(&x),
            shift: Some(values(&shift)),
            gamma: values(&gamma),
            beta: values(&beta),
        };
        let y = norm::forward(norm_shape(&x, groups, eps, silu), &inputs);
        tensor(y, x.layout().shape().clone())
    }

    fn silu_fast(x: FlexTensor) -> FlexTensor {
        let x = dense(x);
        tensor(activation::forward(values(&x)), x.layout().shape().clone())
    }

    fn add_scaled(a: FlexTensor, b: FlexTensor, scale: f64) -> FlexTensor {
        let (a, b) = (dense(a), dense(b));
        let y = sum::forward(values(&a), values(&b), scale as f32);
        tensor(y, a.layout().shape().clone())
    }

    fn join_channels(a: FlexTensor, b: FlexTensor) -> FlexTensor {
        let (a, b) = (dense(a), dense(b));
        let [batch, of_a, h, w] = a.layout().shape().dims();
        let [_, of_b, _, _] = b.layout().shape().dims();
        let y = join::forward(values(&a), values(&b), batch);
        tensor(y, Shape::new([batch, of_a + of_b, h, w]))
    }

    fn double(x: FlexTensor) -> FlexTensor {
        let x = dense(x);
        let [b, c, h, w] = x.layout().shape().dims();
        let y = resample::spread(values(&x), b * c, [h, w], [2 * h, 2 * w], 1.0);
        tensor(y, Shape::new([b, c, 2 * h, 2 * w]))
    }

    fn halve(x: FlexTensor) -> FlexTensor {
        let x = dense(x);
        let [b, c, h, w] = x.layout().shape().dims();
        let y = resample::gather(values(&x), b * c, [h, w], 0.25);
        tensor(y, Shape::new([b, c, h / 2, w / 2]))
    }

    fn attention_tiled(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        tokens: bool,
    ) -> FlexTensor {
        let [query, key, value] = [query, key, value].map(forward_steps);
        attend([&query, &key, &value], tokens).answer
    }

    fn self_attention(qkv: FlexTensor) -> FlexTensor {
        attend_jointly(&dense(qkv)).answer
    }

    fn linear(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let (x, weight) = (dense(x), dense(weight));
        let [rows, depth] = x.layout().shape().dims();
        let [outputs, _] = weight.layout().shape().dims();
        let y = linear::forward(values(&x), values(&weight), depth);
        tensor(y, Shape::new([rows, outputs]))
    }

    fn gated_gelu(x: FlexTensor) -> FlexTensor {
        let x = dense(x);
        let (shape, width) = gate_shape(&x);
        tensor(activation::gated(values(&x), width), shape)
    }
}

/// The dimensions of a gated tensor, and the numbers of its rows.
pub(crate) fn gate_shape(x: &FlexTensor) -> (Shape, usize) {
    let mut shape = x.layout().shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] /= 2;
    let width = shape[last];
    (shape, width)
}
