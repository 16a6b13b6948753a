//! The half of CLIP that sees: a transformer over squares of a picture. [Dosovitskiy et al. 2021, Eq. 1-4]

use super::VisionConfig;
use crate::Images;
use crate::layer::LayerNorm;
use crate::parameter::Site;
use crate::text::{Layers, norm};
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// The encoder with its weights, under the names of transformers, misspelling and all.
#[derive(Module, Debug)]
pub(super) struct VisionEncoder {
    vision_model: VisionModel,
    #[module(skip)]
    config: VisionConfig,
}

#[derive(Module, Debug)]
struct VisionModel {
    embeddings: Embeddings,
    pre_layrnorm: LayerNorm,
    encoder: Layers,
    post_layernorm: LayerNorm,
}

#[derive(Module, Debug)]
struct Embeddings {
    class_embedding: Param<Tensor<1>>,
    patch_embedding: Table<4>,
    position_embedding: Table<2>,
}

#[derive(Module, Debug)]
struct Table<const D: usize> {
    weight: Param<Tensor<D>>,
}

impl VisionEncoder {
    pub fn new(config: &VisionConfig, site: &Site<'_>) -> Self {
        let VisionConfig {
            size, patch, width, ..
        } = *config;
        let tokens = (size / patch).pow(2) + 1;
        let site = site.at("vision_model");
        let embeddings = site.at("embeddings");
        Self {
            vision_model: VisionModel {
                embeddings: Embeddings {
                    class_embedding: embeddings.vector("class_embedding", width),
                    patch_embedding: Table {
                        weight: embeddings
                            .at("patch_embedding")
                            .weight([width, 3, patch, patch]),
                    },
                    position_embedding: Table {
                        weight: embeddings.at("position_embedding").weight([tokens, width]),
                    },
                },
                pre_layrnorm: norm(width, &site.at("pre_layrnorm")),
                encoder: Layers::new(
                    config.layers,
                    width,
                    config.inner_width,
                    &site.at("encoder"),
                ),
                post_layernorm: norm(width, &site.at("post_layernorm")),
            },
            config: *config,
        }
    }

    /// The state of the class token, `[batch, width]`, of prepared pictures `[batch, 3, size, size]`.
    pub fn forward(&self, pictures: Images) -> Tensor<2> {
        let (model, embeddings) = (&self.vision_model, &self.vision_model.embeddings);
        let VisionConfig {
            size, patch, width, ..
        } = self.config;
        let [batch, ..] = pictures.dims();
        let side = size / patch;
        // Each square in a row, as the kernel lies.
        let squares = pictures
            .reshape([batch, 3, side, patch, side, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch * side * side, 3 * patch * patch]);
        let kernel = embeddings.patch_embedding.weight.val();
        let kernel = kernel.reshape([width, 3 * patch * patch]).transpose();
        let squares = squares.matmul(kernel).reshape([batch, side * side, width]);
        let class = embeddings.class_embedding.val().reshape([1, 1, width]);
        let tokens = Tensor::cat(vec![class.expand([batch, 1, width]), squares], 1);
        let places = embeddings.position_embedding.weight.val();
        let mut hidden = model
            .pre_layrnorm
            .forward_plain(tokens + places.unsqueeze());
        for layer in &model.encoder.layers {
            hidden = layer.forward(hidden, None, self.config.heads, self.config.activation);
        }
        let class = hidden.slice([0..batch, 0..1, 0..width]);
        let class = model.post_layernorm.forward_plain(class);
        class.reshape([batch, width])
    }
}
