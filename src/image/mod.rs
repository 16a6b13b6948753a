//! Images as people see them: bytes, PNG files, pictures of many in a grid.

mod read;

use crate::file::write_atomically;
use crate::{Error, Images};
use burn::tensor::DType;
use std::path::Path;

/// Pixels between the images of a grid, before it is enlarged.
const GUTTER: usize = 2;
/// Longest side of a grid; viewers take no more, and a mistyped number of columns asks for more.
const LONGEST: usize = 65_535;

/// A picture of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels from left to right, at least 1.
    pub width: usize,
    /// Pixels from top to bottom, at least 1.
    pub height: usize,
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// `[height, width, channels]`.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Pictures of images in [-1, 1], `[batch, channels, height, width]`: x * 127.5 + 128, clipped to [0, 255],
    /// truncated, as the official sampler does.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if the channels are neither 1 nor 3, or the images have no pixel; [`Error::NotFinite`] for a
    /// number that is NaN or infinite, which the official sampler shows as black or white.
    pub fn all(images: Images) -> Result<Vec<Self>, Error> {
        let [_, channels, height, width] = images.dims();
        if ![1, 3].contains(&channels) {
            return Err(Error::invalid("channels", channels, "1 (grey) or 3 (RGB)"));
        }
        if height * width == 0 {
            return Err(Error::invalid(
                "image size",
                format!("{width} x {height}"),
                "at least 1 x 1",
            ));
        }
        let area = height * width;
        let values: Vec<f32> = images.into_data_dtype(DType::F32).iter::<f32>().collect();
        let finite = |image: &[f32]| image.iter().all(|value| value.is_finite());
        if let Some(image) = values.chunks(channels * area).position(|i| !finite(i)) {
            return Err(Error::NotFinite {
                images: format!("image {image} of the batch, counted from 0"),
                place: "in what was to become a picture".into(),
                remedy: "the model that made it is broken, or was asked at noise levels that are none for it".into(),
            });
        }
        let picture = |image: &[f32]| {
            let pixel = |i: usize| (0..channels).map(move |c| byte(image[c * area + i]));
            Self {
                width,
                height,
                channels,
                pixels: (0..area).flat_map(pixel).collect(),
            }
        };
        Ok(values.chunks_exact(channels * area).map(picture).collect())
    }

    /// Pictures of one size in rows of `columns` on white, two pixels apart and around, everything enlarged `scale`
    /// times without smoothing; a last row that is not full stays white.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for no pictures, no columns, a scale outside 1 to 64, a picture whose sizes do not match its
    /// bytes or a grid of more than 65,535 pixels a side; [`Error::Incompatible`] for pictures of different sizes.
    pub fn grid(pictures: &[Self], columns: usize, scale: usize) -> Result<Self, Error> {
        let Some(first) = pictures.first() else {
            return Err(Error::invalid("pictures", 0, "at least one"));
        };
        if columns == 0 {
            return Err(Error::invalid("columns", columns, "at least 1"));
        }
        if !(1..=64).contains(&scale) {
            return Err(Error::invalid("scale", scale, "in 1..=64"));
        }
        for picture in pictures {
            picture.check()?;
        }
        let size = |p: &Self| (p.width, p.height, p.channels);
        if let Some(other) = pictures.iter().find(|p| size(p) != size(first)) {
            return Err(Error::Incompatible {
                first: format!("a picture of {:?} (width, height, channels)", size(first)),
                second: format!("one of {:?}", size(other)),
                remedy: "a grid takes pictures of one size".into(),
            });
        }
        let &Self {
            width,
            height,
            channels,
            ..
        } = first;
        let rows = pictures.len().div_ceil(columns);
        let side = |count: usize, size: usize| {
            let side = count.checked_mul(size.checked_add(GUTTER)?)?;
            side.checked_add(GUTTER)
                .filter(|side| side * scale <= LONGEST)
        };
        let sides = side(columns, width).zip(side(rows, height));
        let Some((whole_width, whole_height)) = sides else {
            let value = format!(
                "{columns} columns and {rows} rows of {width} x {height}, enlarged {scale} times"
            );
            let expected = format!("at most {LONGEST} pixels wide and high");
            return Err(Error::invalid("size of a grid", value, expected));
        };
        let mut pixels = vec![255; whole_width * whole_height * channels];
        for (i, picture) in pictures.iter().enumerate() {
            let left = GUTTER + i % columns * (width + GUTTER);
            let top = GUTTER + i / columns * (height + GUTTER);
            for (y, row) in picture.pixels.chunks_exact(width * channels).enumerate() {
                let start = ((top + y) * whole_width + left) * channels;
                pixels[start..start + row.len()].copy_from_slice(row);
            }
        }
        let whole = Self {
            width: whole_width,
            height: whole_height,
            channels,
            pixels,
        };
        Ok(whole.enlarged(scale))
    }

    /// Whether the sizes are those of the bytes.
    fn check(&self) -> Result<(), Error> {
        let Self {
            width,
            height,
            channels,
            pixels,
        } = self;
        let bytes = width
            .checked_mul(*height)
            .and_then(|area| area.checked_mul(*channels));
        if bytes == Some(pixels.len()) && !pixels.is_empty() && [1, 3].contains(channels) {
            return Ok(());
        }
        let value = format!("{width} x {height} x {channels} in {} bytes", pixels.len());
        Err(Error::invalid(
            "picture",
            value,
            "as many bytes as its sizes say, of 1 or 3 channels",
        ))
    }

    /// Each pixel as `scale` x `scale`.
    fn enlarged(self, scale: usize) -> Self {
        let mut pixels = Vec::with_capacity(self.pixels.len() * scale * scale);
        for row in self.pixels.chunks_exact(self.width * self.channels) {
            let wide: Vec<u8> = row
                .chunks_exact(self.channels)
                .flat_map(|pixel| pixel.repeat(scale))
                .collect();
            pixels.extend(wide.repeat(scale));
        }
        Self {
            width: self.width * scale,
            height: self.height * scale,
            channels: self.channels,
            pixels,
        }
    }

    /// A PNG file with texts (keyword, content), such as seed and card hash. Equal pictures and texts give equal
    /// bytes.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a keyword that PNG does not allow (1 to 79 Latin-1 characters), or a picture whose
    /// sizes do not match its bytes.
    pub fn to_png(&self, texts: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        let invalid =
            |error: png::EncodingError| Error::invalid("picture", error, "one that PNG can hold");
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width as u32, self.height as u32);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_color(if self.channels == 1 {
            png::ColorType::Grayscale
        } else {
            png::ColorType::Rgb
        });
        for &(keyword, text) in texts {
            let (keyword, text) = (keyword.to_owned(), text.to_owned());
            // Plain text chunks are what every viewer shows; they hold Latin-1 only.
            let added = if text.is_ascii() {
                encoder.add_text_chunk(keyword, text)
            } else {
                encoder.add_itxt_chunk(keyword, text)
            };
            added.map_err(invalid)?;
        }
        let mut writer = encoder.write_header().map_err(invalid)?;
        writer.write_image_data(&self.pixels).map_err(invalid)?;
        writer.finish().map_err(invalid)?;
        Ok(file)
    }

    /// Writes [`to_png`](Self::to_png) atomically.
    ///
    /// # Errors
    /// As [`to_png`](Self::to_png), or [`Error::File`].
    pub fn write_png(&self, path: &Path, texts: &[(&str, &str)]) -> Result<(), Error> {
        write_atomically(path, &self.to_png(texts)?)
    }
}

fn byte(value: f32) -> u8 {
    // `as` truncates.
    (value * 127.5 + 128.0).clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn images(values: &[f32], shape: [usize; 4]) -> Images {
        Images::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
    }

    #[test]
    fn values_become_bytes_as_published() {
        let values = [-1.0, 1.0, 0.0, -2.0, 3.0, -1e30, -0.9999, 0.996];
        let pictures = Picture::all(images(&values, [2, 1, 1, 4])).unwrap();
        assert_eq!(pictures[0].pixels, [0, 255, 128, 0]);
        assert_eq!(pictures[1].pixels, [255, 0, 0, 254]);
        // Bytes survive the way to numbers and back.
        for original in 0..=255u8 {
            assert_eq!(byte(f32::from(original) / 127.5 - 1.0), original);
        }
    }

    #[test]
    fn a_number_that_is_none_is_no_picture() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let values = [0.0, 0.0, 0.0, 0.0, bad, 0.0, 0.0, 0.0, 0.0];
            let error = Picture::all(images(&values, [3, 3, 1, 1])).unwrap_err();
            assert!(matches!(error, Error::NotFinite { .. }));
            assert!(error.to_string().starts_with("image 1 of"), "{error}");
        }
    }

    #[test]
    fn channels_come_last() {
        let values = [-1.0, 1.0, -1.0, -1.0, 1.0, -1.0];
        let pictures = Picture::all(images(&values, [1, 3, 1, 2])).unwrap();
        assert_eq!(pictures[0].pixels, [0, 0, 255, 255, 0, 0]);
        assert!(Picture::all(images(&[0.0; 2], [1, 2, 1, 1])).is_err());
    }

    #[test]
    fn a_grid_has_gutters_and_an_unfinished_row() {
        let pictures = Picture::all(images(&[-1.0, 0.0, -1.0], [3, 1, 1, 1])).unwrap();
        let grid = Picture::grid(&pictures, 2, 1).unwrap();
        assert_eq!((grid.width, grid.height), (8, 8));
        let at = |x: usize, y: usize| grid.pixels[y * 8 + x];
        assert_eq!([at(2, 2), at(5, 2), at(2, 5), at(5, 5)], [0, 128, 0, 255]);
        assert_eq!(grid.pixels.iter().filter(|p| **p != 255).count(), 3);
        let large = Picture::grid(&pictures, 2, 3).unwrap();
        assert_eq!((large.width, large.height), (24, 24));
        for (i, value) in large.pixels.iter().enumerate() {
            assert_eq!(*value, at(i % 24 / 3, i / 24 / 3));
        }
        assert!(Picture::grid(&[], 2, 1).is_err());
        assert!(Picture::grid(&pictures, 0, 1).is_err());
        assert!(Picture::grid(&[pictures[0].clone(), grid], 1, 1).is_err());
        for columns in [100_000, usize::MAX] {
            let error = Picture::grid(&pictures, columns, 1)
                .unwrap_err()
                .to_string();
            assert!(error.contains("65535 pixels"), "{error}");
        }
        // Whatever a caller writes into the fields.
        for (width, height, channels, bytes) in [
            (0, 1, 1, 0),
            (2, 2, 1, 5),
            (2, 2, 2, 8),
            (usize::MAX, 2, 1, 2),
        ] {
            let broken = Picture {
                width,
                height,
                channels,
                pixels: vec![0; bytes],
            };
            assert!(
                Picture::grid(std::slice::from_ref(&broken), 1, 1).is_err(),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn a_png_carries_texts_and_pixels() {
        let folder = tempfile::tempdir().unwrap();
        for channels in [1, 3] {
            let picture = Picture {
                width: 2,
                height: 3,
                channels,
                pixels: (0..6 * channels as u8).collect(),
            };
            let path = folder.path().join("new/folder/7.png");
            picture
                .write_png(&path, &[("seed", "7"), ("title", "gr\u{00fc}n \u{2713}")])
                .unwrap();
            let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
            let mut reader = png::Decoder::new(file).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            reader.next_frame(&mut pixels).unwrap();
            assert_eq!(pixels, picture.pixels);
            let (again, texts) = Picture::read_png(&path).unwrap();
            assert_eq!(again, picture);
            let expected = [("seed", "7"), ("title", "gr\u{00fc}n \u{2713}")];
            let pairs = texts.iter().map(|(k, t)| (k.as_str(), t.as_str()));
            assert!(pairs.eq(expected), "{texts:?}");
            assert_eq!(Picture::read_texts(&path).unwrap(), texts);
            // The texts stand before the pixels; a file that ends there is no picture.
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
            assert!(matches!(
                Picture::read_png(&path),
                Err(Error::Malformed { .. })
            ));
            std::fs::write(&path, "no picture").unwrap();
            for error in [
                Picture::read_png(&path).map(drop),
                Picture::read_texts(&path).map(drop),
            ] {
                assert!(matches!(error, Err(Error::Malformed { .. })), "{error:?}");
            }
        }
        let broken = Picture {
            width: 2,
            height: 3,
            channels: 1,
            pixels: vec![0; 5],
        };
        assert!(broken.to_png(&[]).is_err());
        assert!(
            Picture {
                pixels: vec![0; 6],
                ..broken
            }
            .to_png(&[("", "x")])
            .is_err()
        );
    }
}
