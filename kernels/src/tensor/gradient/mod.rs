//! The operations with gradients.

mod backward;

use crate::tensor::extension::{Kernels, attend, attend_jointly, dense, forward_steps, norm_shape};
use backward::{
    AttentionBackward, AttentionState, ConvBackward, DoubleBackward, GateBackward, HalveBackward,
    JoinBackward, JointBackward, JointState, LinearBackward, NormBackward, NormState, SiluBackward,
    SumBackward,
};
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::{Backward, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};

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

    fn join_channels(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let prep = JoinBackward
            .prepare::<C>([a.node(), b.node()])
            .compute_bound()
            .stateful();
        let (a, b) = (a.into_primitive(), b.into_primitive());
        let shapes = [&a, &b].map(|t| t.layout().shape().dims());
        let y = Flex::join_channels(a, b);
        match prep {
            OpsKind::Tracked(prep) => prep.finish(shapes, y),
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
        let found = attend([&query, &key, &value], tokens);
        let y = found.answer.clone();
        match prep {
            OpsKind::Tracked(prep) => {
                let state = AttentionState {
                    query,
                    key,
                    value,
                    found,
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
        let found = attend_jointly(&qkv);
        let y = found.answer.clone();
        match prep {
            OpsKind::Tracked(prep) => prep.finish(JointState { qkv, found }, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let prep = LinearBackward
            .prepare::<C>([x.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let y = Flex::linear(x.clone(), weight.clone());
        match prep {
            OpsKind::Tracked(prep) => prep.finish((x, weight), y),
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
