//! Sizes that Stable Diffusion XL is told besides the text.

use super::Size;
use crate::screen::failure::wrong;
use clap::Args;
use fewstep::model::Card;
use fewstep::network::PictureSizes;
use std::path::Path;
use std::str::FromStr;

/// What a picture is said to be cut from; the picture's own size is what is drawn.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ToldArgs {
    /// Size that the picture is said to have been taken from, for a model that is told it (Stable Diffusion XL): small ones
    /// make it look blurred [default: the picture's own]
    #[arg(long, value_name = "WIDTHxHEIGHT", help_heading = "Latent models")]
    original_size: Option<Size>,
    /// Pixels that are said to have been cut off at its left and above it, likewise [default: 0,0, an object in the middle]
    #[arg(long, value_name = "LEFT,TOP", help_heading = "Latent models")]
    crop: Option<Crop>,
}

/// Pixels left of a picture and above it, as typed: `0,64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crop {
    left: usize,
    top: usize,
}

/// Most pixels that may be cut off.
const MOST: usize = 1 << 14;

impl FromStr for Crop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.trim().parse::<usize>().ok().filter(|n| *n <= MOST);
        let pair = text.split_once(',');
        match pair.map(|(left, top)| (number(left), number(top))) {
            Some((Some(left), Some(top))) => Ok(Self { left, top }),
            _ => Err(format!(
                "write the pixels left of the picture and above it, whole numbers up to {MOST}, such as 0,64"
            )),
        }
    }
}

/// Pixels of a latent's side, of all models that are told sizes.
pub const FACTOR: usize = 8;

impl ToldArgs {
    /// What a model is told of pictures of latents `[channels, height, width]`; `None` for one that is told no sizes. `file` is the
    /// model's, for messages.
    pub fn sizes(
        &self,
        card: &Card,
        [_, height, width]: [usize; 3],
        file: &Path,
    ) -> anyhow::Result<Option<PictureSizes>> {
        let given = [
            (self.original_size.is_some(), "--original-size"),
            (self.crop.is_some(), "--crop"),
        ];
        if card.network.added().is_none() {
            return match given.into_iter().find(|(given, _)| *given) {
                None => Ok(None),
                Some((_, flag)) => Err(wrong(format!(
                    "{flag}: {} is told no sizes, as only Stable Diffusion XL is; leave it out",
                    file.display()
                ))),
            };
        }
        let whole = PictureSizes::whole(FACTOR * height, FACTOR * width);
        Ok(Some(PictureSizes {
            original: self
                .original_size
                .map_or(whole.original, |size| [size.height, size.width]),
            crop: self.crop.map_or(whole.crop, |crop| [crop.top, crop.left]),
            ..whole
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_two_numbers() {
        let crop = |text: &str| text.parse::<Crop>();
        assert_eq!(crop("3, 64"), Ok(Crop { left: 3, top: 64 }));
        for bad in ["", "3", "a,b", "-1,0", "99999,0"] {
            assert!(crop(bad).is_err(), "{bad}");
        }
    }
}
