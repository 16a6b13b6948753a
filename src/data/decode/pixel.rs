//! Pixels of 8 bits, and what other kinds of samples come to.

use image::DynamicImage;
use image::metadata::Orientation;

/// The most pixels that a picture may have: 512 MiB of them with four channels.
pub(super) const MOST: u64 = 1 << 27;

/// A picture as it lies in its file.
pub(in super::super) struct Decoded {
    /// 8 bits a channel: grey or colour, with or without alpha.
    pub(in super::super) picture: DynamicImage,
    /// How it is to be turned.
    pub(in super::super) orientation: Orientation,
    /// Whether it is the first of several frames.
    pub(in super::super) moving: bool,
    /// Whether its samples had 16 bits, of which the upper 8 are left.
    pub(in super::super) deep: bool,
}

pub(super) fn text(error: impl ToString) -> String {
    error.to_string()
}

/// Refuses what would take more memory than a picture may.
pub(super) fn check_size(width: u32, height: u32) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("it is {width} x {height} pixels"));
    }
    if u64::from(width) * u64::from(height) > MOST {
        return Err(format!(
            "{width} x {height} pixels are more than the {MOST} that are read"
        ));
    }
    Ok(())
}

/// The upper byte of 16 bits, as everywhere here.
pub(super) fn upper(value: u16) -> u8 {
    (value >> 8) as u8
}

/// A picture of `channels` bytes a pixel: grey, grey and alpha, colour, colour and alpha.
pub(super) fn build(
    width: u32,
    height: u32,
    channels: usize,
    pixels: Vec<u8>,
) -> Result<DynamicImage, String> {
    use image::ImageBuffer as B;
    let picture = match channels {
        1 => B::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        2 => B::from_raw(width, height, pixels).map(DynamicImage::ImageLumaA8),
        3 => B::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
        _ => B::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8),
    };
    picture.ok_or_else(|| format!("its data do not make {width} x {height} pixels"))
}

/// Brightness and two differences of colour to red, green and blue, in libjpeg's arithmetic.
pub(super) fn from_ycbcr([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let of = |sum: i32| (y + ((sum + 0x8000) >> 16)).clamp(0, 255) as u8;
    [
        of(91881 * cr),
        of(-22554 * cb - 46802 * cr),
        of(116130 * cb),
    ]
}

/// `[cyan, magenta, yellow, black]` to red, green and blue, in Pillow's arithmetic and without a colour profile.
pub(super) fn from_inks([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let light = i32::from(255 - k);
    [c, m, y].map(|ink| {
        let product = i32::from(ink) * light + 128;
        (light - ((product + (product >> 8)) >> 8)).max(0) as u8
    })
}

/// Samples of fewer than 8 bits, each row on whole bytes, as one byte each and not scaled.
pub(super) fn unpack(rows: &[u8], width: usize, bits: u8) -> Vec<u8> {
    let per_byte = usize::from(8 / bits);
    let mask = ((1u16 << bits) - 1) as u8;
    let row_bytes = width.div_ceil(per_byte);
    let row = |row: &[u8]| -> Vec<u8> {
        let sample = |i: usize| {
            let shift = 8 - bits as usize * (i % per_byte + 1);
            (row[i / per_byte] >> shift) & mask
        };
        (0..width).map(sample).collect()
    };
    rows.chunks_exact(row_bytes).flat_map(row).collect()
}

/// What a sample of so few bits is multiplied by to fill 8.
pub(super) fn scale(bits: u8) -> u8 {
    match bits {
        1 => 255,
        2 => 85,
        4 => 17,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_samples_are_unpacked_row_by_row() {
        assert_eq!(
            unpack(&[0b1010_0000, 0b0100_0000], 3, 1),
            [1, 0, 1, 0, 1, 0]
        );
        assert_eq!(unpack(&[0b0001_1011], 4, 2), [0, 1, 2, 3]);
        assert_eq!(unpack(&[0x1f, 0xa0], 3, 4), [1, 15, 10]);
    }

    #[test]
    fn too_large_pictures_are_refused_before_memory_is_taken() {
        assert!(
            check_size(20_000, 20_000)
                .unwrap_err()
                .contains("20000 x 20000")
        );
        assert!(check_size(0, 1).is_err());
        assert!(check_size(8192, 8192).is_ok());
    }
}
