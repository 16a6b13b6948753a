//! The transformer blocks of both halves of CLIP. [Radford et al. 2021, Sec. 2.4; Dosovitskiy et al. 2021, Eq. 2-3]

use crate::layer::{LayerNorm, Linear};
use crate::parameter::Site;
use burn::module::Module;
use burn::tensor::{Bool, Tensor, activation};

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

const EPSILON: f64 = 1e-5;
/// x sigmoid(1.702 x) is nearly the GELU. [Hendrycks & Gimpel 2016, Sec. 2]
const QUICK_GELU: f64 = 1.702;

impl Layers {
    /// So many blocks.
    pub(crate) fn new(layers: usize, width: usize, inner: usize, site: &Site<'_>) -> Self {
        let layer = |i| Layer::new(width, inner, &site.at("layers").at(i));
        Self {
            layers: (0..layers).map(layer).collect(),
        }
    }
}

/// The normalisation of each token.
pub(crate) fn norm(width: usize, site: &Site<'_>) -> LayerNorm {
    LayerNorm::new(width, EPSILON, site)
}

impl Layer {
    fn new(width: usize, inner: usize, site: &Site<'_>) -> Self {
        let attention = site.at("self_attn");
        let square = |name| Linear::new(width, width, &attention.at(name));
        Self {
            layer_norm1: norm(width, &site.at("layer_norm1")),
            self_attn: Attention {
                q_proj: square("q_proj"),
                k_proj: square("k_proj"),
                v_proj: square("v_proj"),
                out_proj: square("out_proj"),
            },
            layer_norm2: norm(width, &site.at("layer_norm2")),
            mlp: Perceptron {
                fc1: Linear::new(width, inner, &site.at("mlp.fc1")),
                fc2: Linear::new(inner, width, &site.at("mlp.fc2")),
            },
        }
    }

    /// `hidden` `[rows, tokens, width]`; `later`, where there is one, is true where a token (column) is not to be seen by
    /// another (row).
    pub(crate) fn forward(
        &self,
        hidden: Tensor<3>,
        later: Option<&Tensor<2, Bool>>,
        heads: usize,
        function: Activation,
    ) -> Tensor<3> {
        let seen = self.layer_norm1.forward_plain(hidden.clone());
        let hidden = hidden + self.self_attn.forward(seen, later, heads);
        let [rows, tokens, width] = hidden.dims();
        let seen = self.layer_norm2.forward_plain(hidden.clone());
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
