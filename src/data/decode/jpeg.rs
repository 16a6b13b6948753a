//! JPEG. Read with `jpeg-decoder`: the decoder of the `image` crate makes the colours of the last column and row, where a
//! picture ends inside a block, of pixels that are not in the picture, which is off by tens of grey levels in small ones.

use super::orientation;
use super::pixel::{Decoded, MOST, build, check_size, from_inks, from_ycbcr, text, upper};
use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

/// The samples of a file as they lie in it, before colours are converted.
pub(super) struct Raw {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Samples of a pixel: 1, 3 or 4.
    pub(super) channels: usize,
    pub(super) samples: Vec<u8>,
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
}

impl Raw {
    pub(super) fn read(file: &[u8]) -> Result<Self, String> {
        let mut decoder = Decoder::new(file);
        decoder.set_max_decoding_buffer_size(4 * MOST as usize);
        decoder.read_info().map_err(text)?;
        let info = decoder.info().ok_or("it has no size")?;
        let (width, height) = (u32::from(info.width), u32::from(info.height));
        check_size(width, height)?;
        let channels = match info.pixel_format {
            PixelFormat::L8 | PixelFormat::L16 => 1,
            PixelFormat::RGB24 => 3,
            PixelFormat::CMYK32 => 4,
        };
        // Both leave three samples, and four but for their sign, as they are.
        decoder.set_color_transform(match channels {
            1 => ColorTransform::Grayscale,
            3 => ColorTransform::RGB,
            _ => ColorTransform::CMYK,
        });
        let mut samples = decoder.decode().map_err(text)?;
        match info.pixel_format {
            PixelFormat::L16 => {
                let pairs = samples.chunks_exact(2);
                samples = pairs
                    .map(|pair| upper(u16::from_ne_bytes([pair[0], pair[1]])))
                    .collect();
            }
            PixelFormat::CMYK32 => samples.iter_mut().for_each(|value| *value = 255 - *value),
            _ => {}
        }
        Ok(Self {
            width,
            height,
            channels,
            samples,
            exif: decoder.exif_data().map(<[u8]>::to_vec),
            xmp: decoder.xmp_data().map(<[u8]>::to_vec),
        })
    }
}

/// Decodes a file; of several in one (MPO, as phones write them) the first.
pub(super) fn decode(file: &[u8]) -> Result<Decoded, String> {
    let raw = Raw::read(file)?;
    let (width, height) = (raw.width, raw.height);
    let marks = Marks::find(file);
    let picture = match raw.channels {
        1 => build(width, height, 1, raw.samples)?,
        3 if marks.is_rgb() => build(width, height, 3, raw.samples)?,
        3 => {
            let pixels = raw
                .samples
                .chunks_exact(3)
                .flat_map(|p| from_ycbcr([p[0], p[1], p[2]]));
            build(width, height, 3, pixels.collect())?
        }
        _ => {
            let converted = marks.adobe.is_some_and(|transform| transform != 0);
            let pixels = raw.samples.chunks_exact(4).flat_map(|p| {
                let mut inks = [p[0], p[1], p[2], p[3]];
                if converted {
                    // CMY as inverted RGB in YCbCr, and black as it is.
                    let [r, g, b] = from_ycbcr([p[0], p[1], p[2]]);
                    inks = [255 - r, 255 - g, 255 - b, p[3]];
                }
                // Programs that leave Adobe's mark write all four inverted.
                from_inks(if marks.adobe.is_some() {
                    inks.map(|ink| 255 - ink)
                } else {
                    inks
                })
            });
            build(width, height, 3, pixels.collect())?
        }
    };
    Ok(Decoded {
        picture,
        orientation: orientation::of(raw.exif.as_deref(), raw.xmp.as_deref()),
        moving: false,
        deep: false,
    })
}

/// What a header says of colours.
#[derive(Default)]
struct Marks {
    jfif: bool,
    /// The transform in Adobe's segment.
    adobe: Option<u8>,
    /// The names of the first three components.
    names: [u8; 3],
}

impl Marks {
    fn find(file: &[u8]) -> Self {
        let mut marks = Self::default();
        let mut rest = file.get(2..).unwrap_or_default();
        while let [first, mark, after @ ..] = rest {
            if *first != 0xff || *mark == 0xff || *mark == 0 {
                rest = &rest[1..];
                continue;
            }
            match mark {
                // Markers that stand alone.
                0x01 | 0xd0..=0xd8 => rest = after,
                // The pixels begin.
                0xda | 0xd9 => break,
                _ => {
                    let Some(length) = after.get(..2) else { break };
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    let body = after
                        .get(2..length.min(after.len()).max(2))
                        .unwrap_or_default();
                    match mark {
                        0xe0 if body.starts_with(b"JFIF\0") => marks.jfif = true,
                        0xee if body.starts_with(b"Adobe") => {
                            marks.adobe = body.get(11).copied().or(marks.adobe)
                        }
                        // Frames; each component takes three bytes.
                        0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb => {
                            let name = |i: usize| body.get(6 + 3 * i).copied().unwrap_or_default();
                            marks.names = [0, 1, 2].map(name);
                        }
                        _ => {}
                    }
                    rest = after.get(length.max(2)..).unwrap_or_default();
                }
            }
        }
        marks
    }

    /// Whether three samples are red, green and blue: libjpeg's rules.
    fn is_rgb(&self) -> bool {
        match (self.jfif, self.adobe) {
            (true, _) => false,
            (false, Some(transform)) => transform == 0,
            (false, None) => self.names == *b"RGB",
        }
    }
}
