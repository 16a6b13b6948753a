//! Images and labels from files, held in memory as bytes.
//!
//! [`Dataset::open`] reads what people have: MNIST-style IDX files (gzipped or not), a folder of pictures with a
//! sub-folder for each class or none at all, or a zip archive of such a folder.

mod archive;
mod digest;
mod fit;
mod folder;
pub(crate) mod foreign;
mod idx;
mod stream;

pub use stream::{Pictures, Plain};

use crate::{Error, Images};
use burn::tensor::{Device, TensorData};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The sheet of all pictures in a folder of samples. In a folder or archive that is read as data, a file of this name is
/// left out.
pub const SHEET: &str = "grid.png";

/// What images are read from.
const ACCEPTED: &str = "Images are read from IDX files (as MNIST has them), from a folder of pictures, or from a zip archive of one";

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
    /// `t10k-images...` or `test-images...`, or the sub-folder `test`.
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
    /// Leave out images that cannot be read (see [`Dataset::skipped`]) instead of failing at the first.
    pub skip_unreadable: bool,
}

impl Options {
    /// The training part, padded, in which every image must be readable.
    pub fn new(size: usize, channels: usize) -> Self {
        Self {
            size,
            channels,
            padding: Padding::Pad,
            split: Split::Train,
            skip_unreadable: false,
        }
    }

    fn check(&self) -> Result<(), Error> {
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

/// An image that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file, or the name inside the archive.
    pub name: PathBuf,
    /// Why it could not be used.
    pub reason: String,
}

/// The class of an image, if it is in a class folder, and its fitted bytes.
type Item = (Option<String>, Result<Vec<u8>, Skipped>);

/// Images of one size, perhaps with a class each.
#[derive(Clone, Debug)]
pub struct Dataset {
    pixels: Vec<u8>,
    shape: [usize; 3],
    labels: Option<Vec<usize>>,
    classes: Vec<String>,
    skipped: Vec<Skipped>,
}

impl Dataset {
    /// Reads IDX files (a folder that holds them under their standard names, or the image file itself), a folder of
    /// pictures, or a zip archive of pictures. Pictures are PNG, JPEG, WebP or BMP; other files are passed over.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for options out of range, or a test part where there is none; [`Error::File`] for what
    /// cannot be opened; [`Error::Malformed`], naming the file, for a truncated or foreign file, an unreadable image
    /// (unless `skip_unreadable`), an image too large to pad, no image at all, or labels that do not match the images.
    pub fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        options.check()?;
        let metadata = std::fs::metadata(path).map_err(Error::file("read", path))?;
        if metadata.is_dir() {
            match idx::find(path, options.split) {
                Some(images) => idx::open(&images, options),
                None => folder::open(path, options),
            }
        } else if let Some(kind) = foreign::kind(path) {
            let reason = format!("it is {kind}. {ACCEPTED}");
            Err(Error::malformed(path, "image data set", reason))
        } else if path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("zip"))
        {
            archive::open(path, options)
        } else {
            idx::open(path, options)
        }
    }

    /// Puts together fitted images (`shape` bytes each) and the class name of each; classes are numbered in the order
    /// of their names.
    fn assemble(path: &Path, options: &Options, images: Vec<Item>) -> Result<Self, Error> {
        let all = images.len();
        let mut classes: Vec<String> = images.iter().filter_map(|(c, _)| c.clone()).collect();
        classes.sort();
        classes.dedup();
        let (mut pixels, mut labels, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for (class, image) in images {
            match image {
                Ok(image) => {
                    pixels.extend(image);
                    labels.extend(class.and_then(|c| classes.binary_search(&c).ok()));
                }
                Err(unreadable) if options.skip_unreadable => skipped.push(unreadable),
                Err(Skipped { name, reason }) => {
                    return Err(Error::malformed(name, "image", reason));
                }
            }
        }
        if skipped.len() == all {
            let reason = match skipped.first() {
                Some(Skipped { name, reason }) => {
                    format!("no image is readable; {}: {reason}", name.display())
                }
                None => "it holds no image (PNG, JPEG, WebP or BMP)".into(),
            };
            return Err(Error::malformed(path, "image data set", reason));
        }
        if !classes.is_empty() && labels.len() != all - skipped.len() {
            let reason = "some images are in class folders and some are not";
            return Err(Error::malformed(path, "image data set", reason));
        }
        Ok(Self {
            pixels,
            shape: [options.channels, options.size, options.size],
            labels: (!classes.is_empty()).then_some(labels),
            classes,
            skipped,
        })
    }

    /// A data set from memory: `shape` is `[channels, height, width]`, `pixels` that many bytes an image one after the
    /// other, `labels` a class number below the number of `classes` for each.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the lengths do not match, there is no image, or a label has no class.
    pub fn new(
        pixels: Vec<u8>,
        shape: [usize; 3],
        labels: Option<Vec<usize>>,
        classes: Vec<String>,
    ) -> Result<Self, Error> {
        let size: usize = shape.iter().product();
        if pixels.is_empty() || size == 0 || !pixels.len().is_multiple_of(size) {
            let expected = format!("a positive multiple of {shape:?}");
            return Err(Error::invalid("pixels", pixels.len(), expected));
        }
        let images = pixels.len() / size;
        if let Some(labels) = &labels {
            if labels.len() != images {
                let expected = format!("{images}, one an image");
                return Err(Error::invalid("labels", labels.len(), expected));
            }
            if let Some(label) = labels.iter().find(|label| **label >= classes.len()) {
                let expected = format!("below {}, the number of classes", classes.len());
                return Err(Error::invalid("label", label, expected));
            }
        }
        Ok(Self {
            pixels,
            shape,
            classes: labels.as_ref().map_or(Vec::new(), |_| classes),
            labels,
            skipped: Vec::new(),
        })
    }

    /// Number of images, at least 1.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.shape.iter().product::<usize>()
    }

    /// Never true: a data set without images is not built.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// `[channels, height, width]` of every image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The class of each image, where classes are known.
    pub fn labels(&self) -> Option<&[usize]> {
        self.labels.as_deref()
    }

    /// Class names, in the order of their numbers; empty without labels.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The images that were left out, at most as many as `skip_unreadable` allowed.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The bytes of one image, `[channels, height, width]`.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn pixels(&self, index: usize) -> &[u8] {
        let size = self.shape.iter().product::<usize>();
        &self.pixels[index * size..(index + 1) * size]
    }

    /// The chosen images as numbers in [-1, 1] (byte / 127.5 - 1), `[indices, channels, height, width]`; those with
    /// `flip` set are mirrored left to right. An empty `flip` mirrors none.
    ///
    /// # Panics
    /// If an index is not below [`len`](Self::len), or `flip` is neither empty nor as long as `indices`.
    pub fn batch(&self, indices: &[usize], flip: &[bool], device: &Device) -> Images {
        assert!(
            flip.is_empty() || flip.len() == indices.len(),
            "one flip an image"
        );
        let [channels, height, width] = self.shape;
        let mut values = Vec::with_capacity(indices.len() * channels * height * width);
        for (i, &index) in indices.iter().enumerate() {
            for row in self.pixels(index).chunks_exact(width) {
                let scale = |&byte: &u8| f32::from(byte) / 127.5 - 1.0;
                if flip.get(i) == Some(&true) {
                    values.extend(row.iter().rev().map(scale));
                } else {
                    values.extend(row.iter().map(scale));
                }
            }
        }
        let shape = [indices.len(), channels, height, width];
        Images::from_data(TensorData::new(values, shape), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_scaled_chosen_and_mirrored() {
        let pixels = vec![0, 255, 51, 204, 255, 0, 0, 102];
        let data = Dataset::new(pixels, [1, 2, 2], None, vec![]).unwrap();
        assert_eq!(data.len(), 2);
        let batch = data.batch(&[1, 0], &[true, false], &Device::flex());
        assert_eq!(batch.dims(), [2, 1, 2, 2]);
        let values: Vec<f32> = batch.into_data().try_to_vec().unwrap();
        let expected = [-1.0, 1.0, -0.2, -1.0, -1.0, 1.0, -0.6, 0.6];
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{values:?}");
        }
        assert_eq!(
            (values[0], values[1]),
            (-1.0, 1.0),
            "black and white are exact"
        );
    }

    #[test]
    fn data_from_memory_are_checked() {
        let names = |n: usize| (0..n).map(|i| i.to_string()).collect();
        let new = |bytes, labels, classes| {
            Dataset::new(vec![0; bytes], [1, 1, 2], labels, names(classes))
        };
        assert!(new(4, Some(vec![0, 1]), 2).is_ok());
        assert!(new(3, None, 0).is_err());
        assert!(new(0, None, 0).is_err());
        assert!(new(4, Some(vec![0]), 2).is_err());
        assert!(new(4, Some(vec![0, 2]), 2).is_err());
    }

    #[test]
    fn options_are_checked_and_a_missing_path_is_named() {
        let missing = Path::new("no/such/folder");
        let open =
            |size, channels| Dataset::open(missing, &Options::new(size, channels)).unwrap_err();
        assert!(open(0, 1).to_string().contains("`size` is 0"));
        assert!(open(32, 2).to_string().contains("`channels` is 2"));
        assert!(open(32, 3).to_string().contains("no/such/folder"));
    }
}
