//! Pictures at their own sizes, opened as they are asked for: for networks that resize them by a rule of their own.

use super::{Skipped, Split, archive, folder, idx};
use crate::Error;
use image::{ColorType, DynamicImage, ImageReader};
use rayon::prelude::*;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// A picture of bytes as a file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    /// 1 for grey, 3 for RGB; height and width in pixels, at least 1.
    pub shape: [usize; 3],
    /// `[channels, height, width]`.
    pub bytes: Vec<u8>,
}

/// The pictures of a data set, of which only names are in memory (of IDX files all of it).
#[derive(Debug)]
pub struct Pictures {
    path: PathBuf,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Folder(Vec<PathBuf>),
    Archive(archive::Entries),
    Idx { shape: [usize; 3], bytes: Vec<u8> },
}

impl Pictures {
    /// Finds the pictures of IDX files, a folder, or a zip archive of one, as [`Dataset::open`](super::Dataset::open) does
    /// and in the same order.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a test part where there is none, [`Error::File`], and [`Error::Malformed`] for a foreign
    /// file or no picture at all.
    pub fn open(path: &Path, split: Split) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(Error::file("read", path))?;
        let zip = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("zip"));
        let source = if metadata.is_dir() {
            match idx::find(path, split) {
                Some(images) => Self::idx(&images)?,
                None => Source::Folder(folder::list(path, split)?),
            }
        } else if zip {
            Source::Archive(archive::Entries::open(path, split)?)
        } else {
            Self::idx(path)?
        };
        let path = path.to_path_buf();
        let pictures = Self { path, source };
        if pictures.is_empty() {
            let reason = "it holds no image (PNG, JPEG, WebP or BMP)";
            return Err(Error::malformed(pictures.path, "image data set", reason));
        }
        Ok(pictures)
    }

    fn idx(path: &Path) -> Result<Source, Error> {
        let ([_, height, width], bytes) = idx::images(path)?;
        let shape = [1, height, width];
        Ok(Source::Idx { shape, bytes })
    }

    /// Number of pictures, at least 1.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Folder(paths) => paths.len(),
            Source::Archive(entries) => entries.len(),
            Source::Idx { shape, bytes } => bytes.len() / shape.iter().product::<usize>(),
        }
    }

    /// Never true of what was opened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some pictures, in parallel. Pictures of 16 bits a channel, and those that are transparent somewhere, are refused:
    /// what they would look like is the user's choice.
    ///
    /// # Panics
    /// If an index is not below [`len`](Self::len).
    pub fn read(&self, indices: &[usize]) -> Vec<Result<Plain, Skipped>> {
        let named = |name: PathBuf, file: Result<Vec<u8>, String>| {
            let plain = file.and_then(|file| decode(&file));
            plain.map_err(|reason| Skipped { name, reason })
        };
        match &self.source {
            Source::Folder(paths) => {
                let read = |index: &usize| {
                    let path = paths[*index].clone();
                    let file = std::fs::read(&path).map_err(|error| error.to_string());
                    named(path, file)
                };
                indices.par_iter().map(read).collect()
            }
            Source::Archive(entries) => {
                let files = entries.read(indices).into_par_iter();
                files.map(|(name, file)| named(name, file)).collect()
            }
            Source::Idx { shape, bytes } => {
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

/// Decodes a PNG, JPEG, WebP or BMP file, or says why not.
fn decode(file: &[u8]) -> Result<Plain, String> {
    let reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| error.to_string())?;
    let picture = reader.decode().map_err(|error| error.to_string())?;
    plain(picture)
}

fn plain(picture: DynamicImage) -> Result<Plain, String> {
    let color = picture.color();
    if !matches!(
        color,
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8
    ) {
        return Err(
            "it has more than 8 bits a channel; save it with 8 (`convert -depth 8`)".into(),
        );
    }
    let opaque = match &picture {
        DynamicImage::ImageLumaA8(image) => image.pixels().all(|pixel| pixel.0[1] == 255),
        DynamicImage::ImageRgba8(image) => image.pixels().all(|pixel| pixel.0[3] == 255),
        _ => true,
    };
    if !opaque {
        return Err(
            "it is transparent in places; put it on a ground first (`convert -background white -alpha remove`)".into(),
        );
    }
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    if height * width == 0 {
        return Err("it has no pixels".into());
    }
    let (channels, interleaved) = match color.has_color() {
        true => (3, picture.into_rgb8().into_raw()),
        false => (1, picture.into_luma8().into_raw()),
    };
    let size = height * width;
    let mut bytes = vec![0; channels * size];
    for (i, pixel) in interleaved.chunks_exact(channels).enumerate() {
        for (channel, value) in pixel.iter().enumerate() {
            bytes[channel * size + i] = *value;
        }
    }
    Ok(Plain {
        shape: [channels, height, width],
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

    #[test]
    fn pictures_keep_their_sizes_and_what_is_ambiguous_is_refused() {
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
        ImageBuffer::from_pixel(1, 1, Luma([1u16]))
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
        for word in ["transparent", "8 bits", ""] {
            let skipped = read.next().unwrap().unwrap_err();
            assert!(skipped.reason.contains(word), "{skipped:?}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(Pictures::open(empty.path(), Split::Train).is_err());
    }
}
