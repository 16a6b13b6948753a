//! The tags of a TIFF file's first page.

use std::collections::BTreeMap;

/// Tags by their numbers in the specification.
pub(super) mod tag {
    pub(in super::super) const WIDTH: u16 = 256;
    pub(in super::super) const HEIGHT: u16 = 257;
    pub(in super::super) const BITS: u16 = 258;
    pub(in super::super) const COMPRESSION: u16 = 259;
    pub(in super::super) const INTERPRETATION: u16 = 262;
    pub(in super::super) const FILL_ORDER: u16 = 266;
    pub(in super::super) const STRIP_OFFSETS: u16 = 273;
    pub(in super::super) const ORIENTATION: u16 = 274;
    pub(in super::super) const SAMPLES: u16 = 277;
    pub(in super::super) const ROWS_PER_STRIP: u16 = 278;
    pub(in super::super) const STRIP_COUNTS: u16 = 279;
    pub(in super::super) const PLANES: u16 = 284;
    pub(in super::super) const PREDICTOR: u16 = 317;
    pub(in super::super) const COLOUR_MAP: u16 = 320;
    pub(in super::super) const TILE_WIDTH: u16 = 322;
    pub(in super::super) const TILE_HEIGHT: u16 = 323;
    pub(in super::super) const TILE_OFFSETS: u16 = 324;
    pub(in super::super) const TILE_COUNTS: u16 = 325;
    pub(in super::super) const EXTRA: u16 = 338;
    pub(in super::super) const FORMAT: u16 = 339;
    pub(in super::super) const JPEG_TABLES: u16 = 347;
    pub(in super::super) const SUBSAMPLING: u16 = 530;
    pub(in super::super) const XMP: u16 = 700;
}

/// A file and where the values of its first page's tags are.
pub(super) struct Directory<'a> {
    file: &'a [u8],
    pub(super) little: bool,
    /// Type, number of values, place.
    entries: BTreeMap<u16, (u16, usize, usize)>,
    /// Whether another page follows.
    pub(super) more: bool,
}

/// Texts, dates, resolutions, transfer functions and other tags of the specification that pixels do not depend on.
const UNUSED: [u16; 23] = [
    269, 270, 271, 272, 282, 283, 285, 286, 287, 288, 289, 290, 291, 296, 297, 300, 301, 305, 306,
    315, 316, 318, 319,
];

/// Bytes of a value of each type; 0 for types that are no numbers.
fn width(kind: u16) -> usize {
    match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 13 => 4,
        16..=18 => 8,
        _ => 0,
    }
}

impl<'a> Directory<'a> {
    /// Reads the first page's tags. Values that lie outside the file are an error, but for those that only say something of
    /// the picture as a whole: without them pixels would be taken for something else.
    pub(super) fn read(file: &'a [u8]) -> Result<Self, String> {
        let mut directory = Self {
            file,
            little: file.starts_with(b"II"),
            entries: BTreeMap::new(),
            more: false,
        };
        directory.scan().ok_or("it ends before its tags")?;
        Ok(directory)
    }

    fn scan(&mut self) -> Option<()> {
        let big = self.number(2, 2)? == 43;
        // Bytes of an offset, of the number of entries, and of an entry.
        let (offset, count, entry) = if big { (8, 8, 20) } else { (4, 2, 12) };
        let start = usize::try_from(self.number(offset, offset)?).ok()?;
        let entries = usize::try_from(self.number(start, count)?).ok()?.min(4096);
        for i in 0..entries {
            let at = start.checked_add(count + entry * i)?;
            let (tag, kind) = (self.number(at, 2)? as u16, self.number(at + 2, 2)? as u16);
            let values = usize::try_from(self.number(at + 4, offset)?).ok()?;
            let place = at + 4 + offset;
            let Some(bytes) = values.checked_mul(width(kind)).filter(|bytes| *bytes > 0) else {
                continue;
            };
            let place = if bytes <= offset {
                place
            } else {
                usize::try_from(self.number(place, offset)?).ok()?
            };
            let inside = place
                .checked_add(bytes)
                .is_some_and(|end| end <= self.file.len());
            let needed =
                tag <= tag::SUBSAMPLING && tag != tag::ORIENTATION && !UNUSED.contains(&tag);
            if inside {
                self.entries.entry(tag).or_insert((kind, values, place));
            } else if needed {
                return None;
            }
        }
        self.more = self
            .number(start + count + entry * entries, offset)
            .is_some_and(|next| next != 0);
        Some(())
    }

    fn number(&self, at: usize, bytes: usize) -> Option<u64> {
        let found = self.file.get(at..at.checked_add(bytes)?)?;
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Some(match self.little {
            true => found.iter().rev().fold(0, add),
            false => found.iter().fold(0, add),
        })
    }

    /// The bytes of a tag's values.
    pub(super) fn bytes(&self, tag: u16) -> Option<&'a [u8]> {
        let (kind, values, place) = *self.entries.get(&tag)?;
        self.file.get(place..place + values * width(kind))
    }

    /// The values of a tag.
    pub(super) fn all(&self, tag: u16) -> Option<Vec<u64>> {
        let (kind, values, place) = *self.entries.get(&tag)?;
        let width = width(kind);
        (0..values)
            .map(|i| self.number(place + i * width, width))
            .collect()
    }

    /// The first value of a tag.
    pub(super) fn first(&self, tag: u16) -> Option<u64> {
        let (kind, _, place) = *self.entries.get(&tag)?;
        self.number(place, width(kind))
    }

    /// The file from a place on.
    pub(super) fn rest(&self, offset: u64) -> &'a [u8] {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.file.get(offset..).unwrap_or_default()
    }

    /// A piece of the file.
    pub(super) fn piece(&self, offset: u64, count: u64) -> Option<&'a [u8]> {
        let (offset, count) = (usize::try_from(offset).ok()?, usize::try_from(count).ok()?);
        self.file.get(offset..offset.checked_add(count)?)
    }
}
