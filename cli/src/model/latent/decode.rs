//! From latents to pictures.

use crate::screen::failure::wrong;
use fewstep::autoencoder::{Autoencoder, Tiling};
use fewstep::network::NetworkConfig;
use fewstep::{Error, Images};
use std::str::FromStr;

/// Pictures of latents, one after the other, large ones in tiles.
pub fn decode(autoencoder: &Autoencoder, latents: Images) -> Result<Images, Error> {
    autoencoder.decode_tiled(latents, &Tiling::default())
}

/// Width and height of a picture in pixels, as typed: `768x512`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// From left to right.
    pub width: usize,
    /// From top to bottom.
    pub height: usize,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.trim().parse::<usize>().ok().filter(|n| *n > 0);
        let (width, height) = text.split_once(['x', 'X']).unwrap_or((text, text));
        match (number(width), number(height)) {
            (Some(width), Some(height)) => Ok(Self { width, height }),
            _ => Err(format!(
                "write width and height in pixels, whole numbers from 1 to {LONGEST}, such as 768x512"
            )),
        }
    }
}

/// Longest side, in pixels.
const LONGEST: usize = 1 << 14;

impl Size {
    /// `[channels, height, width]` of the latents of such a picture, where the autoencoder makes pictures `factor` times
    /// as wide as latents.
    pub fn latent(self, network: &NetworkConfig, factor: usize) -> anyhow::Result<[usize; 3]> {
        let Self { width, height } = self;
        let channels = network.image_shape()[0];
        if width.max(height) > LONGEST {
            return Err(wrong(format!(
                "--size {width}x{height}: at most {LONGEST} pixels a side"
            )));
        }
        let shape = [channels, height / factor, width / factor];
        let whole = width.is_multiple_of(factor) && height.is_multiple_of(factor);
        if whole && network.takes(shape) {
            return Ok(shape);
        }
        // The smallest latents that the network can halve as often as it does.
        let sides = (0..usize::BITS).map(|power| 1 << power);
        let step = sides
            .take_while(|side| *side <= LONGEST)
            .find(|side| network.takes([channels, *side, *side]))
            .unwrap_or(1);
        let unit = factor * step;
        let near = |side: usize| side.div_ceil(unit).max(1) * unit;
        Err(wrong(format!(
            "--size {width}x{height}: width and height must be multiples of {unit} ({factor} pixels a latent, times {step} \
             since the network halves latents); {}x{} would do",
            near(width),
            near(height)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep::network::LatentUNetConfig;

    #[test]
    fn sizes_are_two_numbers_that_divide() {
        let size = |text: &str| text.parse::<Size>();
        let wide = Size {
            width: 768,
            height: 512,
        };
        assert_eq!(size("768x512"), Ok(wide));
        assert_eq!(size("256").unwrap().height, 256);
        for bad in ["", "x", "0x64", "64x", "-1x2", "axb"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        let network = NetworkConfig::LatentUnet(LatentUNetConfig::stable_diffusion());
        assert_eq!(wide.latent(&network, 8).unwrap(), [4, 64, 96]);
        let odd = size("500x512").unwrap().latent(&network, 8).unwrap_err();
        let said = odd.to_string();
        assert!(
            said.contains("multiples of 64") && said.contains("512x512 would do"),
            "{said}"
        );
        // Whole latents are not enough.
        assert!(size("520x512").unwrap().latent(&network, 8).is_err());
        assert!(size("99999968x64").unwrap().latent(&network, 8).is_err());
    }
}
