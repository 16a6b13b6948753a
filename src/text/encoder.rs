//! The text half of CLIP: a transformer in which a token sees those before it. [Radford et al. 2021, Sec. 2.4]

use super::config::TextEncoderConfig;
use super::layer::{Activation, Layers, norm};
use crate::Error;
use crate::layer::{LayerNorm, Linear};
use crate::parameter::{Draw, Keys, Named, Site, build, draw, shapes};
use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// The encoder with its weights.
#[derive(Module, Debug)]
pub struct TextEncoder {
    text_model: TextModel,
    /// What is made of a text as a whole.
    text_projection: Option<Linear>,
    #[module(skip)]
    config: TextEncoderConfig,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    keys: Keys,
}

impl Named for TextEncoder {
    fn keys(&self) -> &Keys {
        &self.keys
    }
}

#[derive(Module, Debug)]
struct TextModel {
    embeddings: Embeddings,
    encoder: Layers,
    final_layer_norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Embeddings {
    token_embedding: Table,
    position_embedding: Table,
}

#[derive(Module, Debug)]
struct Table {
    weight: Param<Tensor<2>>,
}

impl TextEncoder {
    fn new(config: &TextEncoderConfig, projection: Option<usize>, device: &Device) -> Self {
        let (encoder, keys) = build("", Draw::Normal, device, |site| Self {
            text_projection: projection.map(|width| {
                Linear::without_bias(config.width, width, &site.at("text_projection"))
            }),
            ..Self::at(config, site)
        });
        Self { keys, ..encoder }
    }

    /// As a part of something larger, which knows what its parameters are called.
    pub(crate) fn at(config: &TextEncoderConfig, site: &Site<'_>) -> Self {
        let site = site.at("text_model");
        let words = site.at("embeddings");
        let table = |rows, name| Table {
            weight: words.at(name).weight([rows, config.width]),
        };
        let (width, inner) = (config.width, config.inner_width);
        Self {
            text_model: TextModel {
                embeddings: Embeddings {
                    token_embedding: table(config.vocabulary, "token_embedding"),
                    position_embedding: table(config.positions, "position_embedding"),
                },
                encoder: Layers::new(config.layers, width, inner, &site.at("encoder")),
                final_layer_norm: norm(width, &site.at("final_layer_norm")),
            },
            text_projection: None,
            config: *config,
            activation: Activation::QuickGelu,
            keys: Keys::default(),
        }
    }

    /// The same with another function inside its blocks than OpenAI's models have.
    pub(crate) fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Its sizes.
    pub fn config(&self) -> &TextEncoderConfig {
        &self.config
    }

    /// The last hidden state of all tokens, `[rows, tokens, width]`, after the final norm; padding takes part like any
    /// other token.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for rows of different lengths, more tokens than positions, or an id that is not in the
    /// vocabulary.
    pub fn embed(&self, rows: &[&[u32]]) -> Result<Tensor<3>, Error> {
        self.embed_with(rows, &mut |_| {})
    }

    /// As [`embed`](Self::embed); `visit` sees the tokens before the first block and after each.
    pub(crate) fn embed_with(
        &self,
        rows: &[&[u32]],
        visit: &mut dyn FnMut(&Tensor<3>),
    ) -> Result<Tensor<3>, Error> {
        let tokens = self.check(rows)?;
        let (model, width) = (&self.text_model, self.config.width);
        let device = model.embeddings.position_embedding.weight.val().device();
        let ids: Vec<i64> = rows
            .iter()
            .flat_map(|row| row.iter().map(|id| i64::from(*id)))
            .collect();
        let count = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &device);
        let embeddings = &model.embeddings;
        let words = embeddings.token_embedding.weight.val().select(0, ids);
        let places = embeddings.position_embedding.weight.val();
        let places = places.slice([0..tokens, 0..width]);
        let mut hidden = words.reshape([rows.len(), tokens, width]) + places.unsqueeze();
        let later = Tensor::<2, Bool>::tril_mask([tokens, tokens], 0, &device);
        visit(&hidden);
        for layer in &model.encoder.layers {
            hidden = layer.forward(hidden, Some(&later), self.config.heads, self.activation);
            visit(&hidden);
        }
        Ok(model.final_layer_norm.forward_plain(hidden))
    }

    /// Texts as a whole, `[rows, projection]`, of their last hidden states after the final norm: what is made of the state of
    /// the token that ends each, the first of its largest ids. `None` for an encoder without projection.
    pub(crate) fn whole(&self, rows: &[&[u32]], last: &Tensor<3>) -> Option<Tensor<2>> {
        let projection = self.text_projection.as_ref()?;
        let [batch, tokens, width] = last.dims();
        let end = |row: &&[u32]| {
            let largest = row.iter().max();
            row.iter().position(|id| Some(id) == largest).unwrap_or(0)
        };
        let ends = rows.iter().enumerate();
        let ends: Vec<i64> = ends
            .map(|(i, row)| (i * tokens + end(row)) as i64)
            .collect();
        let ends = Tensor::<1, Int>::from_data(TensorData::new(ends, [batch]), &last.device());
        let states = last.clone().reshape([batch * tokens, width]);
        Some(projection.forward(states.select(0, ends)))
    }

    /// The number of tokens in a row.
    fn check(&self, rows: &[&[u32]]) -> Result<usize, Error> {
        let tokens = rows.first().map_or(0, |row| row.len());
        if tokens == 0 || tokens > self.config.positions {
            let expected = format!("in 1..={}", self.config.positions);
            return Err(Error::invalid("number of tokens", tokens, expected));
        }
        if let Some(other) = rows.iter().find(|row| row.len() != tokens) {
            let expected = format!("{tokens}, as in the first row");
            return Err(Error::invalid("number of tokens", other.len(), expected));
        }
        let vocabulary = self.config.vocabulary;
        let all = rows.iter().flat_map(|row| row.iter());
        match all.into_iter().find(|id| **id as usize >= vocabulary) {
            Some(id) => {
                let expected = format!(
                    "below {vocabulary}, the text encoder's vocabulary; use its own tokenizer"
                );
                Err(Error::invalid("token", id, expected))
            }
            None => Ok(tokens),
        }
    }
}

impl TextEncoderConfig {
    /// Builds the encoder with all weights zero and norms one, for weights that are loaded.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes out of range.
    pub fn blank(&self, device: &Device) -> Result<TextEncoder, Error> {
        self.blank_with(None, device)
    }

    /// As [`blank`](Self::blank), with a matrix that makes a text as a whole of this width.
    ///
    /// # Errors
    /// As [`blank`](Self::blank).
    pub fn blank_with(
        &self,
        projection: Option<usize>,
        device: &Device,
    ) -> Result<TextEncoder, Error> {
        self.check()?;
        if let Some(width) = projection.filter(|width| !(1..=1 << 14).contains(width)) {
            return Err(Error::invalid("projection", width, "from 1 to 16384"));
        }
        Ok(TextEncoder::new(self, projection, device))
    }

    /// Builds the encoder with random weights, a function of the seed: for tests and timings, as it is not trained here.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes out of range.
    pub fn init(&self, seed: u64, device: &Device) -> Result<TextEncoder, Error> {
        Ok(draw(self.blank(device)?, seed, &|_| true))
    }

    /// Official name, without `cond_stage_model.transformer.`, and dimensions of every parameter.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes out of range.
    pub fn keys(&self) -> Result<Vec<(String, Vec<usize>)>, Error> {
        self.keys_with(None)
    }

    /// As [`keys`](Self::keys), of [`blank_with`](Self::blank_with).
    ///
    /// # Errors
    /// As [`keys`](Self::keys).
    pub fn keys_with(&self, projection: Option<usize>) -> Result<Vec<(String, Vec<usize>)>, Error> {
        Ok(shapes(&self.blank_with(projection, &Device::flex())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> TextEncoder {
        let config = TextEncoderConfig {
            vocabulary: 50,
            width: 12,
            inner_width: 20,
            layers: 2,
            heads: 3,
            positions: 9,
        };
        config.init(0, &Device::flex()).unwrap()
    }

    fn values(tensor: Tensor<3>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn a_token_sees_those_before_it_and_no_others() {
        let encoder = small();
        let before = values(encoder.embed(&[&[1, 7, 3, 9, 4]]).unwrap());
        let after = values(encoder.embed(&[&[1, 7, 8, 9, 4]]).unwrap());
        assert_eq!(before[..24], after[..24]);
        for token in 2..5 {
            assert_ne!(before[12 * token..][..12], after[12 * token..][..12]);
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let encoder = small();
        let rows: [&[u32]; 3] = [&[1, 7, 3], &[4, 4, 2], &[49, 0, 7]];
        let all = values(encoder.embed(&rows).unwrap());
        for (i, row) in rows.iter().enumerate() {
            let one = values(encoder.embed(&[row]).unwrap());
            for (a, b) in one.iter().zip(&all[36 * i..]) {
                // A single row of text may be too few tokens for the order of sums of more.
                assert!((a - b).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let encoder = small();
        let message = |rows: &[&[u32]]| encoder.embed(rows).unwrap_err().to_string();
        assert!(message(&[&[50]]).contains("below 50"));
        assert!(message(&[&[0; 10]]).contains("1..=9"));
        assert!(message(&[]).contains("1..=9"));
        assert!(message(&[&[1, 2], &[1]]).contains("as in the first row"));
        let mut config = TextEncoderConfig::clip_vit_l14();
        config.heads = 7;
        assert!(config.check().is_err());
    }
}
