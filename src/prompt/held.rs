//! Embeddings of a few prompts, in memory.

use crate::Error;
use crate::denoiser::Contexts;
use crate::import::Parts;
use crate::text::{TextReader, Tokenizer};
use burn::tensor::{Device, Tensor};

/// Embeds prompts one by one and, where `negative` says what not to show (the empty text, if nothing), that text: guidance
/// needs it. A prompt of too many tokens is cut off ([`Tokenizer::encode`] says where).
///
/// # Errors
/// [`Error::InvalidValue`] if there are no prompts, or the tokenizer has ids that the text encoder does not know.
pub fn embed(
    prompts: &[impl AsRef<str>],
    negative: Option<&str>,
    tokenizer: &Tokenizer,
    encoder: &TextReader,
) -> Result<Contexts, Error> {
    if prompts.is_empty() {
        return Err(Error::invalid("number of prompts", 0, "at least 1"));
    }
    // One by one: the result may not depend on the other prompts.
    let one = |text: &str| encoder.read(tokenizer, &tokenizer.encode(text));
    let all = prompts.iter().map(|prompt| one(prompt.as_ref()));
    let all = Tensor::cat(all.collect::<Result<Vec<_>, _>>()?, 0);
    Contexts::new(all, negative.map(one).transpose()?)
}

impl Parts {
    /// As [`embed`], with the model's own text encoders, which are loaded for it and gone when this returns. For a model that
    /// was trained to move away from zeros where nothing is said (Stable Diffusion XL), an empty `negative` is these.
    ///
    /// # Errors
    /// As [`text_encoder`](Self::text_encoder) and [`embed`].
    pub fn embed(
        &self,
        prompts: &[impl AsRef<str>],
        negative: Option<&str>,
        device: &Device,
    ) -> Result<Contexts, Error> {
        let (file, tokenizer) = self.text_encoder()?;
        let zeros = file.empty_is_zeros() && negative == Some("");
        let told = negative.filter(|_| !zeros);
        let contexts = embed(prompts, told, &tokenizer, &file.load(device)?)?;
        Ok(match zeros {
            true => contexts.away_from_zeros(device),
            false => contexts,
        })
    }
}
