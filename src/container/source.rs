//! Where bytes come from: a file that is read in pieces, or memory. Nothing here trusts a length.

use crate::Error;
use crate::file::{hash_bytes, hash_file};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A file that is never loaded whole.
#[derive(Debug)]
pub(crate) struct LazyFile {
    path: PathBuf,
    len: u64,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    File(Mutex<std::fs::File>),
    Memory(Vec<u8>),
}

/// A part of a source, known to lie inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Span {
    pub(crate) fn end(self) -> u64 {
        self.start + self.len
    }
}

impl LazyFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = std::fs::File::open(path).map_err(Error::file("read", path))?;
        let metadata = file.metadata().map_err(Error::file("read", path))?;
        if metadata.is_dir() {
            return Err(Error::file("read", path)(
                std::io::ErrorKind::IsADirectory.into(),
            ));
        }
        Ok(Self {
            path: path.to_path_buf(),
            len: metadata.len(),
            bytes: Bytes::File(Mutex::new(file)),
        })
    }

    /// Bytes that are in memory already; `path` is for messages.
    pub(crate) fn memory(bytes: Vec<u8>, path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            len: bytes.len() as u64,
            bytes: Bytes::Memory(bytes),
        }
    }

    /// SHA-256 of the whole, in hexadecimal.
    pub(crate) fn hash(&self) -> Result<String, Error> {
        match &self.bytes {
            Bytes::Memory(bytes) => Ok(hash_bytes(bytes)),
            Bytes::File(_) => hash_file(&self.path),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The whole of it.
    pub(crate) fn whole(&self) -> Span {
        Span {
            start: 0,
            len: self.len,
        }
    }

    /// The part from `start`, if it lies inside.
    pub(crate) fn span(&self, start: u64, len: u64) -> Option<Span> {
        (start.checked_add(len)? <= self.len).then_some(Span { start, len })
    }

    /// Fills `into` with the bytes from `at`.
    pub(crate) fn read_at(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        if self.span(at, into.len() as u64).is_none() {
            return Err(self.broken("checkpoint", format!("it ends before byte {at}")));
        }
        match &self.bytes {
            Bytes::Memory(bytes) => {
                let at = at as usize;
                into.copy_from_slice(&bytes[at..at + into.len()]);
                Ok(())
            }
            Bytes::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(at))
                    .and_then(|_| file.read_exact(into))
                    .map_err(Error::file("read", &self.path))
            }
        }
    }

    /// All bytes of a part; the caller has checked that it is small enough.
    pub(crate) fn read(&self, span: Span) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; span.len as usize];
        self.read_at(span.start, &mut bytes)?;
        Ok(bytes)
    }

    /// An error about the contents.
    pub(crate) fn broken(&self, expected: &'static str, reason: impl ToString) -> Error {
        Error::malformed(&self.path, expected, reason)
    }
}

/// Reads a part of a source from front to back.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    source: &'a LazyFile,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// Where the buffer starts in the source.
    buffered: u64,
}

/// Bytes read at once.
const BUFFER: u64 = 16 << 10;

impl<'a> Cursor<'a> {
    pub(crate) fn new(source: &'a LazyFile, span: Span) -> Self {
        Self {
            source,
            at: span.start,
            end: span.end(),
            buffer: Vec::new(),
            buffered: span.start,
        }
    }

    pub(crate) fn source(&self) -> &'a LazyFile {
        self.source
    }

    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    pub(crate) fn remaining(&self) -> u64 {
        self.end - self.at
    }

    /// What follows, and goes past it without reading it.
    pub(crate) fn span(&mut self, len: u64) -> Result<Span, Error> {
        if len > self.remaining() {
            return Err(self.cut(len));
        }
        let span = Span {
            start: self.at,
            len,
        };
        self.at += len;
        Ok(span)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        let span = self.span(N as u64)?;
        self.copy(span, &mut bytes)?;
        Ok(bytes)
    }

    /// The next `len` bytes; the caller has checked that they are few.
    pub(crate) fn bytes(&mut self, len: u64) -> Result<Vec<u8>, Error> {
        let span = self.span(len)?;
        let mut bytes = vec![0; len as usize];
        self.copy(span, &mut bytes)?;
        Ok(bytes)
    }

    /// Up to the next line feed, which is passed over; at most `most` bytes.
    pub(crate) fn line(&mut self, most: usize) -> Result<Vec<u8>, Error> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(line),
                byte if line.len() < most => line.push(byte),
                _ => {
                    let reason = format!("a line at byte {} is too long", self.at);
                    return Err(self.source.broken("pickle", reason));
                }
            }
        }
    }

    /// Copies a part that was just passed, through the buffer.
    fn copy(&mut self, span: Span, into: &mut [u8]) -> Result<(), Error> {
        if let Bytes::Memory(_) = self.source.bytes {
            return self.source.read_at(span.start, into);
        }
        let inside =
            |c: &Self| span.start >= c.buffered && span.end() <= c.buffered + c.buffer.len() as u64;
        if !inside(self) {
            if span.len > BUFFER {
                return self.source.read_at(span.start, into);
            }
            let len = BUFFER.min(self.end - span.start);
            self.buffer.resize(len as usize, 0);
            self.source.read_at(span.start, &mut self.buffer)?;
            self.buffered = span.start;
        }
        let from = (span.start - self.buffered) as usize;
        into.copy_from_slice(&self.buffer[from..from + into.len()]);
        Ok(())
    }

    fn cut(&self, len: u64) -> Error {
        let (at, left) = (self.at, self.remaining());
        let reason = format!("at byte {at} it says that {len} bytes follow, but there are {left}");
        self.source.broken("checkpoint", reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_ends() {
        let bytes: Vec<u8> = (0..=255).cycle().take(40_000).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, &bytes).unwrap();
        for source in [
            LazyFile::memory(bytes.clone(), Path::new("x")),
            LazyFile::open(&path).unwrap(),
        ] {
            let mut cursor = Cursor::new(&source, source.span(10, 39_990).unwrap());
            assert_eq!(cursor.byte().unwrap(), 10);
            assert_eq!(cursor.array::<3>().unwrap(), [11, 12, 13]);
            let skipped = cursor.span(20_000).unwrap();
            assert_eq!((skipped.start, skipped.end()), (14, 20_014));
            assert_eq!(cursor.bytes(19_000).unwrap(), bytes[20_014..39_014]);
            assert!(cursor.bytes(u64::MAX).is_err());
            assert_eq!(cursor.remaining(), 986);
            assert!(cursor.bytes(987).is_err());
            assert_eq!(cursor.bytes(986).unwrap(), bytes[39_014..]);
            assert!(cursor.byte().is_err());
            assert_eq!(source.span(u64::MAX, 2), None);
            assert_eq!(source.span(39_999, 2), None);
        }
        assert!(LazyFile::open(folder.path()).is_err());
    }

    #[test]
    fn lines_are_bounded() {
        let source = LazyFile::memory(b"ab\n\nlong".to_vec(), Path::new("x"));
        let mut cursor = Cursor::new(&source, source.whole());
        assert_eq!(cursor.line(2).unwrap(), b"ab");
        assert_eq!(cursor.line(2).unwrap(), b"");
        assert!(cursor.line(2).is_err());
    }
}
