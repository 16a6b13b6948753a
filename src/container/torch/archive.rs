//! The directory of a zip archive, as torch writes it: entries are stored, not compressed, so a tensor can be read from
//! where it lies.
//!
//! Our own hundred lines, because every entry is checked for lying inside the file and apart from the others, and paid
//! for, before anything is allocated.

use crate::Error;
use crate::container::source::{Cursor, LazyFile, Span};
use std::collections::BTreeMap;

/// The stored entries of an archive, by name.
#[derive(Debug)]
pub(in crate::container) struct Archive {
    entries: BTreeMap<String, Span>,
}

const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const ENTRY: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;
/// Length of the end record, and of what may follow it.
const END_LEN: u64 = 22;
const LONGEST_COMMENT: u64 = 0xffff;
/// Largest directory, in bytes: seventy thousand tensors.
const LARGEST_DIRECTORY: u64 = 8 << 20;

/// An entry as the directory describes it.
struct Entry {
    name: String,
    header: u64,
    len: u64,
}

impl Archive {
    pub(in crate::container) fn read(source: &LazyFile) -> Result<Self, Error> {
        let (directory, count) = directory(source)?;
        let mut cursor = Cursor::new(source, directory);
        let mut found = Vec::new();
        for _ in 0..count {
            found.push(entry(&mut cursor)?);
        }
        // By place, so that overlaps are neighbours.
        found.sort_by_key(|e| e.header);
        let mut entries = BTreeMap::new();
        let mut free = 0;
        for Entry { name, header, len } in found {
            if header < free {
                return Err(wrong(source, format!("entry {name} overlaps another one")));
            }
            let span = data(source, &name, header, len, directory.start)?;
            free = span.end();
            if entries.contains_key(&name) {
                return Err(wrong(source, format!("there are two entries {name}")));
            }
            entries.insert(name, span);
        }
        Ok(Self { entries })
    }

    pub(in crate::container) fn find(&self, name: &str) -> Option<Span> {
        self.entries.get(name).copied()
    }

    pub(in crate::container) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}

/// Where the directory is, and how many entries it has.
fn directory(source: &LazyFile) -> Result<(Span, u64), Error> {
    let len = (END_LEN + LONGEST_COMMENT).min(source.len());
    let tail = Span {
        start: source.len() - len,
        len,
    };
    let bytes = source.read(tail)?;
    let is_end = |at: &usize| {
        bytes[*at..].starts_with(&END.to_le_bytes()) && {
            let comment = u16::from_le_bytes([bytes[at + 20], bytes[at + 21]]);
            at + END_LEN as usize + usize::from(comment) == bytes.len()
        }
    };
    let last = bytes.len().saturating_sub(END_LEN as usize);
    let candidates = (0..=last)
        .rev()
        .filter(|at| at + END_LEN as usize <= bytes.len());
    let Some(at) = candidates.into_iter().find(is_end) else {
        return Err(wrong(
            source,
            "its directory is missing; the file may be cut off".into(),
        ));
    };
    let word = |i: usize| u64::from(u16::from_le_bytes([bytes[at + i], bytes[at + i + 1]]));
    let long = |i: usize| word(i) | word(i + 2) << 16;
    let (mut count, mut size, mut start) = (word(10), long(12), long(16));
    let end = tail.start + at as u64;
    let mut limit = end;
    if (count, size, start).0 == 0xffff || size == 0xffff_ffff || start == 0xffff_ffff {
        (count, size, start, limit) = directory_64(source, end)?;
    }
    let fits = start.checked_add(size).is_some_and(|e| e <= limit);
    if !fits || count.saturating_mul(46) > size || size > LARGEST_DIRECTORY {
        let reason = format!(
            "its directory of {count} entries and {size} bytes at byte {start} does not fit"
        );
        return Err(wrong(source, reason));
    }
    Ok((Span { start, len: size }, count))
}

/// As said by the 64-bit record before `end`: count, size, start, and where that record begins.
fn directory_64(source: &LazyFile, end: u64) -> Result<(u64, u64, u64, u64), Error> {
    let missing = || wrong(source, "its 64-bit directory is missing".into());
    let locator = end.checked_sub(20).ok_or_else(missing)?;
    let mut cursor = Cursor::new(
        source,
        Span {
            start: locator,
            len: 20,
        },
    );
    if u32::from_le_bytes(cursor.array()?) != LOCATOR_64 {
        return Err(missing());
    }
    cursor.span(4)?;
    let record = u64::from_le_bytes(cursor.array()?);
    let span = source.span(record, 56).filter(|s| s.end() <= locator);
    let mut cursor = Cursor::new(source, span.ok_or_else(missing)?);
    if u32::from_le_bytes(cursor.array()?) != END_64 {
        return Err(missing());
    }
    cursor.span(28)?;
    let count = u64::from_le_bytes(cursor.array()?);
    let size = u64::from_le_bytes(cursor.array()?);
    let start = u64::from_le_bytes(cursor.array()?);
    Ok((count, size, start, record))
}

/// The next entry of the directory.
fn entry(cursor: &mut Cursor<'_>) -> Result<Entry, Error> {
    let source = cursor.source();
    if u32::from_le_bytes(cursor.array()?) != ENTRY {
        return Err(wrong(
            source,
            format!("at byte {} there is no entry", cursor.position()),
        ));
    }
    cursor.span(4)?;
    let flags = u16::from_le_bytes(cursor.array()?);
    let method = u16::from_le_bytes(cursor.array()?);
    cursor.span(8)?;
    let mut packed = u64::from(u32::from_le_bytes(cursor.array()?));
    let mut len = u64::from(u32::from_le_bytes(cursor.array()?));
    let [name, extra, comment] = [cursor.array()?, cursor.array()?, cursor.array()?]
        .map(|b| u64::from(u16::from_le_bytes(b)));
    cursor.span(8)?;
    let mut header = u64::from(u32::from_le_bytes(cursor.array()?));
    let name = String::from_utf8_lossy(&cursor.bytes(name)?).into_owned();
    let extra = cursor.bytes(extra)?;
    cursor.span(comment)?;
    // Sizes beyond 32 bits are in an extra field, those that do not fit only, in this order.
    let mut wide = extra_64(&extra);
    for value in [&mut len, &mut packed, &mut header] {
        if *value == 0xffff_ffff {
            *value = wide
                .next()
                .ok_or_else(|| wrong(source, format!("entry {name} has no 64-bit size")))?;
        }
    }
    if flags & 1 != 0 {
        return Err(wrong(source, format!("entry {name} is encrypted")));
    }
    if method != 0 || packed != len {
        return Err(wrong(
            source,
            format!(
                "entry {name} is compressed, which torch never does; unpack it and pack it again without"
            ),
        ));
    }
    Ok(Entry { name, header, len })
}

/// The 64-bit numbers of the extra field with identifier 1.
fn extra_64(extra: &[u8]) -> impl Iterator<Item = u64> + use<> {
    let mut rest = extra;
    let mut found = Vec::new();
    while let Some(([a, b, c, d], body)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_le_bytes([*c, *d])).min(body.len());
        if u16::from_le_bytes([*a, *b]) == 1 {
            let words = body[..len].as_chunks::<8>().0;
            found.extend(words.iter().map(|w| u64::from_le_bytes(*w)));
            break;
        }
        rest = &body[len..];
    }
    found.into_iter()
}

/// Where an entry's bytes are; the directory starts at `limit`.
fn data(source: &LazyFile, name: &str, header: u64, len: u64, limit: u64) -> Result<Span, Error> {
    let oversized = || {
        let reason = format!("entry {name} of {len} bytes does not lie inside the file");
        wrong(source, reason)
    };
    let fixed = source.span(header, 30).ok_or_else(oversized)?;
    let mut cursor = Cursor::new(source, fixed);
    if u32::from_le_bytes(cursor.array()?) != LOCAL {
        return Err(wrong(
            source,
            format!("entry {name} does not start at byte {header}"),
        ));
    }
    cursor.span(22)?;
    let more = u64::from(u16::from_le_bytes(cursor.array()?))
        + u64::from(u16::from_le_bytes(cursor.array()?));
    let span = source.span(fixed.end() + more, len);
    span.filter(|s| s.end() <= limit).ok_or_else(oversized)
}

fn wrong(source: &LazyFile, reason: String) -> Error {
    source.broken("torch zip archive", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor as Memory, Write};
    use std::path::Path;
    use zip::write::{SimpleFileOptions, ZipWriter};

    fn archive(method: zip::CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(Memory::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for (name, text) in [
            ("x/data.pkl", "pickle"),
            ("x/data/0", "0123"),
            ("x/empty", ""),
        ] {
            zip.start_file(name, options).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.set_comment("PK\u{5}\u{6} in a comment").unwrap();
        zip.finish().unwrap().into_inner()
    }

    fn read(bytes: Vec<u8>) -> Result<Archive, Error> {
        Archive::read(&LazyFile::memory(bytes, Path::new("x.pt")))
    }

    #[test]
    fn entries_are_found_where_they_lie() {
        let bytes = archive(zip::CompressionMethod::Stored);
        let found = read(bytes.clone()).unwrap();
        assert_eq!(
            found.names().collect::<Vec<_>>(),
            ["x/data.pkl", "x/data/0", "x/empty"]
        );
        let span = found.find("x/data/0").unwrap();
        assert_eq!(&bytes[span.start as usize..span.end() as usize], b"0123");
        assert_eq!(found.find("x/empty").unwrap().len, 0);
        assert!(found.find("y").is_none());
    }

    #[test]
    fn what_is_not_stored_inside_the_file_is_refused() {
        let packed = read(archive(zip::CompressionMethod::Deflated)).unwrap_err();
        assert!(packed.to_string().contains("compressed"), "{packed}");
        let bytes = archive(zip::CompressionMethod::Stored);
        let place = |what: &[u8]| bytes.windows(what.len()).rposition(|w| w == what).unwrap();
        // The directory's entry of data/0: sizes 26 and 22 bytes before its name, place of its header 4 before.
        let name = place(b"x/data/0");
        let mut oversized = bytes.clone();
        oversized[name - 26..name - 18].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
        let error = read(oversized).unwrap_err().to_string();
        assert!(error.contains("x/data/0 of 16777216 bytes"), "{error}");
        let mut overlapping = bytes.clone();
        overlapping[name - 4..name].copy_from_slice(&[0; 4]);
        let error = read(overlapping).unwrap_err().to_string();
        assert!(error.contains("overlaps"), "{error}");
        for len in 0..bytes.len() {
            assert!(read(bytes[..len].to_vec()).is_err(), "{len}");
        }
    }
}
