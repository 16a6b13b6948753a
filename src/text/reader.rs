//! What a diffusion model is given of a text: by one text encoder or two.

use super::encoder::TextEncoder;
use super::tokenizer::{Padding, Tokenizer, Tokens};
use crate::Error;
use crate::network::attach_whole;
use burn::tensor::Tensor;

/// Which hidden state of its tokens a text encoder gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taken {
    /// The last, after the final norm: Stable Diffusion 1.x and 2.x, of whose text encoder the last layer is left out.
    #[default]
    Last,
    /// The last but one, as it is: Stable Diffusion XL.
    LastButOne,
}

/// A text encoder, and how a diffusion model uses it.
#[derive(Clone, Debug)]
pub struct Half {
    /// The encoder.
    pub encoder: TextEncoder,
    /// Which of its states are the tokens.
    pub taken: Taken,
    /// What texts are filled with.
    pub padding: Padding,
}

/// The text encoders of a diffusion model, one or two. What it is given are the tokens of all, beside each other; behind them
/// is the text as a whole, where the last encoder makes something of it.
#[derive(Clone, Debug)]
pub struct TextReader {
    halves: Vec<Half>,
}

impl From<TextEncoder> for TextReader {
    /// As Stable Diffusion 1.x uses it.
    fn from(encoder: TextEncoder) -> Self {
        let (taken, padding) = (Taken::default(), Padding::default());
        Self {
            halves: vec![Half {
                encoder,
                taken,
                padding,
            }],
        }
    }
}

impl TextReader {
    /// # Errors
    /// [`Error::InvalidValue`] without an encoder.
    pub fn new(halves: Vec<Half>) -> Result<Self, Error> {
        match halves.is_empty() {
            true => Err(Error::invalid("number of text encoders", 0, "at least 1")),
            false => Ok(Self { halves }),
        }
    }

    /// The encoders.
    pub fn halves(&self) -> &[Half] {
        &self.halves
    }

    /// What the model is given of a text, `[1, rows, width]`.
    ///
    /// # Errors
    /// As [`TextEncoder::embed`] and [`Tokenizer::filled`].
    pub fn read(&self, tokenizer: &Tokenizer, tokens: &Tokens) -> Result<Tensor<3>, Error> {
        let filled = |half: &Half| tokenizer.filled(tokens, half.padding);
        let ids: Vec<Vec<u32>> = self.halves.iter().map(filled).collect::<Result<_, _>>()?;
        let rows: Vec<Vec<&[u32]>> = ids.iter().map(|ids| vec![ids.as_slice()]).collect();
        self.read_ids(&rows)
    }

    /// The same of rows of ids, `[rows, tokens and what is behind them, width]`, which all encoders are given as they are.
    ///
    /// # Errors
    /// As [`TextEncoder::embed`].
    pub fn embed(&self, rows: &[&[u32]]) -> Result<Tensor<3>, Error> {
        self.read_ids(&vec![rows.to_vec(); self.halves.len()])
    }

    /// Of rows of ids for each encoder.
    fn read_ids(&self, rows: &[Vec<&[u32]>]) -> Result<Tensor<3>, Error> {
        let (mut tokens, mut whole) = (Vec::new(), None);
        for (half, rows) in self.halves.iter().zip(rows) {
            let mut states = [None, None];
            let last = half.encoder.embed_with(rows, &mut |state| {
                states.swap(0, 1);
                states[1] = Some(state.clone());
            })?;
            whole = half.encoder.whole(rows, &last);
            tokens.push(match half.taken {
                Taken::Last => last,
                // An encoder has a layer at least, and so two states.
                Taken::LastButOne => states.into_iter().flatten().next().unwrap_or(last),
            });
        }
        let tokens = match tokens.len() {
            1 => tokens.swap_remove(0),
            _ => Tensor::cat(tokens, 2),
        };
        match whole {
            Some(whole) => attach_whole(tokens, whole),
            None => Ok(tokens),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TextEncoderConfig;
    use burn::tensor::Device;

    fn config(width: usize) -> TextEncoderConfig {
        TextEncoderConfig {
            vocabulary: 50,
            width,
            inner_width: 20,
            layers: 2,
            heads: 2,
            positions: 9,
        }
    }

    fn values(tensor: Tensor<3>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn one_encoder_is_read_as_before() {
        let encoder = config(12).init(0, &Device::flex()).unwrap();
        let rows: [&[u32]; 2] = [&[1, 7, 49], &[1, 49, 49]];
        let plain = values(encoder.embed(&rows).unwrap());
        let reader = TextReader::from(encoder.clone());
        assert_eq!(values(reader.embed(&rows).unwrap()), plain);
        let half = |taken| Half {
            encoder: encoder.clone(),
            taken,
            padding: Padding::End,
        };
        let other = TextReader::new(vec![half(Taken::LastButOne)]).unwrap();
        let mut states = Vec::new();
        let mut see = |state: &Tensor<3>| states.push(values(state.clone()));
        encoder.embed_with(&rows, &mut see).unwrap();
        // Before the first layer, after it, and after the second.
        assert_eq!(states.len(), 3);
        assert_eq!(values(other.embed(&rows).unwrap()), states[1]);
        assert!(TextReader::new(Vec::new()).is_err());
    }

    #[test]
    fn two_encoders_stand_beside_each_other() {
        let device = Device::flex();
        let half = |width, projection| Half {
            encoder: {
                let blank = config(width).blank_with(projection, &device).unwrap();
                crate::parameter::draw(blank, 3, &|_| true)
            },
            taken: Taken::LastButOne,
            padding: Padding::End,
        };
        let (first, second) = (half(12, None), half(8, Some(6)));
        let rows: [&[u32]; 1] = [&[1, 7, 49]];
        let one = |half: &Half| {
            values(
                TextReader::new(vec![half.clone()])
                    .unwrap()
                    .embed(&rows)
                    .unwrap(),
            )
        };
        let (a, b) = (one(&first), one(&second));
        let both = TextReader::new(vec![first, second]).unwrap();
        let both = both.embed(&rows).unwrap();
        // A text as a whole, 6 wide, and six numbers in a row of 20.
        assert_eq!(both.dims(), [1, 4, 20]);
        let both = values(both);
        for token in 0..3 {
            assert_eq!(both[20 * token..][..12], a[12 * token..][..12]);
            assert_eq!(both[20 * token + 12..][..8], b[8 * token..][..8]);
        }
        // Alone, the second has two rows of 8 behind its tokens.
        assert_eq!((b.len(), &both[60..66]), (8 * 5, &b[24..30]));
        assert!(both[60..66].iter().all(|v| *v != 0.0) && both[66..] == [0.0; 14]);
    }
}
