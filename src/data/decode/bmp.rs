//! BMP, with or without the header of a file. The `image` crate rounds 16-bit colours otherwise than viewers do, and gives
//! the pixels that a run-length code leaves out an alpha that the format does not have.

use super::palette::Palette;
use super::pixel::{Decoded, build, check_size, unpack};
use image::DynamicImage;
use image::metadata::Orientation;

const SHORT: &str = "it ends before its last pixel";

/// The header, and where the rest stands.
struct Header {
    width: usize,
    height: usize,
    /// The first row is the lowest, as usual.
    upwards: bool,
    bits: u8,
    compression: u32,
    /// Places in the file.
    palette: usize,
    pixels: usize,
    /// Bytes of a colour in the palette, and how many there are.
    colour: usize,
    colours: usize,
    /// Of red, green, blue and alpha; of 16 and 32 bits only.
    masks: [u32; 4],
}

/// Decodes a file.
pub(super) fn decode(file: &[u8]) -> Result<Decoded, String> {
    let header = Header::read(file)?;
    check_size(header.width as u32, header.height as u32)?;
    Ok(Decoded {
        picture: header.picture(file)?,
        orientation: Orientation::NoTransforms,
        moving: false,
        deep: false,
    })
}

fn number(file: &[u8], at: usize, bytes: usize) -> Result<u32, String> {
    let found = at.checked_add(bytes).and_then(|end| file.get(at..end));
    let found = found.ok_or("it ends before its header")?;
    Ok(found
        .iter()
        .rev()
        .fold(0, |sum, byte| (sum << 8) | u32::from(*byte)))
}

impl Header {
    fn read(file: &[u8]) -> Result<Self, String> {
        let start = if file.starts_with(b"BM") { 14 } else { 0 };
        let size = number(file, start, 4)? as usize;
        let old = size == 12;
        let field = |at: usize, bytes: usize| number(file, start + at, bytes);
        let (width, height, bits) = match old {
            true => (field(4, 2)?, field(6, 2)? as i32, field(10, 2)?),
            false => (field(4, 4)?, field(8, 4)? as i32, field(14, 2)?),
        };
        let compression = if old { 0 } else { field(16, 4)? };
        let told = if old { 0 } else { field(32, 4)? as usize };
        let mut end = start + size;
        let masks = match (compression, bits) {
            (3 | 6, _) => {
                let mut masks = [0; 4];
                // In the header where it has room, else behind it.
                let known = if size >= 56 || compression == 6 { 4 } else { 3 };
                for (i, mask) in masks.iter_mut().enumerate().take(known) {
                    *mask = field(40 + 4 * i, 4)?;
                }
                if size < 52 {
                    end += 4 * known;
                }
                // Masks that say nothing stand for the usual order.
                if masks == [0; 4] {
                    [0xff_0000, 0xff00, 0xff, 0xff00_0000]
                } else {
                    masks
                }
            }
            (_, 16) => [0x7c00, 0x3e0, 0x1f, 0],
            _ => [0xff_0000, 0xff00, 0xff, 0],
        };
        let colour = if old { 3 } else { 4 };
        let colours = if told > 0 {
            told
        } else {
            1usize.checked_shl(bits.min(16)).unwrap_or(0)
        };
        let after = end
            + if bits <= 8 {
                colour * colours.min(65536)
            } else {
                0
            };
        let pixels = match start {
            14 => number(file, 10, 4)? as usize,
            _ => after,
        };
        Ok(Self {
            width: width as usize,
            height: height.unsigned_abs() as usize,
            upwards: height >= 0,
            bits: bits.min(255) as u8,
            compression,
            palette: end,
            // A place inside the palette is a mistake that some programs make.
            pixels: if pixels <= end && bits <= 8 {
                after
            } else {
                pixels
            },
            colour,
            colours,
            masks,
        })
    }

    fn picture(&self, file: &[u8]) -> Result<DynamicImage, String> {
        let (width, height) = (self.width as u32, self.height as u32);
        let data = file.get(self.pixels..).ok_or(SHORT)?;
        match (self.compression, self.bits) {
            (0, 1 | 2 | 4 | 8) => self
                .palette(file)
                .picture(width, height, &self.numbers(data)?),
            (1, 8) | (2, 4) => self.palette(file).picture(width, height, &self.runs(data)?),
            (0 | 3 | 6, 16 | 24 | 32) => self.direct(data),
            (4 | 5, _) => Err("it holds a picture of another format, which is not read".into()),
            (other, bits) => Err(format!(
                "it has {bits} bits a pixel, packed by method {other}, which is not read"
            )),
        }
    }

    /// Each row of the picture, from the top.
    fn rows<'a>(&self, data: &'a [u8]) -> Result<Vec<&'a [u8]>, String> {
        let row = (self.width * usize::from(self.bits)).div_ceil(32) * 4;
        let used = (self.width * usize::from(self.bits)).div_ceil(8);
        let mut rows = Vec::with_capacity(self.height.min(data.len()));
        for y in 0..self.height {
            // The last row may lack its padding.
            rows.push(data.get(y * row..y * row + used).ok_or(SHORT)?);
        }
        if self.upwards {
            rows.reverse();
        }
        Ok(rows)
    }

    fn palette(&self, file: &[u8]) -> Palette {
        let colours = file
            .get(self.palette..)
            .unwrap_or_default()
            .chunks_exact(self.colour);
        let colours = colours
            .take(self.colours.min(256))
            .flat_map(|c| [c[2], c[1], c[0]]);
        Palette::new(&colours.collect::<Vec<_>>())
    }

    fn numbers(&self, data: &[u8]) -> Result<Vec<u8>, String> {
        let rows = self.rows(data)?;
        Ok(match self.bits {
            8 => rows.concat(),
            bits => rows
                .into_iter()
                .flat_map(|row| unpack(row, self.width, bits))
                .collect(),
        })
    }

    /// Runs of a number, and pieces without runs; what they leave out has the first colour.
    fn runs(&self, data: &[u8]) -> Result<Vec<u8>, String> {
        let (width, size) = (self.width, self.width * self.height);
        let mut numbers = vec![0; size];
        let (mut x, mut y, mut at) = (0, 0, 0);
        let half = self.bits == 4;
        let of = |byte: u8, i: usize| match (half, i % 2) {
            (false, _) => byte,
            (true, 0) => byte >> 4,
            (true, _) => byte & 15,
        };
        while y < self.height {
            let &[count, value] = data.get(at..at + 2).ok_or(SHORT)? else {
                break;
            };
            at += 2;
            match (count, value) {
                (0, 0) => (x, y) = (0, y + 1),
                (0, 1) => break,
                (0, 2) => {
                    let Some(&[right, up]) = data.get(at..at + 2) else {
                        break;
                    };
                    at += 2;
                    (x, y) = (x + usize::from(right), y + usize::from(up));
                }
                _ => {
                    let run = count > 0;
                    let many = usize::from(if run { count } else { value });
                    for i in 0..many {
                        let byte = match (run, half) {
                            (true, _) => Some(&value),
                            (false, true) => data.get(at + i / 2),
                            (false, false) => data.get(at + i),
                        };
                        if let Some(byte) = byte
                            && x < width
                            && y < self.height
                        {
                            numbers[y * width + x] = of(*byte, i);
                        }
                        x += 1;
                    }
                    if !run {
                        // Padded to whole pairs of bytes.
                        at += if half { many.div_ceil(2) } else { many }.next_multiple_of(2);
                    }
                }
            }
            if y + 1 == self.height && x >= width {
                // The mark of the end may be missing.
                break;
            }
        }
        if self.upwards && width > 0 {
            numbers = numbers
                .chunks_exact(width)
                .rev()
                .flatten()
                .copied()
                .collect();
        }
        Ok(numbers)
    }

    /// Colours in the pixels themselves, by masks.
    fn direct(&self, data: &[u8]) -> Result<DynamicImage, String> {
        let bytes = usize::from(self.bits / 8);
        let channels = if self.masks[3] == 0 || bytes == 3 {
            3
        } else {
            4
        };
        let parts = self.masks.map(|mask| {
            let shift = mask.trailing_zeros().min(31);
            (mask, shift, u64::from(mask >> shift))
        });
        let mut pixels = Vec::with_capacity(self.width * self.height * channels);
        for row in self.rows(data)? {
            for pixel in row.chunks_exact(bytes) {
                let whole = pixel
                    .iter()
                    .rev()
                    .fold(0u32, |sum, byte| (sum << 8) | u32::from(*byte));
                for (mask, shift, most) in &parts[..channels] {
                    let value = u64::from((whole & mask) >> shift);
                    pixels.push((value * 255 / (*most).max(1)) as u8);
                }
            }
        }
        build(self.width as u32, self.height as u32, channels, pixels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a header of 40 bytes.
    fn file(
        width: i32,
        height: i32,
        bits: u16,
        compression: u32,
        palette: &[u8],
        data: &[u8],
    ) -> Vec<u8> {
        let mut file = b"BM\0\0\0\0\0\0\0\0".to_vec();
        file.extend((54 + palette.len() as u32).to_le_bytes());
        file.extend(40u32.to_le_bytes());
        file.extend(width.to_le_bytes());
        file.extend(height.to_le_bytes());
        file.extend(1u16.to_le_bytes());
        file.extend(bits.to_le_bytes());
        file.extend(compression.to_le_bytes());
        file.extend([0; 12]);
        file.extend((palette.len() as u32 / 4).to_le_bytes());
        file.extend([0; 4]);
        file.extend(palette);
        file.extend(data);
        file
    }

    fn pixels(file: &[u8]) -> Vec<u8> {
        decode(file).unwrap().picture.into_bytes()
    }

    const COLOURS: [u8; 12] = [10, 20, 30, 0, 40, 50, 60, 0, 70, 80, 90, 0];

    #[test]
    fn rows_lie_upwards_unless_the_height_is_negative() {
        let data = [1, 2, 0, 0, 0, 1, 0, 0];
        let down = [60, 50, 40, 90, 80, 70, 30, 20, 10, 60, 50, 40];
        assert_eq!(pixels(&file(2, -2, 8, 0, &COLOURS, &data)), down);
        assert_eq!(pixels(&file(2, 2, 8, 0, &COLOURS, &data))[..6], down[6..]);
    }

    #[test]
    fn sixteen_bits_fill_eight() {
        let data = [0xff, 0x7f, 0x10, 0x00];
        assert_eq!(
            pixels(&file(2, 1, 16, 0, &[], &data)),
            [255, 255, 255, 0, 0, 131]
        );
    }

    #[test]
    fn runs_are_read_and_gaps_have_the_first_colour() {
        // Two of colour 1; end of the row; one to the right; a piece of three numbers; the end.
        let data = [2, 1, 0, 0, 0, 2, 1, 0, 0, 3, 2, 1, 2, 0, 0, 1];
        let numbers = |file: &[u8]| {
            pixels(file)
                .chunks_exact(3)
                .map(|c| c[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(
            numbers(&file(4, -2, 8, 1, &COLOURS, &data)),
            [60, 60, 30, 30, 30, 90, 60, 90]
        );
    }

    #[test]
    fn cut_files_are_errors() {
        let whole = file(2, 2, 8, 0, &COLOURS, &[1, 2, 0, 0, 0, 1, 0, 0]);
        for end in 2..whole.len() - 2 {
            assert!(decode(&whole[..end]).is_err(), "{end}");
        }
    }
}
