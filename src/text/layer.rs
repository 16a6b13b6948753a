//! The transformer blocks of both halves of CLIP. [Radford et al. 2021, Sec. 2.4; Dosovitskiy et al. 2021, Eq. 2-3]

use crate::network::Linear;
use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Tensor, activation};

/// The function between the two matrices of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x sigmoid(1.702 x), of OpenAI's models.
    QuickGelu,
    /// x times the normal distribution function of x, of most others.
    Gelu,
}

#[derive(Module, Debug)]
pub(crate) struct Layers {
    pub(crate) layers: Vec<Layer>,
}

#[derive(Module, Debug)]
pub(crate) struct Layer {
    layer_norm1: LayerNorm,
    self_attn: Attention,
    layer_norm2: LayerNorm,
    mlp: Perceptron,
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
}

#[derive(Module, Debug)]
struct Perceptron {
    fc1: Linear,
    fc2: Linear,
}

/// Normalisation of each token.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

const EPSILON: f64 = 1e-5;
/// x sigmoid(1.702 x) is nearly the GELU. [Hendrycks & Gimpel 2016, Sec. 2]
const QUICK_GELU: f64 = 1.702;

impl Layers {
    /// So many blocks with all weights zero and norms one.
    pub(crate) fn new(layers: usize, width: usize, inner: usize, device: &Device) -> Self {
        let linear = |input, output| Linear::new(input, output, true, device);
        let layer = |_| Layer {
            layer_norm1: LayerNorm::new(width, device),
            self_attn: Attention {
                q_proj: linear(width, width),
                k_proj: linear(width, width),
                v_proj: linear(width, width),
                out_proj: linear(width, width),
            },
            layer_norm2: LayerNorm::new(width, device),
            mlp: Perceptron {
                fc1: linear(width, inner),
                fc2: linear(inner, width),
            },
        };
        Self {
            layers: (0..layers).map(layer).collect(),
        }
    }
}

impl Layer {
    /// `hidden` `[rows, tokens, width]`; `later`, where there is one, is true where a token (column) is not to be seen by
    /// another (row).
    pub(crate) fn forward(
        &self,
        hidden: Tensor<3>,
        later: Option<&Tensor<2, Bool>>,
        heads: usize,
        function: Activation,
    ) -> Tensor<3> {
        let seen = self.layer_norm1.forward(hidden.clone());
        let hidden = hidden + self.self_attn.forward(seen, later, heads);
        let [rows, tokens, width] = hidden.dims();
        let seen = self.layer_norm2.forward(hidden.clone());
        let inner = self.mlp.fc1.forward(seen.reshape([rows * tokens, width]));
        let inner = match function {
            Activation::QuickGelu => {
                inner.clone() * activation::sigmoid(inner.mul_scalar(QUICK_GELU))
            }
            Activation::Gelu => activation::gelu(inner),
        };
        hidden + self.mlp.fc2.forward(inner).reshape([rows, tokens, width])
    }
}

impl Attention {
    fn forward(
        &self,
        hidden: Tensor<3>,
        later: Option<&Tensor<2, Bool>>,
        heads: usize,
    ) -> Tensor<3> {
        let [rows, tokens, width] = hidden.dims();
        let flat = hidden.reshape([rows * tokens, width]);
        let part = |layer: &Linear| {
            let all = layer.forward(flat.clone());
            all.reshape([rows, tokens, heads, width / heads])
                .swap_dims(1, 2)
        };
        let query = part(&self.q_proj).mul_scalar(((width / heads) as f64).powf(-0.5));
        let scores = query.matmul(part(&self.k_proj).swap_dims(2, 3));
        let scores = match later {
            Some(later) => {
                let later = later.clone().unsqueeze::<4>();
                let later = later.expand([rows, heads, tokens, tokens]);
                scores.mask_fill(later, f32::NEG_INFINITY)
            }
            None => scores,
        };
        let mixed = activation::softmax(scores, 3).matmul(part(&self.v_proj));
        let mixed = mixed.swap_dims(1, 2).reshape([rows * tokens, width]);
        self.out_proj.forward(mixed).reshape([rows, tokens, width])
    }
}

impl LayerNorm {
    pub(crate) fn new(width: usize, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([width], device)),
            bias: Param::from_tensor(Tensor::zeros([width], device)),
        }
    }

    pub(crate) fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let (variance, mean) = hidden.clone().var_mean_bias(2);
        let normal = (hidden - mean) / (variance + EPSILON).sqrt();
        normal * self.weight.val().unsqueeze() + self.bias.val().unsqueeze()
    }
}
