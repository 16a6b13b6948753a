//! Pictures at their own sizes, opened as they are asked for: for networks that resize them by a rule of their own.

use super::list::{
    self,
    listing::{Found, Listing},
};
use super::{Options, Padding, Report, Skipped, Split, fit, idx, kind};
use crate::Error;
use crate::file::hash_bytes;
use image::{DynamicImage, GrayImage, RgbImage};
use std::path::{Path, PathBuf};

/// A picture of bytes as a file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    /// 1 for grey, 3 for RGB; height and width in pixels, at least 1.
    pub shape: [usize; 3],
    /// `[channels, height, width]`.
    pub bytes: Vec<u8>,
}

impl Plain {
    /// Whether its channels differ anywhere.
    pub fn coloured(&self) -> bool {
        let [channels, height, width] = self.shape;
        let planes = self.bytes.chunks_exact((height * width).max(1));
        channels == 3 && planes.clone().skip(1).zip(planes).any(|(a, b)| a != b)
    }

    /// Cuts out the largest centred square and scales it, as [`Padding::Resize`] does; `[channels, size, size]`.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the shape is not that of a picture of as many bytes.
    pub fn fit(&self, size: usize, channels: usize) -> Result<Vec<u8>, Error> {
        let [theirs, height, width] = self.shape;
        let area = height * width;
        if ![1, 3].contains(&theirs) || area == 0 || self.bytes.len() != theirs * area {
            let shape = format!("{:?} of {} bytes", self.shape, self.bytes.len());
            return Err(Error::invalid("picture", shape, "1 or 3 channels of bytes"));
        }
        let pixel = |i: usize| (0..theirs).map(move |c| self.bytes[c * area + i]);
        let pixels: Vec<u8> = (0..area).flat_map(pixel).collect();
        let sides = (width as u32, height as u32);
        let picture = match theirs {
            1 => GrayImage::from_raw(sides.0, sides.1, pixels).map(DynamicImage::from),
            _ => RgbImage::from_raw(sides.0, sides.1, pixels).map(DynamicImage::from),
        };
        let options = Options {
            padding: Padding::Resize,
            ..Options::new(size, channels)
        };
        let fitted = picture.map(|picture| fit::fit(picture, &options));
        let refused = |reason: String| Error::invalid("picture", reason, "one that can be scaled");
        fitted.unwrap_or(Err(String::new())).map_err(refused)
    }
}

/// The pictures of a data set, of which only names are in memory (of IDX files all of it).
#[derive(Debug)]
pub struct Pictures {
    path: PathBuf,
    source: Unread,
    background: Option<[u8; 3]>,
    exact: bool,
}

#[derive(Debug)]
enum Unread {
    Files(Box<Listing>),
    Idx { shape: [usize; 3], bytes: Vec<u8> },
}

impl Pictures {
    /// Finds the pictures of IDX files, a folder, or a zip archive of one, as [`Dataset::open`](super::Dataset::open) does
    /// and in the same order. What is transparent will be laid on white, unless [`background`](Self::background) or
    /// [`exact`](Self::exact) say otherwise.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a test part where there is none, [`Error::File`], and [`Error::Malformed`] for a foreign
    /// file or no picture at all.
    pub fn open(path: &Path, split: Split) -> Result<Self, Error> {
        let source = match list::find(path, split)? {
            Found::Files(listing) => Unread::Files(listing),
            Found::Idx { images, .. } => {
                let ([_, height, width], bytes) = idx::images(&images)?;
                let shape = [1, height, width];
                Unread::Idx { shape, bytes }
            }
        };
        let path = path.to_path_buf();
        let pictures = Self {
            path,
            source,
            background: None,
            exact: false,
        };
        if pictures.is_empty() {
            let reason = format!("it holds no image ({})", kind::READ);
            return Err(Error::malformed(pictures.path, "image data set", reason));
        }
        Ok(pictures)
    }

    /// Lays what is transparent on this colour, RGB.
    #[must_use]
    pub fn background(mut self, colour: [u8; 3]) -> Self {
        self.background = Some(colour);
        self
    }

    /// Refuses pictures of which programs make different bytes: those of 16 bits a channel, and those with alpha unless a
    /// [`background`](Self::background) is named.
    #[must_use]
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// What is known of the data set before its pictures are read: which are taken, and what is left out.
    pub fn report(&self) -> Report {
        match &self.source {
            Unread::Files(listing) => listing.report(),
            Unread::Idx { .. } => Report::default(),
        }
    }

    /// Number of pictures, at least 1.
    pub fn len(&self) -> usize {
        match &self.source {
            Unread::Files(listing) => listing.len(),
            Unread::Idx { shape, bytes } => bytes.len() / shape.iter().product::<usize>(),
        }
    }

    /// Never true of what was opened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a picture is inside the data set; `None` for IDX files, and for links that lead nowhere.
    pub fn name(&self, index: usize) -> Option<&Path> {
        match &self.source {
            Unread::Files(listing) => listing.name(index),
            Unread::Idx { .. } => None,
        }
    }

    /// What tells these pictures from others without reading them: names, sizes and times of files (of an archive its own), or
    /// the content of IDX files.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is not there any more.
    pub fn fingerprint(&self) -> Result<String, Error> {
        match &self.source {
            Unread::Files(listing) => listing.fingerprint(),
            Unread::Idx { bytes, .. } => Ok(hash_bytes(bytes)),
        }
    }

    /// Some pictures, in parallel: the right way up, without alpha, of 8 bits a channel.
    ///
    /// # Panics
    /// If an index is not below [`len`](Self::len).
    pub fn read(&self, indices: &[usize]) -> Vec<Result<Plain, Skipped>> {
        match &self.source {
            Unread::Files(listing) => listing.read(indices, &|name, file| {
                Ok(plain(fit::plain(name, file, self.background, self.exact)?))
            }),
            Unread::Idx { shape, bytes } => {
                let size = shape.iter().product::<usize>();
                let plain = |index: &usize| {
                    let bytes = bytes[index * size..(index + 1) * size].to_vec();
                    Ok(Plain {
                        shape: *shape,
                        bytes,
                    })
                };
                indices.iter().map(plain).collect()
            }
        }
    }
}

/// Channels first.
fn plain(picture: DynamicImage) -> Plain {
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    let channels = usize::from(picture.color().channel_count());
    let size = height * width;
    let mut bytes = vec![0; channels * size];
    for (i, pixel) in picture.as_bytes().chunks_exact(channels).enumerate() {
        for (channel, value) in pixel.iter().enumerate() {
            bytes[channel * size + i] = *value;
        }
    }
    Plain {
        shape: [channels, height, width],
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

    #[test]
    fn pictures_keep_their_sizes_and_are_read_as_data_sets_are() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let rgb = ImageBuffer::from_fn(3, 2, |x, y| Rgb([x as u8, y as u8, 9]));
        rgb.save(at("1.png")).unwrap();
        ImageBuffer::from_pixel(2, 5, Luma([7u8]))
            .save(at("2.png"))
            .unwrap();
        ImageBuffer::from_pixel(1, 1, Rgba([1u8, 2, 3, 255]))
            .save(at("3.png"))
            .unwrap();
        ImageBuffer::from_pixel(1, 1, LumaA([1u8, 254]))
            .save(at("4.png"))
            .unwrap();
        ImageBuffer::from_pixel(1, 1, Luma([257u16]))
            .save(at("5.png"))
            .unwrap();
        std::fs::write(at("6.png"), b"no picture").unwrap();
        let pictures = Pictures::open(folder.path(), Split::Train).unwrap();
        assert_eq!(pictures.len(), 6);
        let mut read = pictures.read(&[0, 1, 2, 3, 4, 5]).into_iter();
        let first = read.next().unwrap().unwrap();
        assert_eq!(first.shape, [3, 2, 3]);
        assert_eq!(first.bytes[..9], [0, 1, 2, 0, 1, 2, 0, 0, 0]);
        assert_eq!(read.next().unwrap().unwrap().shape, [1, 5, 2]);
        assert_eq!(read.next().unwrap().unwrap().bytes, [1, 2, 3]);
        // Laid on white, and the upper byte.
        assert_eq!(read.next().unwrap().unwrap().bytes, [2]);
        assert_eq!(read.next().unwrap().unwrap().bytes, [1]);
        assert!(read.next().unwrap().is_err());
        let black = Pictures::open(folder.path(), Split::Train)
            .unwrap()
            .background([0; 3]);
        assert_eq!(black.read(&[3])[0].as_ref().unwrap().bytes, [1]);
        let exact = black.exact();
        assert_eq!(exact.read(&[3])[0].as_ref().unwrap().bytes, [1]);
        let exact = Pictures::open(folder.path(), Split::Train).unwrap().exact();
        let reason = |index| match exact.read(&[index]).remove(0) {
            Ok(plain) => panic!("{index}: {plain:?}"),
            Err(skipped) => skipped.reason,
        };
        assert!(exact.read(&[0, 1]).iter().all(Result::is_ok));
        assert!(reason(2).contains("--background") && reason(3).contains("alpha"));
        assert!(reason(4).contains("8 bits"));
        let empty = tempfile::tempdir().unwrap();
        assert!(Pictures::open(empty.path(), Split::Train).is_err());
    }
}
