//! How the pixels of a TIFF file are packed: one strip or tile to its bytes.

use super::super::jpeg::Raw;
use super::super::pixel::text;
use flate2::read::ZlibDecoder;
use std::convert::Infallible;
use std::io::Read;
use weezl::{BitOrder, LzwStatus};

/// Values of the tag `Compression`.
pub(super) const JPEG: u64 = 7;

/// What a strip or a tile comes to: rows of `row` bytes each.
pub(super) struct Chunk<'a> {
    pub(super) compression: u64,
    /// Pixels in a row.
    pub(super) width: usize,
    pub(super) row: usize,
    pub(super) rows: usize,
    /// Samples of each of the pixels.
    pub(super) samples: usize,
    pub(super) tables: Option<&'a [u8]>,
}

const SHORT: &str = "its pixels end too soon";

impl Chunk<'_> {
    /// Unpacks all rows, or says why not.
    pub(super) fn unpack(&self, packed: &[u8]) -> Result<Vec<u8>, String> {
        let size = self.row.checked_mul(self.rows).ok_or("it is too large")?;
        let bytes = match self.compression {
            1 => packed.get(..size).ok_or(SHORT)?.to_vec(),
            4 => self.group4(packed)?,
            5 => lzw(packed, size)?,
            JPEG => self.jpeg(packed)?,
            8 | 32946 => {
                let mut bytes = Vec::new();
                let read = ZlibDecoder::new(packed)
                    .take(size as u64)
                    .read_to_end(&mut bytes);
                read.map_err(text)?;
                bytes
            }
            32773 => pack_bits(packed, size),
            2 | 3 => return Err("it is packed as a fax of Group 3, which is not read".into()),
            6 => return Err("it is packed as JPEG of the old kind, which is not read".into()),
            other => return Err(format!("it is packed by method {other}, which is not read")),
        };
        if bytes.len() < size {
            return Err(SHORT.into());
        }
        Ok(bytes)
    }

    /// Black is 1, white 0, as libtiff has them.
    fn group4(&self, packed: &[u8]) -> Result<Vec<u8>, String> {
        let width = u16::try_from(self.width).map_err(|_| "it is too wide for a fax")?;
        let input = packed.iter().map(|byte| Ok::<u8, Infallible>(*byte));
        let mut decoder = fax::decoder::Group4Decoder::new(input, width).map_err(text)?;
        let mut bytes = vec![0; self.row * self.rows];
        for row in bytes.chunks_exact_mut(self.row) {
            match decoder.advance() {
                Ok(fax::decoder::DecodeStatus::Incomplete) => {}
                _ => return Err(SHORT.into()),
            }
            for (i, colour) in fax::decoder::pels(decoder.transition(), width).enumerate() {
                row[i / 8] |= u8::from(colour == fax::Color::Black) << (7 - i % 8);
            }
        }
        Ok(bytes)
    }

    /// Without changing colours: those are told by the file's own tags. Tables that all strips share stand before each.
    fn jpeg(&self, packed: &[u8]) -> Result<Vec<u8>, String> {
        let tables = self
            .tables
            .and_then(|tables| tables.strip_suffix(b"\xff\xd9"));
        let whole = match (tables, packed.strip_prefix(b"\xff\xd8")) {
            (Some(tables), Some(rest)) => [tables, rest].concat(),
            _ => packed.to_vec(),
        };
        let raw = Raw::read(&whole)?;
        let (width, height) = (raw.width as usize, raw.height as usize);
        if raw.channels != self.samples || width != self.width || height < self.rows {
            return Err(format!(
                "a piece of {width} x {height} pixels with {} samples each is not what its tags say",
                raw.channels
            ));
        }
        Ok(raw.samples)
    }
}

fn lzw(packed: &[u8], size: usize) -> Result<Vec<u8>, String> {
    // Before version 6 of the format the bits lay the other way round; such a strip begins with 0 and an odd byte.
    let mut decoder = match packed {
        [0, second, ..] if second & 1 == 1 => weezl::decode::Decoder::new(BitOrder::Lsb, 8),
        _ => weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8),
    };
    let mut bytes = vec![0; size];
    let (mut read, mut written) = (0, 0);
    while written < size {
        let step = decoder.decode_bytes(&packed[read..], &mut bytes[written..]);
        read += step.consumed_in;
        written += step.consumed_out;
        match step.status.map_err(text)? {
            LzwStatus::Ok => {}
            LzwStatus::NoProgress | LzwStatus::Done => break,
        }
    }
    bytes.truncate(written);
    Ok(bytes)
}

fn pack_bits(packed: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size.min(1 << 24));
    let mut rest = packed;
    while bytes.len() < size
        && let [count, after @ ..] = rest
    {
        rest = match *count {
            0..=127 => {
                let (piece, after) = after.split_at((usize::from(*count) + 1).min(after.len()));
                bytes.extend(piece);
                after
            }
            128 => after,
            129..=255 => {
                let [value, after @ ..] = after else { break };
                bytes.extend(std::iter::repeat_n(*value, 257 - usize::from(*count)));
                after
            }
        };
    }
    bytes.truncate(size);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_pieces_are_unpacked() {
        assert_eq!(pack_bits(&[254, 7, 128, 1, 8, 9], 5), [7, 7, 7, 8, 9]);
        assert_eq!(pack_bits(&[254, 7], 2), [7, 7]);
        assert_eq!(pack_bits(&[5, 1, 2], 6), [1, 2]);
        assert!(pack_bits(&[254], 6).is_empty());
    }

    #[test]
    fn too_few_bytes_are_an_error_in_every_packing() {
        for compression in [1, 4, 5, 7, 8, 32773] {
            let chunk = Chunk {
                compression,
                width: 8,
                row: 8,
                rows: 2,
                samples: 1,
                tables: None,
            };
            assert!(chunk.unpack(&[]).is_err(), "{compression}");
        }
    }
}
