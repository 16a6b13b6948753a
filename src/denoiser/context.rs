//! The texts of a distillation, as the tokens that a text encoder made of them.

use super::Condition;
use crate::file::hash_bytes;
use crate::network::{Added, NetworkConfig, PictureSizes};
use crate::{Error, noise, transfer};
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// Texts as tokens, wherever they are: a few are read at a time, so that a long list need not be in memory.
pub trait ContextSource: Debug + Send + Sync {
    /// `[texts, tokens, width]` of all of them.
    fn dims(&self) -> [usize; 3];

    /// SHA-256 of what their numbers depend on, in hexadecimal.
    fn digest(&self) -> String;

    /// The tokens of some texts, `[indices, tokens, width]`; a text may be asked for more than once.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Malformed`] if they cannot be read.
    fn rows(&self, indices: &[usize], device: &Device) -> Result<Tensor<3>, Error>;
}

/// Texts in memory.
#[derive(Debug)]
struct Held(Tensor<3>);

impl ContextSource for Held {
    fn dims(&self) -> [usize; 3] {
        self.0.dims()
    }

    fn digest(&self) -> String {
        hash(&self.0)
    }

    fn rows(&self, indices: &[usize], device: &Device) -> Result<Tensor<3>, Error> {
        let indices: Vec<i64> = indices.iter().map(|n| *n as i64).collect();
        let count = indices.len();
        let place = self.0.device();
        let indices: Tensor<1, Int> = transfer::send(TensorData::new(indices, [count]), &place);
        Ok(self.0.clone().select(0, indices).to_device(device))
    }
}

/// SHA-256 of some numbers, in hexadecimal.
fn hash(tokens: &Tensor<3>) -> String {
    hash_bytes(tokens.to_data().as_bytes())
}

/// Pixels of a latent's side where no autoencoder says how many, as of all models that are told sizes.
pub(crate) const FACTOR: usize = 8;

/// A list of texts to draw from, and the one that guidance moves away from.
#[derive(Clone, Debug)]
pub struct Contexts {
    all: Arc<dyn ContextSource>,
    negative: Option<Tensor<3>>,
    /// What is told of the picture besides.
    sizes: Option<(Added, PictureSizes)>,
}

impl Contexts {
    /// Texts `[texts, tokens, width]`, and `[1, tokens, width]` of the empty text, or of one that says what not to show.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if there is no text, or if the negative one is not one of as many tokens of the same width.
    pub fn new(all: Tensor<3>, negative: Option<Tensor<3>>) -> Result<Self, Error> {
        Self::of(Arc::new(Held(all)), negative)
    }

    /// As [`new`](Self::new), of texts that are elsewhere, such as embeddings on disk.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(all: Arc<dyn ContextSource>, negative: Option<Tensor<3>>) -> Result<Self, Error> {
        let [texts, tokens, width] = all.dims();
        if texts == 0 || tokens == 0 || width == 0 {
            let value = format!("[{texts}, {tokens}, {width}]");
            return Err(Error::invalid("contexts", value, "one text or more"));
        }
        if let Some(negative) = &negative
            && negative.dims() != [1, tokens, width]
        {
            let value = format!("{:?}", negative.dims());
            let expected =
                format!("[1, {tokens}, {width}], one text of the same size as the others");
            return Err(Error::invalid("negative context", value, expected));
        }
        Ok(Self {
            all,
            negative,
            sizes: None,
        })
    }

    /// The same texts, with zeros to move away from: what some models were trained to be told where nothing is said.
    #[must_use]
    pub fn away_from_zeros(self, device: &Device) -> Self {
        let [_, rows, width] = self.all.dims();
        let negative = Some(Tensor::zeros([1, rows, width], device));
        Self { negative, ..self }
    }

    /// The same texts with these sizes for a network that is told them; for any other there are none.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for texts without what such a network is told of them as a whole.
    pub fn sized(self, network: &NetworkConfig, sizes: &PictureSizes) -> Result<Self, Error> {
        let Some(added) = network.added() else {
            return Ok(self);
        };
        let [_, rows, width] = self.all.dims();
        if rows <= added.rows(width) {
            return Err(Error::Incompatible {
                first: format!("texts of {rows} rows"),
                second: "a network that is also told them as a whole".into(),
                remedy: "take the model's own text encoders".into(),
            });
        }
        let sizes = Some((added, *sizes));
        Ok(Self { sizes, ..self })
    }

    /// The same texts with the sizes of a whole picture of latents `[channels, height, width]`, of so many pixels a side each,
    /// for a network that is told sizes, unless they say some themselves.
    ///
    /// # Errors
    /// As [`sized`](Self::sized).
    pub fn sized_as_whole(
        self,
        network: &NetworkConfig,
        [_, height, width]: [usize; 3],
        factor: usize,
    ) -> Result<Self, Error> {
        if self.tells_sizes(network) {
            return Ok(self);
        }
        self.sized(
            network,
            &PictureSizes::whole(factor * height, factor * width),
        )
    }

    /// Whether sizes are told, or need not be.
    pub fn tells_sizes(&self, network: &NetworkConfig) -> bool {
        network.added().is_none() || self.sizes.is_some()
    }

    /// `[texts, tokens, width]`.
    pub fn dims(&self) -> [usize; 3] {
        self.all.dims()
    }

    /// Whether there is a text to move away from.
    pub fn has_negative(&self) -> bool {
        self.negative.is_some()
    }

    /// SHA-256 of all texts and of the negative one, in hexadecimal: a run may go on with the same only.
    pub fn digest(&self) -> String {
        let negative = self.negative.as_ref().map(hash).unwrap_or_default();
        let mut text = format!("{} {negative}", self.all.digest());
        if let Some((_, sizes)) = &self.sizes {
            text += &format!(" {:?}", sizes.numbers());
        }
        hash_bytes(text.as_bytes())
    }

    /// Adds to a condition the texts of some samples of a round: each a function of the seed, the round and its own number
    /// alone.
    ///
    /// # Errors
    /// Those of the [source](ContextSource::rows); none for texts in memory.
    pub fn draw(
        &self,
        condition: Condition,
        seed: u64,
        round: u64,
        samples: Range<u64>,
        device: &Device,
    ) -> Result<Condition, Error> {
        let [texts, ..] = self.all.dims();
        let drawn = noise::contexts_keyed(seed, round, samples, texts)?;
        self.give(condition, &drawn, device)
    }

    /// Adds to a condition the texts of some images: seed s shows text s modulo their number, whatever the other seeds are.
    ///
    /// # Errors
    /// Those of the [source](ContextSource::rows); none for texts in memory.
    pub fn tell(
        &self,
        condition: Condition,
        seeds: &[u64],
        device: &Device,
    ) -> Result<Condition, Error> {
        let texts = self.all.dims()[0] as u64;
        let indices: Vec<usize> = seeds.iter().map(|seed| (seed % texts) as usize).collect();
        self.give(condition, &indices, device)
    }

    fn give(
        &self,
        condition: Condition,
        indices: &[usize],
        device: &Device,
    ) -> Result<Condition, Error> {
        let [_, tokens, width] = self.all.dims();
        let sized = |texts: Tensor<3>| match &self.sizes {
            Some((added, sizes)) => added.size(texts, sizes),
            None => texts,
        };
        let negative = self.negative.clone().map(|negative| {
            let negative = sized(negative.to_device(device));
            negative.expand([indices.len(), tokens, width])
        });
        Ok(Condition {
            context: Some(sized(self.all.rows(indices, device)?)),
            negative,
            ..condition
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text i is i everywhere.
    fn contexts(texts: usize) -> Contexts {
        let device = Device::flex();
        let values = (0..texts).flat_map(|i| [i as f32; 6]);
        let data = TensorData::new(values.collect::<Vec<_>>(), [texts, 2, 3]);
        let negative = Tensor::full([1, 2, 3], -1.0, &device);
        Contexts::new(Tensor::from_data(data, &device), Some(negative)).unwrap()
    }

    fn drawn(round: u64, samples: Range<u64>) -> Vec<f32> {
        let told = contexts(50).draw(Condition::default(), 3, round, samples, &Device::flex());
        let told = told.unwrap();
        let values: Vec<f32> = told.context.unwrap().into_data().iter::<f32>().collect();
        let negative = told.negative.unwrap();
        assert_eq!(negative.dims()[0] * 6, values.len());
        assert!(negative.into_data().iter::<f32>().all(|v| v == -1.0));
        let rows: Vec<f32> = values.chunks(6).map(|row| row[0]).collect();
        assert!(
            values
                .chunks(6)
                .zip(&rows)
                .all(|(row, first)| row.iter().all(|v| v == first))
        );
        rows
    }

    #[test]
    fn a_text_depends_on_seed_round_and_sample_only() {
        let all = drawn(4, 0..40);
        assert_eq!([drawn(4, 0..7), drawn(4, 7..40)].concat(), all);
        assert_ne!(drawn(5, 0..40), all);
        let different: std::collections::BTreeSet<u32> = all.iter().map(|v| *v as u32).collect();
        assert!(different.len() > 15 && all.iter().all(|v| (0.0..50.0).contains(v)));
    }

    #[test]
    fn other_texts_have_another_digest() {
        let (five, six) = (contexts(5), contexts(6));
        assert_eq!(five.digest(), contexts(5).digest());
        assert_ne!(five.digest(), six.digest());
        let plain = Contexts {
            negative: None,
            ..contexts(5)
        };
        assert_ne!(five.digest(), plain.digest());
        let other = Contexts {
            negative: Some(Tensor::zeros([1, 2, 3], &Device::flex())),
            ..contexts(5)
        };
        assert_ne!(five.digest(), other.digest());
        assert_eq!(five.digest().len(), 64);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let device = Device::flex();
        let texts = |n: usize, tokens: usize| Tensor::<3>::zeros([n, tokens, 3], &device);
        assert!(Contexts::new(texts(1, 2), None).is_ok());
        assert!(Contexts::new(texts(0, 2), None).is_err());
        for negative in [texts(1, 4), texts(2, 2)] {
            let error = Contexts::new(texts(5, 2), Some(negative)).unwrap_err();
            assert!(error.to_string().contains("negative"), "{error}");
        }
    }
}
