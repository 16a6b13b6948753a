//! What can be asked for.

use crate::autoencoder::Autoencoder;
use crate::denoiser::Contexts;
use crate::model::Sampling;
use crate::network::PictureSizes;
use crate::noise::Source;
use std::num::NonZeroUsize;

/// What is asked of a model besides the seeds. The default is what its card says, and all that a model of pixels needs.
///
/// Image i depends on seed i only, and on the text of that seed: not on the batch or the other seeds.
#[derive(Clone, Default)]
pub struct Request<'a> {
    /// How to sample; `None` is as the card says. [`Card::sampling_with`](crate::model::Card::sampling_with) makes one
    /// for another number of network calls.
    pub sampling: Option<Sampling>,
    /// Where noise and classes come from.
    pub noise: Source,
    /// The class of all images, below the model's number of classes; `None` is one drawn by each seed.
    pub class: Option<usize>,
    /// What to show, for a model that takes a text: seed s shows text s modulo their number. With a guidance other than 1,
    /// with a text to move away from. [`Parts::embed`](crate::import::Parts::embed) makes them.
    pub texts: Option<&'a Contexts>,
    /// What a network that is also told sizes is told (Stable Diffusion XL), unless the texts say it themselves; `None` is a
    /// whole picture of the size that is drawn.
    pub sizes: Option<PictureSizes>,
    /// What makes pictures of latents. [`Parts::autoencoder`](crate::import::Parts::autoencoder) finds it.
    pub autoencoder: Option<&'a Autoencoder>,
    /// `[channels, height, width]` of what the network makes; `None` is as it was trained. Networks of latents take any
    /// sides that they can halve as often as they do.
    pub shape: Option<[usize; 3]>,
    /// Whether the network is called once more at the last level, and its answer is the image.
    pub denoise_to_zero: bool,
    /// Images that are computed at once; `None` is 32, and 1 of latents.
    pub batch: Option<NonZeroUsize>,
    /// Told after each call of the network how many are done of how many, where a call for n images counts n times.
    pub progress: Option<&'a dyn Fn(usize, usize)>,
    /// Asked before each call of the network whether to leave off, with [`Error::Stopped`](crate::Error::Stopped).
    pub stop: Option<&'a dyn Fn() -> bool>,
}
