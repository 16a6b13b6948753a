//! Where DDPM++ and NCSN++ differ.

use crate::layer::ResampleFilter;
use serde::{Deserialize, Serialize};

/// How the noise level is embedded. [EDM Tab. 7]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Embedding {
    /// Waves of fixed frequencies between 1 and 1/10000: DDPM++.
    #[default]
    Positional,
    /// Waves of random frequencies, which are stored in the file: NCSN++.
    Fourier,
}

/// How the images reach the lower levels. [EDM Tab. 7, Song et al. 2021]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoder {
    /// Through the blocks only: DDPM++.
    #[default]
    Standard,
    /// Halved images are added as well, through a 1x1 convolution.
    Skip,
    /// What a level began with is halved by a convolution and added: NCSN++.
    Residual,
}

/// Which levels contribute to the answer. [EDM Tab. 7, Song et al. 2021]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decoder {
    /// The last: DDPM++ and NCSN++.
    #[default]
    Standard,
    /// All; the lower ones are doubled and added.
    Skip,
}

/// Where DDPM++ and NCSN++ differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Variant {
    pub(crate) embedding: Embedding,
    pub(crate) noise_multiplier: usize,
    pub(crate) encoder: Encoder,
    pub(crate) decoder: Decoder,
    pub(crate) filter: ResampleFilter,
}

impl Variant {
    /// DDPM++.
    pub(crate) const PLAIN: Self = Self {
        embedding: Embedding::Positional,
        noise_multiplier: 1,
        encoder: Encoder::Standard,
        decoder: Decoder::Standard,
        filter: ResampleFilter::Box,
    };
}
