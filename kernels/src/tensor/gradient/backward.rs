//! What each operation does when gradients come back.

use crate::tensor::extension::{
    Attended, attention_rows, attention_shape, conv_shape, dense, forward_steps, gate_shape,
    joint_shape, tensor, values,
};
use crate::{activation, attention, conv, join, norm, resample, sum};
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::Shape;

#[derive(Debug)]
pub(super) struct ConvBackward;

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
pub(super) struct NormBackward;

/// What the backward pass of a normalisation needs.
#[derive(Clone, Debug)]
pub(super) struct NormState {
    pub x: FlexTensor,
    pub shift: FlexTensor,
    pub gamma: FlexTensor,
    pub beta: FlexTensor,
    pub norm: norm::Norm,
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
pub(super) struct AttentionBackward;

/// What the backward pass of an attention needs.
#[derive(Clone, Debug)]
pub(super) struct AttentionState {
    pub query: FlexTensor,
    pub key: FlexTensor,
    pub value: FlexTensor,
    pub found: Attended,
    pub tokens: bool,
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
        let (answer, g) = (like(&state.found.answer), like(&g));
        let [q, k, v] = [&state.query, &state.key, &state.value].map(attention_rows);
        let [answer, g] = [&answer, &g].map(attention_rows);
        let d = attention::backward(s, [&q, &k, &v], &answer, values(&state.found.sums), &g);
        let found = [(d.q, &state.query), (d.k, &state.key), (d.v, &state.value)];
        for (node, (d, like)) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(d, like.layout().shape().clone()));
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct SumBackward;

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

#[derive(Debug)]
pub(super) struct LinearBackward;

impl Backward<Flex, 2> for LinearBackward {
    /// Rows and weight.
    type State = (FlexTensor, FlexTensor);

    /// Sums over a batch depend on it in any case: Burn's own products do.
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = grads.consume::<Flex>(&ops.node);
        let (x, weight) = ops.state;
        let [x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            let d = Flex::float_matmul(g.clone(), weight);
            grads.register::<Flex>(node.id, d);
        }
        if let Some(node) = weight_node {
            let d = Flex::float_matmul(Flex::float_transpose(x), g);
            grads.register::<Flex>(node.id, Flex::float_transpose(d));
        }
    }
}

#[derive(Debug)]
pub(super) struct JoinBackward;

impl Backward<Flex, 2> for JoinBackward {
    /// The shapes of both.
    type State = [[usize; 4]; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(grads.consume::<Flex>(&ops.node));
        let mut first = 0;
        for (node, [batch, c, h, w]) in ops.parents.into_iter().zip(ops.state) {
            let columns = first..first + c * h * w;
            first = columns.end;
            if let Some(node) = node {
                let d = join::backward(values(&g), batch, columns);
                grads.register::<Flex>(node.id, tensor(d, Shape::new([batch, c, h, w])));
            }
        }
    }
}

/// Declares the backward pass of an operation with one input, `gradient(state, g)`.
macro_rules! unary {
    ($name:ident, $state:ty, $gradient:expr) => {
        #[derive(Debug)]
        pub(super) struct $name;

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
            resample::gather(g, b * c, [2 * h, 2 * w], 1.0),
            Shape::new([b, c, h, w]),
        )
    }
);
unary!(
    HalveBackward,
    [usize; 4],
    |&[b, c, h, w]: &[usize; 4], g: &[f32]| {
        let d = resample::spread(g, b * c, [h / 2, w / 2], [h, w], 0.25);
        tensor(d, Shape::new([b, c, h, w]))
    }
);

/// What the backward pass of a self-attention needs.
#[derive(Clone, Debug)]
pub(super) struct JointState {
    pub qkv: FlexTensor,
    pub found: Attended,
}

unary!(
    JointBackward,
    JointState,
    |state: &JointState, g: &[f32]| {
        let s = joint_shape(&state.qkv);
        let [q, k, v] = &attention::joint_rows(&s, values(&state.qkv));
        let answer = attention::answer_rows(&s, values(&state.found.answer));
        let g = attention::answer_rows(&s, g);
        let d = attention::joint_backward(s, [q, k, v], &answer, values(&state.found.sums), &g);
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
