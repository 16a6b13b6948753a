//! The operations' backward passes.

use crate::extension::{
    Kernels, answer_shape, attention_rows, attention_shape, conv_shape, dense, forward_steps,
    gate_shape, joint_shape, norm_shape, tensor, values,
};
use crate::{activation, attention, conv, norm, resample, sum};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::Shape;

#[derive(Debug)]
struct ConvBackward;

impl Backward<Flex, 3> for ConvBackward {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(grads.consume::<Flex>(&ops.node));
        let (x, weight) = ops.state;
        let s = conv_shape(&x, &weight);
        let [x_node, weight_node, bias_node] = ops.parents;
        if let Some(node) = x_node {
            let d = conv::input_gradient(s, values(&g), values(&weight));
            grads.register::<Flex>(node.id, tensor(d, x.layout().shape().clone()));
        }
        if let Some(node) = weight_node {
            let d = conv::weight_gradient(s, values(&x), values(&g));
            grads.register::<Flex>(node.id, tensor(d, weight.layout().shape().clone()));
        }
        if let Some(node) = bias_node {
            let d = conv::bias_gradient(s.batch, s.cout, s.pixels(), values(&g));
            grads.register::<Flex>(node.id, tensor(d, Shape::new([s.cout])));
        }
    }
}

#[derive(Debug)]
struct NormBackward;

/// What the backward pass of a normalisation needs.
#[derive(Clone, Debug)]
struct NormState {
    x: FlexTensor,
    shift: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    norm: norm::Norm,
}

impl Backward<Flex, 4> for NormBackward {
    type State = NormState;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(grads.consume::<Flex>(&ops.node));
        let s = ops.state;
        let inputs = norm::Inputs {
            x: values(&s.x),
            shift: Some(values(&s.shift)),
            gamma: values(&s.gamma),
            beta: values(&s.beta),
        };
        let d = norm::backward(s.norm, &inputs, values(&g));
        let found = [
            (d.x, &s.x),
            (d.shift, &s.shift),
            (d.gamma, &s.gamma),
            (d.beta, &s.beta),
        ];
        for (node, (d, like)) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(d, like.layout().shape().clone()));
            }
        }
    }
}

#[derive(Debug)]
struct AttentionBackward;

/// What the backward pass of an attention needs.
#[derive(Clone, Debug)]
struct AttentionState {
    query: FlexTensor,
    key: FlexTensor,
    value: FlexTensor,
    answer: FlexTensor,
    sums: FlexTensor,
    tokens: bool,
}

impl Backward<Flex, 3> for AttentionBackward {
    type State = AttentionState;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = forward_steps(grads.consume::<Flex>(&ops.node));
        let state = ops.state;
        let s = attention_shape(&state.query, &state.key);
        // As the queries: [batch, heads, tokens, width].
        let like = |t: &FlexTensor| match state.tokens {
            true => t.transpose(1, 2),
            false => t.transpose(2, 3),
        };
        let (answer, g) = (like(&state.answer), like(&g));
        let [q, k, v] = [&state.query, &state.key, &state.value].map(attention_rows);
        let [answer, g] = [&answer, &g].map(attention_rows);
        let d = attention::backward(s, [&q, &k, &v], &answer, values(&state.sums), &g);
        let found = [(d.q, &state.query), (d.k, &state.key), (d.v, &state.value)];
        for (node, (d, like)) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(d, like.layout().shape().clone()));
            }
        }
    }
}

#[derive(Debug)]
struct SumBackward;

impl Backward<Flex, 2> for SumBackward {
    /// The scale, and the shape.
    type State = (f64, Shape);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(grads.consume::<Flex>(&ops.node));
        let (scale, shape) = ops.state;
        let g = match scale == 1.0 {
            true => g,
            false => tensor(sum::backward(values(&g), scale as f32), shape),
        };
        for node in ops.parents.into_iter().flatten() {
            grads.register::<Flex>(node.id, g.clone());
        }
    }
}

/// Declares the backward pass of an operation with one input, `gradient(state, g)`.
macro_rules! unary {
    ($name:ident, $state:ty, $gradient:expr) => {
        #[derive(Debug)]
        struct $name;

        impl Backward<Flex, 1> for $name {
            type State = $state;

            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _: &mut Checkpointer,
            ) {
                let g = dense(grads.consume::<Flex>(&ops.node));
                let [node] = ops.parents;
                if let Some(node) = node {
                    let d = $gradient(&ops.state, values(&g));
                    grads.register::<Flex>(node.id, d);
                }
            }
        }
    };
}

unary!(SiluBackward, FlexTensor, |x: &FlexTensor, g: &[f32]| {
    tensor(
        activation::backward(values(x), g),
        x.layout().shape().clone(),
    )
});
unary!(
    DoubleBackward,
    [usize; 4],
    |&[b, c, h, w]: &[usize; 4], g: &[f32]| {
        tensor(
            resample::gather(g, [2 * h, 2 * w], 1.0),
            Shape::new([b, c, h, w]),
        )
    }
);
unary!(
    HalveBackward,
    [usize; 4],
    |&[b, c, h, w]: &[usize; 4], g: &[f32]| {
        let d = resample::spread(g, [h / 2, w / 2], [h, w], 0.25);
        tensor(d, Shape::new([b, c, h, w]))
    }
);

/// What the backward pass of a self-attention needs.
#[derive(Clone, Debug)]
struct JointState {
    qkv: FlexTensor,
    answer: FlexTensor,
    sums: FlexTensor,
}

unary!(
    JointBackward,
    JointState,
    |state: &JointState, g: &[f32]| {
        let s = joint_shape(&state.qkv);
        let [q, k, v] = &attention::joint_rows(&s, values(&state.qkv));
        let answer = attention::answer_rows(&s, values(&state.answer));
        let g = attention::answer_rows(&s, g);
        let d = attention::joint_backward(s, [q, k, v], &answer, values(&state.sums), &g);
        tensor(d, state.qkv.layout().shape().clone())
    }
);

unary!(GateBackward, FlexTensor, |x: &FlexTensor, g: &[f32]| {
    let (_, width) = gate_shape(x);
    tensor(
        activation::gated_backward(values(x), g, width),
        x.layout().shape().clone(),
    )
});

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn conv2d_same(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let prep = ConvBackward
            .prepare::<C>([x.node(), weight.node(), bias.node()])
            .compute_bound()
            .stateful();
        let (x, weight) = (dense(x.into_primitive()), dense(weight.into_primitive()));
        let y = Flex::conv2d_same(x.clone(), weight.clone(), bias.into_primitive());
        match prep {
            OpsKind::Tracked(prep) => prep.finish((x, weight), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn group_norm_silu(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: usize,
        eps: f64,
        silu: bool,
    ) -> FloatTensor<Self> {
        let prep = NormBackward
            .prepare::<C>([x.node(), shift.node(), gamma.node(), beta.node()])
            .compute_bound()
            .stateful();
        let [x, shift, gamma, beta] = [x, shift, gamma, beta].map(|t| dense(t.into_primitive()));
        let state = NormState {
            norm: norm_shape(&x, groups, eps, silu),
            x,
            shift,
            gamma,
            beta,
        };
        let s = state.clone();
        let y = Flex::group_norm_silu(s.x, s.shift, s.gamma, s.beta, groups, eps, silu);
        match prep {
            OpsKind::Tracked(prep) => prep.finish(state, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn silu_fast(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let prep = SiluBackward
            .prepare::<C>([x.node()])
            .compute_bound()
            .stateful();
        let x = dense(x.into_primitive());
        let y = Flex::silu_fast(x.clone());
        match prep {
            OpsKind::Tracked(prep) => prep.finish(x, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn add_scaled(a: FloatTensor<Self>, b: FloatTensor<Self>, scale: f64) -> FloatTensor<Self> {
        let prep = SumBackward
            .prepare::<C>([a.node(), b.node()])
            .compute_bound()
            .stateful();
        let (a, b) = (a.into_primitive(), b.into_primitive());
        let shape = a.layout().shape().clone();
        let y = Flex::add_scaled(a, b, scale);
        match prep {
            OpsKind::Tracked(prep) => prep.finish((scale, shape), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn double(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let prep = DoubleBackward
            .prepare::<C>([x.node()])
            .compute_bound()
            .stateful();
        let x = x.into_primitive();
        let shape = x.layout().shape().dims();
        let y = Flex::double(x);
        match prep {
            OpsKind::Tracked(prep) => prep.finish(shape, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn halve(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let prep = HalveBackward
            .prepare::<C>([x.node()])
            .compute_bound()
            .stateful();
        let x = x.into_primitive();
        let shape = x.layout().shape().dims();
        let y = Flex::halve(x);
        match prep {
            OpsKind::Tracked(prep) => prep.finish(shape, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn attention_tiled(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        tokens: bool,
    ) -> FloatTensor<Self> {
        let prep = AttentionBackward
            .prepare::<C>([query.node(), key.node(), value.node()])
            .compute_bound()
            .stateful();
        let [query, key, value] = [query, key, value].map(|t| forward_steps(t.into_primitive()));
        let s = attention_shape(&query, &key);
        let [q, k, v] = [&query, &key, &value].map(attention_rows);
        let answer = attention::forward(s, &q, &k, &v, tokens);
        let y = tensor(answer.values, answer_shape(&s, tokens));
        match prep {
            OpsKind::Tracked(prep) => {
                let state = AttentionState {
                    query,
                    key,
                    value,
                    answer: y.clone(),
                    sums: tensor(answer.sums, Shape::new([s.batch, s.heads, s.queries])),
                    tokens,
                };
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn self_attention(qkv: FloatTensor<Self>) -> FloatTensor<Self> {
        let prep = JointBackward
            .prepare::<C>([qkv.node()])
            .compute_bound()
            .stateful();
        let qkv = dense(qkv.into_primitive());
        let s = joint_shape(&qkv);
        let [q, k, v] = attention::joint_rows(&s, values(&qkv));
        let answer = attention::forward(s, &q, &k, &v, false);
        let y = tensor(answer.values, answer_shape(&s, false));
        match prep {
            OpsKind::Tracked(prep) => {
                let state = JointState {
                    answer: y.clone(),
                    sums: tensor(answer.sums, Shape::new([s.batch, s.heads, s.queries])),
                    qkv,
                };
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn gated_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let prep = GateBackward
            .prepare::<C>([x.node()])
            .compute_bound()
            .stateful();
        let x = dense(x.into_primitive());
        let y = Flex::gated_gelu(x.clone());
        match prep {
            OpsKind::Tracked(prep) => prep.finish(x, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
