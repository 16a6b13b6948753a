//! What came of one batch, as bytes with a checksum: a file of them can be cut off anywhere.

use fewstep::model::hash_bytes;
use std::io::Read;

/// What was found of a batch of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Features, image after image.
    pub rows: Vec<f32>,
    /// Other figures.
    pub numbers: Vec<f64>,
    /// What is to be said in the end.
    pub note: String,
}

/// Bytes of a length or a checksum.
const WORD: usize = 8;

impl Record {
    /// Its length, its parts, and a checksum of both.
    pub fn to_bytes(&self) -> Vec<u8> {
        let lengths = [self.rows.len(), self.numbers.len(), self.note.len()];
        let size = 4 * WORD + 4 * lengths[0] + 8 * lengths[1] + lengths[2];
        let mut bytes = Vec::with_capacity(size + WORD);
        bytes.extend((size as u64).to_le_bytes());
        for length in lengths {
            bytes.extend((length as u64).to_le_bytes());
        }
        self.rows.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
        self.numbers
            .iter()
            .for_each(|v| bytes.extend(v.to_le_bytes()));
        bytes.extend(self.note.as_bytes());
        bytes.extend(checksum(&bytes));
        bytes
    }

    /// Reads the next one and returns how many bytes it took; `None` at the end, or for one that is not whole. At most `most`
    /// bytes are left.
    pub fn read(from: &mut impl Read, most: u64) -> Option<(Self, u64)> {
        let mut bytes = vec![0; WORD];
        from.read_exact(&mut bytes).ok()?;
        let size = word(&bytes, 0)?;
        let fits = (4 * WORD as u64..most).contains(&size) && size + WORD as u64 <= most;
        let size = usize::try_from(size).ok().filter(|_| fits)?;
        bytes.resize(size, 0);
        from.read_exact(&mut bytes[WORD..]).ok()?;
        let mut sum = [0; WORD];
        from.read_exact(&mut sum).ok()?;
        if sum != checksum(&bytes) {
            return None;
        }
        let length = |i: usize| usize::try_from(word(&bytes, i * WORD)?).ok();
        let (rows, numbers, note) = (length(1)?, length(2)?, length(3)?);
        let (rows, numbers) = (rows.checked_mul(4)?, numbers.checked_mul(8)?);
        let rest = bytes.get(4 * WORD..)?;
        if rows.checked_add(numbers)?.checked_add(note)? != rest.len() {
            return None;
        }
        let (rows, rest) = rest.split_at(rows);
        let (numbers, note) = rest.split_at(numbers);
        let rows = rows.as_chunks().0.iter().copied().map(f32::from_le_bytes);
        let numbers = numbers.as_chunks().0.iter().copied();
        let record = Self {
            rows: rows.collect(),
            numbers: numbers.map(f64::from_le_bytes).collect(),
            note: String::from_utf8(note.to_vec()).ok()?,
        };
        Some((record, (size + WORD) as u64))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at + WORD)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}

/// The first digits of a hash.
fn checksum(bytes: &[u8]) -> [u8; WORD] {
    let mut sum = [0; WORD];
    let digits = hash_bytes(bytes).into_bytes();
    for (to, from) in sum.iter_mut().zip(digits) {
        *to = from;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_far_as_they_are_whole() {
        let records = [
            Record {
                rows: vec![1.0, f32::MIN_POSITIVE, -3.5],
                numbers: vec![0.1, -7.0],
                note: "a picture: why".into(),
            },
            Record::default(),
        ];
        let bytes: Vec<u8> = records.iter().flat_map(Record::to_bytes).collect();
        let first = records[0].to_bytes().len();
        let read = |bytes: &[u8]| {
            let (mut from, mut left, mut found) = (bytes, bytes.len() as u64, Vec::new());
            while let Some((record, size)) = Record::read(&mut from, left) {
                left -= size;
                found.push(record);
            }
            found
        };
        assert_eq!(read(&bytes), records);
        for cut in 0..bytes.len() {
            let whole = usize::from(cut >= first);
            assert_eq!(read(&bytes[..cut]), records[..whole], "{cut}");
        }
        for at in 0..bytes.len() {
            let mut spoilt = bytes.clone();
            spoilt[at] ^= 0x40;
            assert!(read(&spoilt).len() < 2, "{at}");
        }
    }
}
