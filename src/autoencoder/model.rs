//! An encoder and a decoder, and what is between them.

use super::block;
use super::codebook::Codebook;
use super::config::{AutoencoderConfig, Bottleneck};
use super::decoder::Decoder;
use super::encoder::Encoder;
use super::norm::Scope;
use super::tile::{self, Tiling};
use crate::layer::Conv2d;
use crate::parameter::{Draw, Keys, Named, Site, build, draw, shapes};
use crate::{Error, Images};
use burn::module::Module;
use burn::tensor::Device;

/// An encoder and a decoder, with their weights.
#[derive(Module, Debug)]
pub struct Autoencoder {
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Conv2d,
    post_quant_conv: Conv2d,
    quantize: Option<Codebook>,
    #[module(skip)]
    config: AutoencoderConfig,
    #[module(skip)]
    keys: Keys,
}

impl Named for Autoencoder {
    fn keys(&self) -> &Keys {
        &self.keys
    }
}

/// What an encoder says about pictures; none of it is scaled.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// The most likely latents, `[b, latent channels, h, w]`; of a VQ autoencoder the latents, not quantised.
    pub mean: Images,
    /// KL only: logarithm of the variance, clamped to [-30, 20], of the mean's shape.
    pub log_variance: Option<Images>,
    /// What the encoder gave: KL mean and log variance, not clamped, in one; VQ the mean once more.
    pub moments: Images,
    scale: f64,
}

impl Encoding {
    /// The most likely latents as the diffusion model sees them.
    pub fn latents(&self) -> Images {
        self.mean.clone().mul_scalar(self.scale)
    }

    /// Latents drawn with standard normal `noise` of the mean's shape, as the diffusion model sees them; those of a VQ
    /// autoencoder are certain.
    pub fn sample(&self, noise: Images) -> Images {
        let drawn = match &self.log_variance {
            Some(log) => self.mean.clone() + log.clone().mul_scalar(0.5).exp() * noise,
            None => self.mean.clone(),
        };
        drawn.mul_scalar(self.scale)
    }
}

impl Autoencoder {
    fn new(config: &AutoencoderConfig, device: &Device) -> Self {
        let (autoencoder, keys) = build("", Draw::Normal, device, |site| Self::at(config, site));
        Self {
            keys,
            ..autoencoder
        }
    }

    fn at(config: &AutoencoderConfig, site: &Site<'_>) -> Self {
        let (inner, latent) = (config.inner_channels, config.latent_channels);
        let conv = |input, output, name| block::conv(input, output, 1, &site.at(name));
        Self {
            encoder: Encoder::new(config, &site.at("encoder")),
            decoder: Decoder::new(config, &site.at("decoder")),
            quant_conv: conv(config.moments(inner), config.moments(latent), "quant_conv"),
            post_quant_conv: conv(latent, inner, "post_quant_conv"),
            quantize: match config.bottleneck {
                Bottleneck::Normal {} => None,
                Bottleneck::Codebook { codes } => {
                    Some(Codebook::new(codes, latent, &site.at("quantize")))
                }
            },
            config: config.clone(),
            keys: Keys::default(),
        }
    }

    /// Its sizes.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// Encodes pictures in [-1, 1], `[batch, channels, height, width]`, at least as high and wide as
    /// [`AutoencoderConfig::factor`]. What is left over when height or width is halved is seen, but has no latent pixel
    /// of its own.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for another number of channels, or pictures that are too small.
    pub fn encode(&self, images: Images) -> Result<Encoding, Error> {
        let [_, channels, height, width] = images.dims();
        if channels != self.config.channels {
            let expected = format!("{}, as the encoder's", self.config.channels);
            return Err(Error::invalid("channels of a picture", channels, expected));
        }
        let factor = self.config.factor();
        if height.min(width) < factor {
            let expected = format!("at least {factor} x {factor}");
            return Err(Error::invalid(
                "size of a picture",
                format!("{width} x {height}"),
                expected,
            ));
        }
        let moments = self.quant_conv.forward(self.encoder.forward(images));
        let (mean, log_variance) = match self.config.bottleneck {
            Bottleneck::Codebook { .. } => (moments.clone(), None),
            Bottleneck::Normal {} => {
                let [b, c, h, w] = moments.dims();
                let part = |channels| moments.clone().slice([0..b, channels, 0..h, 0..w]);
                let log = part(c / 2..c).clamp(-30.0, 20.0);
                (part(0..c / 2), Some(log))
            }
        };
        Ok(Encoding {
            mean,
            log_variance,
            moments,
            scale: self.config.scale,
        })
    }

    /// Pictures, about in [-1, 1] and not clipped, of the diffusion model's latents `[batch, latent channels, h, w]`,
    /// which are divided by the scale and, in a VQ autoencoder, quantised first.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for another number of channels, or latents without pixels.
    pub fn decode(&self, latents: Images) -> Result<Images, Error> {
        let (_, latents) = self.quantise(latents)?;
        self.decode_quantised(latents)
    }

    /// As [`decode`](Self::decode), picture by picture and in tiles: memory depends on the tile, but for the latents'
    /// part and the picture itself. How near the result is, [`Tiling`] says.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), and for a tiling out of range.
    pub fn decode_tiled(&self, latents: Images, tiling: &Tiling) -> Result<Images, Error> {
        tiling.check()?;
        let (_, latents) = self.quantise(latents)?;
        let [b, c, h, w] = latents.dims();
        let pictures = (0..b).map(|i| {
            let one = latents.clone().slice([i..i + 1, 0..c, 0..h, 0..w]);
            let hidden = self.decoder.lowest(self.post_quant_conv.forward(one));
            tile::decode(&self.decoder, hidden, self.config.factor(), tiling)
        });
        Ok(burn::tensor::Tensor::cat(pictures.collect(), 0))
    }

    /// Latents as the decoder takes them: divided by the scale, and in a VQ autoencoder every pixel replaced by the
    /// nearest row of the table, whose indices are given, too, in the order of batch, rows and columns.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn quantise(&self, latents: Images) -> Result<(Option<Vec<usize>>, Images), Error> {
        self.check_latents(&latents)?;
        let latents = match self.config.scale {
            1.0 => latents,
            scale => latents.div_scalar(scale),
        };
        Ok(match &self.quantize {
            None => (None, latents),
            Some(codebook) => {
                let (indices, quantised) = codebook.nearest(latents);
                (Some(indices), quantised)
            }
        })
    }

    /// Whether the decoder takes latents of this size.
    fn check_latents(&self, latents: &Images) -> Result<(), Error> {
        let [b, channels, h, w] = latents.dims();
        if channels != self.config.latent_channels {
            let expected = format!("{}, as the decoder's", self.config.latent_channels);
            return Err(Error::invalid("channels of a latent", channels, expected));
        }
        if b * h * w == 0 {
            return Err(Error::invalid(
                "size of the latents",
                format!("{b} of {w} x {h}"),
                "at least 1 of 1 x 1",
            ));
        }
        Ok(())
    }

    /// Decodes what [`quantise`](Self::quantise) gives.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_quantised(&self, latents: Images) -> Result<Images, Error> {
        self.check_latents(&latents)?;
        let hidden = self.decoder.lowest(self.post_quant_conv.forward(latents));
        Ok(self.decoder.rise(hidden, &mut Scope::Whole))
    }
}

impl AutoencoderConfig {
    /// Builds the autoencoder with all weights zero and norms one, for weights that are loaded.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes out of range.
    pub fn blank(&self, device: &Device) -> Result<Autoencoder, Error> {
        self.check()?;
        Ok(Autoencoder::new(self, device))
    }

    /// Builds the autoencoder with random weights, a function of the seed: for tests and timings, as it is not trained
    /// here.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes out of range.
    pub fn init(&self, seed: u64, device: &Device) -> Result<Autoencoder, Error> {
        Ok(draw(self.blank(device)?, seed, &|_| true))
    }

    /// Official name, without `first_stage_model.`, and dimensions of every parameter.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for sizes out of range.
    pub fn keys(&self) -> Result<Vec<(String, Vec<usize>)>, Error> {
        Ok(shapes(&self.blank(&Device::flex())?))
    }
}
