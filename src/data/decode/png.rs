//! PNG. Read with the crate below the `image` crate: palettes, 16 bits and what comes after the pixels are kept there.

use super::orientation;
use super::palette::Palette;
use super::pixel::{Decoded, MOST, build, check_size, scale, text, unpack, upper};
use ::png::{BitDepth, ColorType, Decoder, Info, Limits, Transformations};
use image::DynamicImage;
use std::io::Cursor;

/// Decodes a file; of a moving picture the one that viewers show which know no others.
pub(super) fn decode(file: &[u8]) -> Result<Decoded, String> {
    let limits = Limits {
        bytes: 4 * MOST as usize,
    };
    let mut decoder = Decoder::new_with_limits(Cursor::new(file), limits);
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(text)?;
    let (width, height) = reader.info().size();
    check_size(width, height)?;
    let size = reader.output_buffer_size().ok_or("it is too large")?;
    let mut rows = vec![0; size];
    let frame = reader.next_frame(&mut rows).map_err(text)?;
    rows.truncate(frame.buffer_size());
    let moving = reader
        .info()
        .animation_control()
        .is_some_and(|control| control.num_frames > 1);
    let picture = picture(reader.info(), rows)?;
    // Metadata may come after the pixels; what is wrong there does no harm to them.
    let _ = reader.finish();
    let info = reader.info();
    let exif = info.exif_metadata.as_deref().map(<[u8]>::to_vec);
    let exif = exif.or_else(|| raw_profile(info));
    Ok(Decoded {
        picture,
        orientation: orientation::of(exif.as_deref(), xmp(info).as_deref().map(str::as_bytes)),
        moving,
        deep: info.bit_depth == BitDepth::Sixteen,
    })
}

/// Rows as they lie in the file, to pixels.
fn picture(info: &Info<'_>, rows: Vec<u8>) -> Result<DynamicImage, String> {
    let (width, height) = info.size();
    let bits = info.bit_depth as u8;
    let trns = info.trns.as_deref();
    let small = |rows: Vec<u8>| match bits {
        1 | 2 | 4 => unpack(&rows, width as usize, bits),
        _ => rows,
    };
    if info.color_type == ColorType::Indexed {
        let colours = info.palette.as_deref().ok_or("it has no palette")?;
        let palette = Palette::new(colours).alpha(trns.unwrap_or_default().iter().copied());
        return palette.picture(width, height, &small(rows));
    }
    let channels = info.color_type.samples();
    let sample = if info.bit_depth == BitDepth::Sixteen {
        2
    } else {
        1
    };
    let samples = small(rows);
    // The one colour that is transparent, compared in full width.
    let key = trns.filter(|key| [1, 3].contains(&channels) && key.len() >= channels * sample);
    let mut pixels = Vec::new();
    for pixel in samples.chunks_exact(channels * sample) {
        let values = pixel.chunks_exact(sample).map(|value| match value {
            [high, low] => upper(u16::from_be_bytes([*high, *low])),
            _ => value[0] * scale(bits),
        });
        pixels.extend(values);
        if let Some(key) = key {
            pixels.push(if pixel == &key[..channels * sample] {
                0
            } else {
                255
            });
        }
    }
    build(width, height, channels + usize::from(key.is_some()), pixels)
}

/// EXIF as ImageMagick writes it: hexadecimal digits in a text, after its name and its length.
fn raw_profile(info: &Info<'_>) -> Option<Vec<u8>> {
    let key = "Raw profile type exif";
    let zipped = info
        .compressed_latin1_text
        .iter()
        .filter(|chunk| chunk.keyword == key);
    let zipped = zipped.filter_map(|chunk| chunk.get_text().ok());
    let plain = info
        .uncompressed_latin1_text
        .iter()
        .filter(|chunk| chunk.keyword == key);
    let text = zipped.chain(plain.map(|chunk| chunk.text.clone())).next()?;
    let digits: String = text.trim_start().lines().skip(2).collect();
    let pairs = digits.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

fn xmp(info: &Info<'_>) -> Option<String> {
    let mut chunks = info.utf8_text.iter();
    chunks
        .find(|chunk| chunk.keyword == "XML:com.adobe.xmp")?
        .get_text()
        .ok()
}
