//! One picture to the bytes the network wants.

use super::decode::{Decoded, decode};
use super::kind::{self, HEAD, Kind};
use super::{Options, Padding};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage, imageops};
use std::path::Path;

/// A picture's `[channels, size, size]` bytes, and what was done to it on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) pixels: Vec<u8>,
    /// Some of it was transparent, and is laid on the background.
    pub(super) transparent: bool,
    /// It was turned as its metadata say.
    pub(super) turned: bool,
    /// It is the first of several frames or pages.
    pub(super) moving: bool,
    /// Some of it was not grey.
    pub(super) coloured: bool,
}

/// Decodes a file and fits it, or says why not. `name` is looked at only where the content says nothing.
pub(super) fn read(name: &Path, file: &[u8], options: &Options) -> Result<Fitted, String> {
    let decoded = decoded(name, file)?;
    let turned = decoded.orientation != Orientation::NoTransforms;
    let (picture, transparent) = opaque(decoded.picture, options.background);
    let (picture, coloured) = channels(picture, options.channels);
    Ok(Fitted {
        pixels: fit(picture, options)?,
        transparent,
        turned,
        moving: decoded.moving,
        coloured,
    })
}

/// The same at its own size: grey or RGB, without alpha. Without a colour to lay alpha on, pictures are refused that other
/// programs would read otherwise.
pub(super) fn plain(
    name: &Path,
    file: &[u8],
    background: Option<[u8; 3]>,
    exact: bool,
) -> Result<DynamicImage, String> {
    let decoded = decoded(name, file)?;
    if exact && decoded.deep {
        return Err(DEEP.into());
    }
    if exact && background.is_none() && decoded.picture.color().has_alpha() {
        return Err(ALPHA.into());
    }
    Ok(opaque(decoded.picture, background.unwrap_or([255; 3])).0)
}

const DEEP: &str = "it has 16 bits a channel, which other programs cut down to 8 in other ways, so that figures of it would \
                    not compare; save it with 8 bits (ImageMagick: `magick mogrify -depth 8 FILE`)";
const ALPHA: &str = "it has an alpha channel, which other programs drop or lay on black, so that figures of it would not \
                     compare; name the colour to lay pictures on with --background white, or save it without alpha";

fn decoded(name: &Path, file: &[u8]) -> Result<Decoded, String> {
    match kind::of(name, &file[..file.len().min(HEAD)]) {
        Kind::Picture(format) => decode(file, format),
        _ if file.is_empty() => Err("the file is empty".into()),
        _ => Err(format!(
            "its content is not that of a picture ({})",
            kind::READ
        )),
    }
}

/// Lays a picture on a background, if anything shines through; without alpha.
fn opaque(picture: DynamicImage, background: [u8; 3]) -> (DynamicImage, bool) {
    let alpha = match &picture {
        DynamicImage::ImageLumaA8(p) => p.pixels().any(|p| p.0[1] < 255),
        DynamicImage::ImageRgba8(p) => p.pixels().any(|p| p.0[3] < 255),
        _ => false,
    };
    if !alpha {
        let picture = match picture {
            DynamicImage::ImageLumaA8(p) => DynamicImage::ImageLumaA8(p).into_luma8().into(),
            DynamicImage::ImageRgba8(p) => DynamicImage::ImageRgba8(p).into_rgb8().into(),
            other => other,
        };
        return (picture, false);
    }
    let grey = !picture.color().has_color() && background.iter().all(|b| *b == background[0]);
    let picture = picture.into_rgba8();
    let (width, height) = picture.dimensions();
    let mut pixels = Vec::with_capacity(picture.len() / 4 * 3);
    for pixel in picture.pixels() {
        let [colours @ .., alpha] = pixel.0;
        let alpha = u16::from(alpha);
        for (colour, below) in colours.into_iter().zip(background) {
            // Rounded to the nearest, as Pillow does it.
            let sum = u16::from(colour) * alpha + u16::from(below) * (255 - alpha);
            pixels.push(((u32::from(sum) + 127) / 255) as u8);
        }
    }
    let laid = RgbImage::from_raw(width, height, pixels).unwrap_or_default();
    let laid = DynamicImage::ImageRgb8(laid);
    // Of grey on grey all three are equal.
    (if grey { channels(laid, 1).0 } else { laid }, true)
}

/// To grey or to colour, in Pillow's arithmetic; and whether there was colour.
fn channels(picture: DynamicImage, channels: usize) -> (DynamicImage, bool) {
    let rgb = match picture {
        DynamicImage::ImageLuma8(_) if channels == 1 => return (picture, false),
        DynamicImage::ImageLuma8(grey) => {
            let rgb = DynamicImage::ImageLuma8(grey).into_rgb8();
            return (rgb.into(), false);
        }
        other => other.into_rgb8(),
    };
    let coloured = rgb.pixels().any(|p| p.0[0] != p.0[1] || p.0[1] != p.0[2]);
    if channels == 3 {
        return (rgb.into(), coloured);
    }
    let (width, height) = rgb.dimensions();
    let grey = rgb.pixels().map(|p| luma(p.0)).collect();
    let grey = GrayImage::from_raw(width, height, grey).unwrap_or_default();
    (grey.into(), coloured)
}

/// The brightness of a colour: ITU-R 601 in 16 bits, rounded, as Pillow's `convert("L")`.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471;
    ((sum + 0x8000) >> 16) as u8
}

/// Brings a picture without alpha to the wanted size and channels.
pub(super) fn fit(picture: DynamicImage, options: &Options) -> Result<Vec<u8>, String> {
    let (picture, _) = channels(picture, options.channels);
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
            "{width} x {height} pixels do not fit in {size} x {size}; --resize (`Padding::Resize`) cuts and scales them"
        ));
    }
    Ok(pad(&picture.into_bytes(), height, width, options))
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
    use image::{GrayAlphaImage, Rgba, RgbaImage};

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
        let error = fit(picture.clone().into(), &options).unwrap_err();
        assert!(
            error.contains("8 x 4") && error.contains("--resize"),
            "{error}"
        );
        options.padding = Padding::Resize;
        assert_eq!(fit(picture.into(), &options).unwrap(), [100; 4]);
    }

    #[test]
    fn colours_become_grey_in_pillows_arithmetic() {
        // Of ITU-R 709, which the `image` crate takes, red is 54 and green 182.
        let values = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [1, 2, 3], [255; 3]].map(luma);
        assert_eq!(values, [76, 150, 29, 2, 255]);
        assert!((0..=255).all(|v| luma([v; 3]) == v));
    }

    #[test]
    fn what_is_transparent_shows_the_background() {
        let picture = RgbaImage::from_raw(3, 1, vec![9, 8, 7, 255, 200, 0, 0, 0, 0, 0, 0, 128]);
        let picture = DynamicImage::ImageRgba8(picture.unwrap());
        let (laid, transparent) = opaque(picture.clone(), [255; 3]);
        assert_eq!(
            (laid.into_bytes(), transparent),
            (vec![9, 8, 7, 255, 255, 255, 127, 127, 127], true)
        );
        let (laid, _) = opaque(picture, [0, 0, 100]);
        assert_eq!(laid.into_bytes(), [9, 8, 7, 0, 0, 100, 0, 0, 50]);
        let grey = GrayAlphaImage::from_raw(1, 1, vec![5, 0]).unwrap();
        assert_eq!(opaque(grey.into(), [255; 3]).0.into_bytes(), [255]);
        let whole = RgbaImage::from_pixel(1, 1, Rgba([1, 2, 3, 255]));
        assert_eq!(
            opaque(whole.into(), [255; 3]),
            (
                RgbImage::from_raw(1, 1, vec![1, 2, 3]).unwrap().into(),
                false
            )
        );
    }
}
