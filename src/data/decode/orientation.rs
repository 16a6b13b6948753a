//! How a camera was held: the tag `Orientation` of EXIF, or of XMP where EXIF does not say.

use image::metadata::Orientation;

/// The orientation that metadata tell; as they lie if they tell none.
pub(super) fn of(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let told = exif.and_then(of_exif).or_else(|| xmp.and_then(of_xmp));
    from(told.unwrap_or(1))
}

/// The orientation of a number; those beyond 8 mean nothing.
pub(super) fn from(number: u32) -> Orientation {
    let number = u8::try_from(number).ok();
    number
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

/// The number in a block of EXIF, which is a TIFF file without pictures. Read here because other readers want the number
/// in 16 bits, and no mark before the block; files have it in 8 and 32 as well.
fn of_exif(block: &[u8]) -> Option<u32> {
    let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    let little = match block.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let number = |at: usize, bytes: usize| -> Option<u32> {
        let found = block.get(at..at.checked_add(bytes)?)?;
        let add = |sum: u32, byte: &u8| (sum << 8) | u32::from(*byte);
        Some(match little {
            true => found.iter().rev().fold(0, add),
            false => found.iter().fold(0, add),
        })
    };
    let first = number(4, 4)? as usize;
    let entries = number(first, 2)? as usize;
    (0..entries).find_map(|i| {
        let entry = first.checked_add(2 + 12 * i)?;
        let bytes = match number(entry + 2, 2)? {
            1 | 6 => 1,
            3 | 8 => 2,
            4 | 9 => 4,
            _ => return None,
        };
        (number(entry, 2)? == 0x112).then(|| number(entry + 8, bytes))?
    })
}

/// The number in a text of XMP: `tiff:Orientation="6"` or `<tiff:Orientation>6<`.
fn of_xmp(text: &[u8]) -> Option<u32> {
    let key = b"tiff:Orientation";
    let after = text
        .windows(key.len())
        .enumerate()
        .filter(|(_, word)| word == key);
    let digit = |byte: Option<&u8>| {
        byte.filter(|b| b.is_ascii_digit())
            .map(|b| u32::from(b - b'0'))
    };
    after
        .map(|(i, _)| &text[i + key.len()..])
        .find_map(|rest| match rest {
            [b'=', b'"', ..] => digit(rest.get(2)),
            [b'>', ..] => digit(rest.get(1)),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with one entry.
    pub(super) fn block(little: bool, kind: u16, value: u32) -> Vec<u8> {
        let two = |n: u16| {
            if little {
                n.to_le_bytes()
            } else {
                n.to_be_bytes()
            }
        };
        let four = |n: u32| {
            if little {
                n.to_le_bytes()
            } else {
                n.to_be_bytes()
            }
        };
        let mut block = if little {
            b"II*\0".to_vec()
        } else {
            b"MM\0*".to_vec()
        };
        block.extend(four(8));
        block.extend(two(1));
        block.extend(two(0x112));
        block.extend(two(kind));
        block.extend(four(1));
        match kind {
            1 => block.extend([value as u8, 0, 0, 0]),
            3 => block.extend([two(value as u16), [0; 2]].concat()),
            _ => block.extend(four(value)),
        }
        block
    }

    #[test]
    fn exif_is_read_in_both_orders_and_all_widths() {
        for little in [true, false] {
            for kind in [1, 3, 4] {
                let block = block(little, kind, 6);
                assert_eq!(of(Some(&block), None), Orientation::Rotate90);
                let marked = [&b"Exif\0\0"[..], &block].concat();
                assert_eq!(of(Some(&marked), None), Orientation::Rotate90);
            }
        }
        assert_eq!(
            of(Some(&block(true, 3, 9)), None),
            Orientation::NoTransforms
        );
    }

    #[test]
    fn xmp_speaks_where_exif_does_not() {
        let xmp = br#"<x tiff:Make="a" tiff:Orientation="3"/>"#;
        assert_eq!(of(None, Some(xmp)), Orientation::Rotate180);
        assert_eq!(
            of(None, Some(b"<tiff:Orientation>8</")),
            Orientation::Rotate270
        );
        assert_eq!(
            of(Some(&block(true, 3, 6)), Some(xmp)),
            Orientation::Rotate90
        );
        assert_eq!(
            of(None, Some(b"tiff:Orientation")),
            Orientation::NoTransforms
        );
    }

    #[test]
    fn damaged_blocks_tell_nothing() {
        let whole = block(true, 3, 6);
        for end in 0..20 {
            assert_eq!(of(Some(&whole[..end]), None), Orientation::NoTransforms);
        }
        let far = [b"II*\0", &u32::MAX.to_le_bytes()[..]].concat();
        assert_eq!(of(Some(&far), None), Orientation::NoTransforms);
    }
}
