//! TIFF: the first page. The `image` crate reads neither palettes nor alpha beside grey, nor other orders of bits, and the
//! crate below it brings what would change every dependency; unpacking is left to the crates for each method.

mod directory;
mod pack;

use super::orientation;
use super::palette::Palette;
use super::pixel::{Decoded, build, check_size, from_inks, from_ycbcr, scale, unpack};
use directory::{Directory, tag};
use image::DynamicImage;
use pack::{Chunk, JPEG};

/// Values of the tag `PhotometricInterpretation`.
const WHITE_IS_ZERO: u64 = 0;
const BLACK_IS_ZERO: u64 = 1;
const RGB: u64 = 2;
const PALETTE: u64 = 3;
const INKS: u64 = 5;
const YCBCR: u64 = 6;

/// The pixels of a page as its tags describe them.
struct Page<'a> {
    tags: Directory<'a>,
    width: usize,
    height: usize,
    /// Of a sample: 1, 2, 4, 8 or 16.
    bits: u8,
    /// Samples of a pixel.
    samples: usize,
    /// Whether each sample's pixels stand by themselves.
    planar: bool,
    compression: u64,
}

/// Decodes the first page.
pub(super) fn decode(file: &[u8]) -> Result<Decoded, String> {
    let page = Page::new(Directory::read(file)?)?;
    let tags = &page.tags;
    let (orientation, moving) = match tags.first(tag::ORIENTATION) {
        Some(told) => (orientation::from(told.min(99) as u32), tags.more),
        None => (orientation::of(None, tags.bytes(tag::XMP)), tags.more),
    };
    let samples = page.samples()?;
    Ok(Decoded {
        picture: page.picture(&samples)?,
        orientation,
        moving,
        deep: page.bits == 16,
    })
}

impl<'a> Page<'a> {
    fn new(tags: Directory<'a>) -> Result<Self, String> {
        let number = |tag: u16, default: u64| tags.first(tag).unwrap_or(default);
        let (width, height) = (number(tag::WIDTH, 0), number(tag::HEIGHT, 0));
        check_size(width.min(1 << 31) as u32, height.min(1 << 31) as u32)?;
        let bits = tags.all(tag::BITS).unwrap_or_else(|| vec![1]);
        let format = tags.all(tag::FORMAT).unwrap_or_else(|| vec![1]);
        if format.iter().any(|format| ![1, 4].contains(format)) {
            let reason = "its pixels are signed or floating-point numbers, whose black and white are not known; write it with \
                          8 or 16 bits";
            return Err(reason.into());
        }
        let first = bits.first().copied().unwrap_or(1);
        if ![1, 2, 4, 8, 16].contains(&first) || bits.iter().any(|b| *b != first) {
            return Err(format!(
                "its samples have {bits:?} bits; 1, 2, 4, 8 and 16 are read"
            ));
        }
        let samples = number(tag::SAMPLES, 1);
        if !(1..=16).contains(&samples) {
            return Err(format!("a pixel has {samples} samples"));
        }
        Ok(Self {
            width: width as usize,
            height: height as usize,
            bits: first as u8,
            samples: samples as usize,
            planar: number(tag::PLANES, 1) == 2 && samples > 1,
            compression: number(tag::COMPRESSION, 1),
            tags,
        })
    }

    /// All samples, interleaved. Those of 16 bits keep the upper 8; those of fewer than 8 are not scaled.
    fn samples(&self) -> Result<Vec<u8>, String> {
        let tags = &self.tags;
        let tiled = tags.first(tag::TILE_OFFSETS).is_some();
        let (wide, high, offsets, counts) = match tiled {
            true => (
                tags.first(tag::TILE_WIDTH).unwrap_or(0) as usize,
                tags.first(tag::TILE_HEIGHT).unwrap_or(0) as usize,
                tags.all(tag::TILE_OFFSETS),
                tags.all(tag::TILE_COUNTS),
            ),
            false => (
                self.width,
                (tags.first(tag::ROWS_PER_STRIP).unwrap_or(u64::MAX) as usize).min(self.height),
                tags.all(tag::STRIP_OFFSETS),
                tags.all(tag::STRIP_COUNTS),
            ),
        };
        if wide == 0 || high == 0 {
            return Err("its strips or tiles have no size".into());
        }
        check_size(wide.min(1 << 31) as u32, high.min(1 << 31) as u32)?;
        let offsets = offsets.ok_or("nothing says where its pixels are")?;
        // A single strip may be as long as the file.
        let counts = counts.unwrap_or_else(|| vec![u64::MAX; offsets.len()]);
        let (across, down) = (self.width.div_ceil(wide), self.height.div_ceil(high));
        let planes = if self.planar { self.samples } else { 1 };
        let each = if self.planar { 1 } else { self.samples };
        let mut all = vec![0; self.width * self.height * self.samples];
        for (i, place) in (0..planes * across * down).enumerate() {
            let (plane, chunk) = (place / (across * down), place % (across * down));
            let (left, top) = (chunk % across * wide, chunk / across * high);
            let rows = if tiled {
                high
            } else {
                high.min(self.height - top)
            };
            let (Some(offset), Some(count)) = (offsets.get(i), counts.get(i)) else {
                return Err("strips or tiles are missing".into());
            };
            let values = self.chunk([*offset, *count], wide, rows, each)?;
            let shown = wide.min(self.width - left) * each;
            for (y, row) in values
                .chunks_exact(wide * each)
                .enumerate()
                .take(self.height - top)
            {
                let start = ((top + y) * self.width + left) * self.samples + plane;
                if each == self.samples {
                    all[start..start + shown].copy_from_slice(&row[..shown]);
                } else {
                    for (x, value) in row[..shown].iter().enumerate() {
                        all[start + x * self.samples] = *value;
                    }
                }
            }
        }
        Ok(all)
    }

    /// The samples of one strip or tile.
    fn chunk(
        &self,
        [offset, count]: [u64; 2],
        wide: usize,
        rows: usize,
        each: usize,
    ) -> Result<Vec<u8>, String> {
        let tags = &self.tags;
        let packed = match count {
            u64::MAX => tags.piece(offset, 0).map(|_| tags.rest(offset)),
            _ => tags.piece(offset, count),
        };
        let mut packed = std::borrow::Cow::Borrowed(packed.ok_or("its pixels end too soon")?);
        if tags.first(tag::FILL_ORDER) == Some(2) {
            packed
                .to_mut()
                .iter_mut()
                .for_each(|byte| *byte = byte.reverse_bits());
        }
        let row = (wide * each * usize::from(self.bits)).div_ceil(8);
        let chunk = Chunk {
            compression: self.compression,
            width: wide,
            row,
            rows,
            samples: each,
            tables: tags.bytes(tag::JPEG_TABLES),
        };
        let mut bytes = chunk.unpack(&packed)?;
        bytes.truncate(row * rows);
        let predicted = tags.first(tag::PREDICTOR).unwrap_or(1);
        match (predicted, self.bits) {
            (1, _) => {}
            // Differences to the pixel on the left.
            (2, 8) => bytes.chunks_exact_mut(row).for_each(|row| {
                for i in each..row.len() {
                    row[i] = row[i].wrapping_add(row[i - each]);
                }
            }),
            (2, 16) => bytes.chunks_exact_mut(row).for_each(|row| {
                for i in (2 * each..row.len()).step_by(2) {
                    let sum = self.word(row, i).wrapping_add(self.word(row, i - 2 * each));
                    let sum = if tags.little {
                        sum.to_le_bytes()
                    } else {
                        sum.to_be_bytes()
                    };
                    row[i..i + 2].copy_from_slice(&sum);
                }
            }),
            _ => {
                return Err(format!(
                    "it is packed with predictor {predicted} of {} bits, which is not read",
                    self.bits
                ));
            }
        }
        Ok(match self.bits {
            8 => bytes,
            16 => bytes
                .chunks_exact(2)
                .map(|pair| pair[usize::from(tags.little)])
                .collect(),
            bits => unpack(&bytes, wide * each, bits),
        })
    }

    fn word(&self, row: &[u8], at: usize) -> u16 {
        let pair = [row[at], row[at + 1]];
        if self.tags.little {
            u16::from_le_bytes(pair)
        } else {
            u16::from_be_bytes(pair)
        }
    }

    /// Samples to colours.
    fn picture(&self, samples: &[u8]) -> Result<DynamicImage, String> {
        let (width, height) = (self.width as u32, self.height as u32);
        let pixels = samples.chunks_exact(self.samples);
        // Pillow takes a file that does not say for white on 0.
        match self
            .tags
            .first(tag::INTERPRETATION)
            .unwrap_or(WHITE_IS_ZERO)
        {
            kind @ (WHITE_IS_ZERO | BLACK_IS_ZERO) => {
                let flip = if kind == WHITE_IS_ZERO { 255 } else { 0 };
                let scale = scale(self.bits);
                let values = samples.iter().enumerate().map(|(i, value)| {
                    let flip = if i % self.samples == 0 { flip } else { 0 };
                    (value * scale) ^ flip
                });
                self.with_alpha(1, &values.collect::<Vec<_>>())
            }
            RGB if self.samples >= 3 => self.with_alpha(3, samples),
            PALETTE => {
                let numbers: Vec<u8> = pixels.map(|pixel| pixel[0]).collect();
                let mut picture = self.palette()?.picture(width, height, &numbers)?;
                if self.samples == 2 && self.extra() == Some(Extra::Straight) {
                    let mut rgba = picture.into_rgba8();
                    rgba.pixels_mut()
                        .zip(samples.chunks_exact(2))
                        .for_each(|(p, s)| p.0[3] = s[1]);
                    picture = rgba.into();
                }
                Ok(picture)
            }
            INKS if self.samples >= 4 => {
                let pixels = pixels.flat_map(|p| from_inks([p[0], p[1], p[2], p[3]]));
                build(width, height, 3, pixels.collect())
            }
            YCBCR if self.samples == 3 => {
                let subsampling = self
                    .tags
                    .all(tag::SUBSAMPLING)
                    .unwrap_or_else(|| vec![2, 2]);
                if self.compression != JPEG && subsampling != [1, 1] {
                    return Err("its colours have fewer pixels than its brightness, which is read of JPEG only".into());
                }
                build(
                    width,
                    height,
                    3,
                    pixels
                        .flat_map(|p| from_ycbcr([p[0], p[1], p[2]]))
                        .collect(),
                )
            }
            YCBCR if self.samples == 1 => self.with_alpha(1, samples),
            8..=10 => Err("its colours are Lab, which is not read".into()),
            other => Err(format!(
                "its colours are of kind {other} with {} samples, which is not read",
                self.samples
            )),
        }
    }

    /// What the first sample beyond the colours is, where the file says.
    fn extra(&self) -> Option<Extra> {
        Some(match self.tags.first(tag::EXTRA)? {
            1 => Extra::Multiplied,
            // 999 is what a drawing program writes.
            2 | 999 => Extra::Straight,
            _ => Extra::Unknown,
        })
    }

    /// The first `colours` samples, and the next as alpha where it is that.
    fn with_alpha(&self, colours: usize, samples: &[u8]) -> Result<DynamicImage, String> {
        // Beside three colours a sample that nothing is said of is alpha.
        let default = if colours == 3 {
            Extra::Straight
        } else {
            Extra::Unknown
        };
        let extra = self.extra().unwrap_or(default);
        let alpha = extra != Extra::Unknown && self.samples > colours;
        let mut pixels = Vec::with_capacity(samples.len());
        for pixel in samples.chunks_exact(self.samples) {
            let (values, rest) = pixel.split_at(colours);
            match rest.first() {
                Some(&of) if alpha && extra == Extra::Multiplied && of > 0 => {
                    let divide = |v: &u8| (255 * u32::from(*v) / u32::from(of)).min(255) as u8;
                    pixels.extend(values.iter().map(divide));
                }
                _ => pixels.extend(values),
            }
            if alpha {
                pixels.push(rest[0]);
            }
        }
        let (width, height) = (self.width as u32, self.height as u32);
        build(width, height, colours + usize::from(alpha), pixels)
    }

    /// All reds, all greens, all blues, in 16 bits each.
    fn palette(&self) -> Result<Palette, String> {
        let map = self.tags.all(tag::COLOUR_MAP).ok_or("it has no palette")?;
        let count = map.len() / 3;
        if self.bits > 8 || count == 0 {
            return Err(format!(
                "its palette has {count} colours of {} bits",
                self.bits
            ));
        }
        let colour =
            |i: usize| [map[i], map[count + i], map[2 * count + i]].map(|value| (value >> 8) as u8);
        let colours: Vec<u8> = (0..count.min(256)).flat_map(colour).collect();
        Ok(Palette::new(&colours))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    Straight,
    /// The colours are multiplied with it already.
    Multiplied,
    Unknown,
}
