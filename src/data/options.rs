//! How a data set is read.

use crate::Error;
use serde::{Deserialize, Serialize};

/// How images of another size are brought to the network's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// Keep the pixels and put black around them; an image that is too large is an error.
    #[default]
    Pad,
    /// Cut out the largest centred square and scale it.
    Resize,
}

/// Which part of a data set, where it has parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// `train-images...`, the sub-folder `train`, or everything where there are no parts.
    #[default]
    Train,
    /// `t10k-images...` or `test-images...`, or the sub-folder `test` (else `val`).
    Test,
}

/// How to read a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Height and width of the result, 1 to 4096 pixels.
    pub size: usize,
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// What to do with images of another size.
    pub padding: Padding,
    /// Which part to read.
    pub split: Split,
    /// Leave out images that cannot be read (see [`Dataset::skipped`](super::Dataset::skipped)) instead of failing at the
    /// first.
    pub skip_unreadable: bool,
    /// The colour, RGB, under what is transparent. The margin of padded images stays black.
    pub background: [u8; 3],
}

impl Options {
    /// The training part, padded, on white, in which every image must be readable.
    pub fn new(size: usize, channels: usize) -> Self {
        Self {
            size,
            channels,
            padding: Padding::Pad,
            split: Split::Train,
            skip_unreadable: false,
            background: [255; 3],
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if !(1..=4096).contains(&self.size) {
            return Err(Error::invalid("size", self.size, "1 to 4096 pixels"));
        }
        if ![1, 3].contains(&self.channels) {
            let expected = "1 (grey) or 3 (RGB)";
            return Err(Error::invalid("channels", self.channels, expected));
        }
        Ok(())
    }
}
