//! One picture to the bytes the network wants.

use super::{Options, Padding};
use image::{DynamicImage, ImageReader, imageops};
use std::io::Cursor;

/// Decodes a PNG, JPEG, WebP or BMP file and fits it; `[channels, size, size]` bytes, or the reason why not.
pub(super) fn decode(file: &[u8], options: &Options) -> Result<Vec<u8>, String> {
    // The content decides the format: wrong extensions are common. The reader's default limits bound memory.
    let reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| error.to_string())?;
    let picture = reader.decode().map_err(|error| error.to_string())?;
    fit(picture, options)
}

/// Brings a picture to the wanted size and channels.
pub(super) fn fit(picture: DynamicImage, options: &Options) -> Result<Vec<u8>, String> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let size = options.size;
    let picture = if (width, height) == (size, size) || options.padding == Padding::Pad {
        picture
    } else {
        let side = width.min(height) as u32;
        let (left, top) = ((width as u32 - side) / 2, (height as u32 - side) / 2);
        picture.crop_imm(left, top, side, side).resize_exact(
            size as u32,
            size as u32,
            imageops::FilterType::CatmullRom,
        )
    };
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if width > size || height > size {
        return Err(format!(
            "{width} x {height} pixels do not fit in {size} x {size}; resize instead of pad"
        ));
    }
    let interleaved = if options.channels == 1 {
        picture.into_luma8().into_raw()
    } else {
        picture.into_rgb8().into_raw()
    };
    Ok(pad(&interleaved, height, width, options))
}

/// Centres `[height, width, channels]` bytes on black and puts the channels first. Where the margin is odd, the right
/// and the lower one are the wider.
fn pad(pixels: &[u8], height: usize, width: usize, options: &Options) -> Vec<u8> {
    let (size, channels) = (options.size, options.channels);
    let (top, left) = ((size - height) / 2, (size - width) / 2);
    let mut padded = vec![0; channels * size * size];
    for (i, pixel) in pixels.chunks_exact(channels).enumerate() {
        let place = (top + i / width) * size + left + i % width;
        for (channel, &value) in pixel.iter().enumerate() {
            padded[channel * size * size + place] = value;
        }
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, RgbImage};

    #[test]
    fn padding_centres_on_black() {
        let grey = GrayImage::from_raw(2, 1, vec![10, 20]).unwrap();
        let padded = fit(grey.into(), &Options::new(4, 1)).unwrap();
        assert_eq!(padded, [0, 0, 0, 0, 0, 10, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn channels_come_first_and_grey_becomes_rgb() {
        let rgb = RgbImage::from_raw(2, 2, (1..=12).collect()).unwrap();
        let fitted = fit(rgb.into(), &Options::new(2, 3)).unwrap();
        assert_eq!(fitted, [1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12]);
        let grey = GrayImage::from_raw(1, 1, vec![9]).unwrap();
        assert_eq!(fit(grey.into(), &Options::new(1, 3)).unwrap(), [9, 9, 9]);
    }

    #[test]
    fn resize_cuts_the_centre_and_scales() {
        // Left and right of the 4 x 4 centre is white; none of it may come through.
        let picture = GrayImage::from_fn(8, 4, |x, _| {
            image::Luma([if (2..6).contains(&x) { 100 } else { 255 }])
        });
        let mut options = Options::new(2, 1);
        assert!(
            fit(picture.clone().into(), &options)
                .unwrap_err()
                .contains("8 x 4")
        );
        options.padding = Padding::Resize;
        assert_eq!(fit(picture.into(), &options).unwrap(), [100; 4]);
    }
}
