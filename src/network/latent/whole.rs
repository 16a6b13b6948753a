//! What a latent U-Net is told of a text as a whole, and of the picture's size: Stable Diffusion XL. [SDXL Sec. 2.2]
//!
//! Both travel with the tokens, as rows behind them: the text as a whole, then six numbers, padded with zeros to whole rows
//! of a token's width. So texts are drawn, guided, kept on disk and cut into batches in one way, whatever is told of them.

use crate::graph::schema::DataType;
use crate::graph::{Graph, Value};
use crate::layer::{Endpoint, sinusoid, trace_sinusoid};
use crate::{Error, transfer};
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// The sizes of what is told besides the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Added {
    /// Width of the text as a whole.
    pub text: usize,
    /// Channels of the sinusoid of each of the six numbers; even.
    pub waves: usize,
}

/// Rows behind tokens of a width for a text as a whole that is `text` wide, and the six numbers.
pub(crate) fn rows_of_whole(text: usize, width: usize) -> usize {
    (text + NUMBERS).div_ceil(width.max(1))
}

/// Tokens `[texts, tokens, width]` with each text as a whole, `[texts, text]`, behind them; the six numbers are 0.
///
/// # Errors
/// [`Error::InvalidValue`] for another number of texts.
pub fn attach_whole(tokens: Tensor<3>, whole: Tensor<2>) -> Result<Tensor<3>, Error> {
    let [texts, _, width] = tokens.dims();
    let [wholes, text] = whole.dims();
    if wholes != texts {
        let expected = format!("{texts}, one for each text");
        return Err(Error::invalid(
            "number of texts as a whole",
            wholes,
            expected,
        ));
    }
    let rows = rows_of_whole(text, width);
    let like = (&tokens.device(), tokens.dtype());
    let rest = Tensor::zeros([texts, rows * width - text], like);
    let whole = Tensor::cat(vec![whole.cast(tokens.dtype()), rest], 1);
    let whole = whole.reshape([texts, rows, width]);
    Ok(Tensor::cat(vec![tokens, whole], 1))
}

/// How many numbers there are.
pub(crate) const NUMBERS: usize = 6;

/// The size that a picture had before it was made ready for training, where it was cut, and the size that is wanted: what
/// Stable Diffusion XL is told, in pixels. [SDXL Sec. 2.2]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PictureSizes {
    /// Height and width of the original.
    pub original: [usize; 2],
    /// Rows above the cut, and columns left of it: 0 and 0 is a picture of which nothing is cut off.
    pub crop: [usize; 2],
    /// Height and width of the picture.
    pub target: [usize; 2],
}

impl PictureSizes {
    /// Those of a picture that nothing was done to.
    pub fn whole(height: usize, width: usize) -> Self {
        Self {
            original: [height, width],
            crop: [0, 0],
            target: [height, width],
        }
    }

    /// In the order in which networks take them.
    pub fn numbers(&self) -> [usize; NUMBERS] {
        let ([a, b], [c, d], [e, f]) = (self.original, self.crop, self.target);
        [a, b, c, d, e, f]
    }
}

impl Added {
    /// Numbers that the network's layer is given: the text, and the waves of each of the six.
    pub(crate) fn input(&self) -> usize {
        self.text + NUMBERS * self.waves
    }

    /// Rows behind the tokens, each `width` wide.
    pub fn rows(&self, width: usize) -> usize {
        rows_of_whole(self.text, width)
    }

    /// The same texts with these sizes.
    pub fn size(&self, context: Tensor<3>, sizes: &PictureSizes) -> Tensor<3> {
        let [texts, rows, width] = context.dims();
        let numbers = sizes.numbers().map(|n| n as f32).to_vec();
        let place = (&context.device(), context.dtype());
        let numbers: Tensor<1> = transfer::send(TensorData::new(numbers, [NUMBERS]), place);
        let numbers = numbers.unsqueeze::<2>().expand([texts, NUMBERS]);
        let flat = context.reshape([texts, rows * width]);
        let at = (rows - self.rows(width)) * width + self.text;
        let flat = flat.slice_assign([0..texts, at..at + NUMBERS], numbers);
        flat.reshape([texts, rows, width])
    }

    /// Tokens, texts as a whole and six numbers of each again.
    pub(super) fn detach(&self, context: &Tensor<3>) -> (Tensor<3>, Tensor<2>, Vec<f64>) {
        let [texts, rows, width] = context.dims();
        let behind = self.rows(width);
        let tokens = context.clone().narrow(1, 0, rows - behind);
        let behind_them = context.clone().narrow(1, rows - behind, behind);
        let flat = behind_them.reshape([texts, behind * width]);
        let whole = flat.clone().narrow(1, 0, self.text);
        let numbers = flat.narrow(1, self.text, NUMBERS);
        let numbers = transfer::read(numbers.without_autodiff().cast(DType::F32));
        (tokens, whole, numbers.iter::<f64>().collect())
    }

    /// What a network without a text is told: one token, all zeros.
    pub(super) fn nothing(&self, width: usize, texts: usize, like: (&Device, DType)) -> Tensor<3> {
        Tensor::zeros([texts, 1 + self.rows(width), width], like)
    }

    /// The waves of numbers, `[texts, 6 waves]`: those of a text in one row.
    pub(super) fn waves(&self, numbers: &[f64], dtype: DType, device: &Device) -> Tensor<2> {
        let waves = sinusoid(numbers, self.waves, Endpoint::Excluded, DType::F32, device);
        let texts = numbers.len() / NUMBERS;
        waves.reshape([texts, NUMBERS * self.waves]).cast(dtype)
    }

    /// What the network's layer is given, in a graph: the text as a whole `[texts, text]`, and the waves of the six numbers
    /// `[texts, 6]`.
    pub(super) fn trace(&self, graph: &mut Graph, [whole, sizes]: &[Value; 2]) -> Value {
        let numbers = graph.cast(sizes, DataType::Double);
        let waves = trace_sinusoid(graph, &numbers, self.waves, Endpoint::Excluded);
        let waves = graph.reshape(&waves, &[0, (NUMBERS * self.waves) as i64]);
        graph.concat(&[whole, &waves], 1)
    }

    /// Ranges, before anything is built.
    pub(super) fn check(&self, most: usize) -> Result<(), Error> {
        if !(1..=most).contains(&self.text) {
            return Err(Error::invalid(
                "added.text",
                self.text,
                format!("from 1 to {most}"),
            ));
        }
        let even = self.waves > 0 && self.waves.is_multiple_of(2);
        if !even || self.waves > most {
            let expected = format!("an even number up to {most}");
            return Err(Error::invalid("added.waves", self.waves, expected));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn what_is_attached_comes_off_again() {
        let device = Device::flex();
        let values = |n: usize, from: f32| (0..n).map(|i| from + i as f32).collect::<Vec<_>>();
        // 7 + 6 numbers in rows of 5: three rows, two numbers of padding.
        let added = Added { text: 7, waves: 4 };
        let tokens = TensorData::new(values(2 * 3 * 5, 0.0), [2, 3, 5]);
        let tokens = Tensor::<3>::from_data(tokens, &device);
        let whole = Tensor::<2>::from_data(TensorData::new(values(14, 100.0), [2, 7]), &device);
        let context = attach_whole(tokens.clone(), whole.clone()).unwrap();
        assert_eq!((context.dims(), added.rows(5)), ([2, 6, 5], 3));
        let sizes = PictureSizes {
            original: [1024, 768],
            crop: [3, 0],
            target: [512, 640],
        };
        let context = added.size(context, &sizes);
        let (a, b, numbers) = added.detach(&context);
        assert_eq!(a.into_data(), tokens.clone().into_data());
        assert_eq!(b.into_data(), whole.clone().into_data());
        let one = [1024.0, 768.0, 3.0, 0.0, 512.0, 640.0];
        assert_eq!(numbers, [one, one].concat());
        let wrong = attach_whole(tokens, whole.narrow(0, 0, 1)).unwrap_err();
        assert!(wrong.to_string().contains("one for each text"), "{wrong}");
    }
}
