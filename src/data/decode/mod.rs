//! A file of one picture to 8-bit pixels the right way up: what Pillow's `ImageOps.exif_transpose(Image.open(file))`
//! shows. Where it shows otherwise, docs/pictures.md says why.

mod bmp;
mod gif;
mod jpeg;
mod orientation;
mod palette;
mod pixel;
mod png;
mod tiff;

use super::kind::Format;
use image::codecs::{pnm::PnmDecoder, qoi::QoiDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, Limits};
pub(super) use pixel::Decoded;
use pixel::{build, check_size, text, upper};
use std::io::Cursor;

/// Decodes a file of the given format, or says why not.
pub(super) fn decode(file: &[u8], format: Format) -> Result<Decoded, String> {
    let mut decoded = match format {
        Format::Gif => gif::decode(file)?,
        Format::Jpeg => jpeg::decode(file)?,
        Format::Png => png::decode(file)?,
        Format::Tiff => tiff::decode(file)?,
        Format::WebP => {
            let mut decoder = WebPDecoder::new(Cursor::new(file)).map_err(text)?;
            let exif = decoder.exif_metadata().map_err(text)?;
            let xmp = decoder.xmp_metadata().map_err(text)?;
            let moving = decoder.has_animation();
            Decoded {
                orientation: orientation::of(exif.as_deref(), xmp.as_deref()),
                moving,
                ..plain(decoder)?
            }
        }
        Format::Bmp => bmp::decode(file)?,
        Format::Pnm => plain(PnmDecoder::new(Cursor::new(file)).map_err(text)?)?,
        Format::Qoi => plain(QoiDecoder::new(Cursor::new(file)).map_err(text)?)?,
    };
    decoded.picture.apply_orientation(decoded.orientation);
    Ok(decoded)
}

/// Decodes what has no metadata that we look at.
fn plain(mut decoder: impl ImageDecoder) -> Result<Decoded, String> {
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    decoder.set_limits(Limits::default()).map_err(text)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(text)?;
    let deep = picture.color().bytes_per_pixel() / picture.color().channel_count() > 1;
    Ok(Decoded {
        picture: eight_bits(picture)?,
        orientation: Orientation::NoTransforms,
        moving: false,
        deep,
    })
}

fn eight_bits(picture: DynamicImage) -> Result<DynamicImage, String> {
    use DynamicImage as P;
    let (width, height) = (picture.width(), picture.height());
    let bytes = |values: Vec<u16>| values.into_iter().map(upper).collect::<Vec<u8>>();
    match picture {
        P::ImageLuma8(_) | P::ImageLumaA8(_) | P::ImageRgb8(_) | P::ImageRgba8(_) => Ok(picture),
        P::ImageLuma16(p) => build(width, height, 1, bytes(p.into_raw())),
        P::ImageLumaA16(p) => build(width, height, 2, bytes(p.into_raw())),
        P::ImageRgb16(p) => build(width, height, 3, bytes(p.into_raw())),
        P::ImageRgba16(p) => build(width, height, 4, bytes(p.into_raw())),
        _ => Err("its pixels are floating-point numbers, whose range is not known; write it with 8 or 16 bits".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_keep_the_upper_eight() {
        let picture = image::ImageBuffer::from_raw(3, 1, vec![255u16, 256, 65535]).unwrap();
        let eight = eight_bits(DynamicImage::ImageLuma16(picture)).unwrap();
        assert_eq!(eight.into_bytes(), [0, 1, 255]);
    }
}
