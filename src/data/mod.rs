//! Images and labels from files, held in memory as bytes.
//!
//! [`Dataset::open`] reads what people have: MNIST-style IDX files (gzipped or not), a folder of pictures with a
//! sub-folder for each class or none at all, a data set of EDM or StyleGAN with its `dataset.json`, or a zip archive of
//! such a folder.

mod decode;
mod digest;
mod fit;
pub(crate) mod foreign;
mod idx;
mod kind;
mod list;
mod options;
mod report;
mod stream;

pub use kind::SHEET;
pub use list::layout::LabelSource;
pub use options::{Options, Padding, Split};
pub use report::{LeftOut, Report, Skipped};
pub use stream::{Pictures, Plain};

use crate::{Error, Images};
use burn::tensor::{Device, TensorData};
use fit::Fitted;
use list::listing::{Found, Listing};
use std::path::{Path, PathBuf};

/// Images read at a time, so that an archive is never in memory as a whole.
const CHUNK: usize = 256;

/// Images of one size, perhaps with a class each.
#[derive(Clone, Debug)]
pub struct Dataset {
    pixels: Vec<u8>,
    shape: [usize; 3],
    labels: Option<Vec<usize>>,
    classes: Vec<String>,
    skipped: Vec<Skipped>,
    report: Report,
}

impl Dataset {
    /// Reads IDX files (a folder that holds them under their standard names, or the image file itself), a folder of
    /// pictures, or a zip archive of pictures. Pictures are PNG, JPEG, WebP, TIFF, GIF, BMP, PNM or QOI by their content;
    /// what was passed over, and what was done to pictures, stands in [`report`](Self::report).
    ///
    /// Folders around the data are looked through, `train` and `test` are parts, and a `dataset.json` gives the classes;
    /// else sub-folders do, in the order of their names, or as numbers where all names are numbers. docs/pictures.md says
    /// more.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for options out of range, or a test part where there is none; [`Error::File`] for what
    /// cannot be opened; [`Error::Malformed`], naming the file, for a truncated or foreign file, an unreadable image or a
    /// link that leads nowhere (unless `skip_unreadable`), an image too large to pad, no image at all, or labels that do
    /// not match the images.
    pub fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        options.check()?;
        let listing = match list::find(path, options.split)? {
            Found::Idx { images, taken } => {
                let (pixels, labels) = idx::open(&images, options)?;
                return Ok(Self::of_idx(pixels, labels, taken, options));
            }
            Found::Files(listing) => listing,
        };
        let all: Vec<usize> = (0..listing.len()).collect();
        let mut images = Vec::with_capacity(all.len());
        for chunk in all.chunks(CHUNK) {
            images.extend(listing.read(chunk, &|name, file| fit::read(name, file, options)));
        }
        Self::assemble(path, options, *listing, images)
    }

    fn of_idx(
        pixels: Vec<u8>,
        labels: Option<Vec<usize>>,
        taken: PathBuf,
        options: &Options,
    ) -> Self {
        let highest = labels.iter().flatten().max();
        let classes = highest.map_or(0, |highest| highest + 1);
        let source = match labels {
            Some(_) => LabelSource::Idx,
            None => LabelSource::None,
        };
        Self {
            pixels,
            shape: [options.channels, options.size, options.size],
            labels,
            classes: (0..classes).map(|class| class.to_string()).collect(),
            skipped: Vec::new(),
            report: Report {
                taken,
                labels: source,
                ..Report::default()
            },
        }
    }

    /// Puts together the images of a layout, in its order.
    fn assemble(
        path: &Path,
        options: &Options,
        listing: Listing,
        images: Vec<Result<Fitted, Skipped>>,
    ) -> Result<Self, Error> {
        let mut report = listing.report();
        let layout = listing.into_layout();
        let (mut pixels, mut labels, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        // What could not be followed comes after all pictures, and has no label.
        let labelled = layout.items.iter().map(|(_, label)| *label);
        let labelled = labelled.chain(std::iter::repeat(None));
        for (label, image) in labelled.zip(images) {
            match image {
                Ok(image) => {
                    pixels.extend(image.pixels);
                    labels.extend(label);
                    report.transparent += usize::from(image.transparent);
                    report.turned += usize::from(image.turned);
                    report.moving += usize::from(image.moving);
                    report.coloured += usize::from(image.coloured);
                }
                Err(unreadable) if options.skip_unreadable => skipped.push(unreadable),
                Err(Skipped { name, reason }) => {
                    let reason = format!("{reason}; --skip-unreadable leaves such files out");
                    return Err(Error::malformed(name, "image", reason));
                }
            }
        }
        if pixels.is_empty() {
            let left_out: Vec<String> = report.left_out.iter().map(ToString::to_string).collect();
            let mut reason = match skipped.first() {
                Some(Skipped { name, reason }) => {
                    format!("no image is readable; {}: {reason}", name.display())
                }
                None => format!("it holds no image ({})", kind::READ),
            };
            if !left_out.is_empty() {
                reason += &format!("; it holds {}", left_out.join(", "));
            }
            return Err(Error::malformed(path, "image data set", reason));
        }
        Ok(Self {
            pixels,
            shape: [options.channels, options.size, options.size],
            labels: (!layout.classes.is_empty()).then_some(labels),
            classes: layout.classes,
            skipped,
            report,
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
            report: Report::default(),
        })
    }

    /// Some of the images, with their classes; the classes are numbered as before.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] without any index.
    ///
    /// # Panics
    /// If an index is not below [`len`](Self::len).
    pub fn part(&self, indices: &[usize]) -> Result<Self, Error> {
        let pixels = indices.iter().flat_map(|&index| self.pixels(index));
        let labels = self.labels.as_ref();
        let labels = labels.map(|labels| indices.iter().map(|&index| labels[index]).collect());
        Self::new(
            pixels.copied().collect(),
            self.shape,
            labels,
            self.classes.clone(),
        )
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

    /// What was seen while the data set was read; nothing of one from memory.
    pub fn report(&self) -> &Report {
        &self.report
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
