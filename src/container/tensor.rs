//! Tensors that are still in the file: where they are, and how to read them.

use super::scalar::Scalar;
use super::source::{LazyFile, Span};
use crate::Error;

/// Consecutive numbers in a file, which one or more tensors are views of.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub(crate) scalar: Scalar,
    /// How many numbers.
    pub(crate) count: u64,
    /// What the torch file calls it.
    pub(crate) key: String,
    /// Where it is, once that is known.
    pub(crate) span: Option<Span>,
}

impl Storage {
    /// Its size, which was checked when it was made.
    pub(crate) fn bytes(&self) -> u64 {
        self.count.saturating_mul(self.scalar.size() as u64)
    }
}

/// A tensor as a view of a storage.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) storage: usize,
    pub(crate) scalar: Scalar,
    /// In numbers.
    offset: u64,
    pub(crate) shape: Vec<usize>,
    /// In numbers.
    strides: Vec<u64>,
}

/// Most dimensions.
const DIMENSIONS: usize = 8;
/// A tensor may be larger than its storage (a number that stands for many), but not than the file and this.
const SLACK: u64 = 64 << 10;

impl View {
    /// Checks that the view lies inside its storage and is not larger than a file of `file` bytes accounts for.
    pub(crate) fn new(
        storage: &Storage,
        index: usize,
        scalar: Scalar,
        offset: u64,
        shape: &[u64],
        strides: Vec<u64>,
        file: u64,
    ) -> Result<Self, String> {
        if shape.len() != strides.len() || shape.len() > DIMENSIONS {
            return Err(format!(
                "a tensor has {} sizes and {} strides; at most {DIMENSIONS} of each, and as many",
                shape.len(),
                strides.len()
            ));
        }
        let size = scalar.size() as u64;
        let too_large = || {
            format!("a tensor of shape {shape:?} is larger than the file, which is {file} bytes")
        };
        let count = shape.iter().try_fold(1u64, |n, s| n.checked_mul(*s));
        let count = count.ok_or_else(too_large)?;
        if count
            .checked_mul(size)
            .is_none_or(|b| b > file.saturating_add(SLACK))
        {
            return Err(too_large());
        }
        if count > 0 {
            let mut last = offset;
            for (len, stride) in shape.iter().zip(&strides) {
                let reach = stride.checked_mul(len - 1);
                let sum = reach.and_then(|reach| last.checked_add(reach));
                last = sum.ok_or_else(too_large)?;
            }
            let end = last.checked_add(1).and_then(|n| n.checked_mul(size));
            if end.is_none_or(|end| end > storage.bytes()) {
                return Err(format!(
                    "a tensor of shape {shape:?} reaches beyond its storage of {} {}",
                    storage.count, storage.scalar
                ));
            }
        }
        let shape: Option<Vec<usize>> = shape.iter().map(|s| usize::try_from(*s).ok()).collect();
        Ok(Self {
            storage: index,
            scalar,
            offset,
            shape: shape.ok_or("a tensor is too large for this machine")?,
            strides,
        })
    }
}

/// A tensor in a file, not read yet.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// The type of its numbers.
    pub scalar: Scalar,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// In numbers, from the start of `span`.
    offset: u64,
    strides: Vec<u64>,
    /// Its storage.
    span: Span,
}

/// Bytes read at once from a storage that is not read in order.
const BLOCK: u64 = 64 << 10;
/// Blocks that are kept.
const BLOCKS: usize = 256;

impl TensorInfo {
    /// A tensor whose numbers lie one after the other.
    pub(crate) fn contiguous(scalar: Scalar, shape: Vec<usize>, span: Span) -> Self {
        Self {
            scalar,
            strides: contiguous(&shape),
            shape,
            offset: 0,
            span,
        }
    }

    /// `span` is where the view's storage is.
    pub(crate) fn of(view: &View, span: Span) -> Self {
        Self {
            scalar: view.scalar,
            shape: view.shape.clone(),
            offset: view.offset,
            strides: view.strides.clone(),
            span,
        }
    }

    /// How many numbers.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its size in memory.
    pub fn bytes(&self) -> u64 {
        self.count() as u64 * self.scalar.size() as u64
    }

    /// All numbers, row-major, little-endian.
    pub(crate) fn read(&self, source: &LazyFile) -> Result<Vec<u8>, Error> {
        let size = self.scalar.size() as u64;
        let mut out = vec![0; self.bytes() as usize];
        if out.is_empty() {
            return Ok(out);
        }
        let start = self.span.start + self.offset * size;
        let plain = contiguous(&self.shape);
        let same = |d: usize| self.shape[d] == 1 || self.strides[d] == plain[d];
        if (0..plain.len()).all(same) {
            source.read_at(start, &mut out)?;
            return Ok(out);
        }
        let mut blocks = Blocks::new(source, self.span);
        let mut index = vec![0; self.shape.len()];
        let mut at = start;
        for number in out.chunks_exact_mut(size as usize) {
            blocks.copy(at, number)?;
            // The next index, last dimension first.
            for d in (0..index.len()).rev() {
                index[d] += 1;
                at += self.strides[d] * size;
                if index[d] < self.shape[d] {
                    break;
                }
                at -= self.strides[d] * size * index[d] as u64;
                index[d] = 0;
            }
        }
        Ok(out)
    }
}

/// The strides of numbers that lie one after the other.
fn contiguous(shape: &[usize]) -> Vec<u64> {
    let mut strides = vec![1u64; shape.len()];
    for d in (1..shape.len()).rev() {
        // What overflows belongs to an empty tensor.
        strides[d - 1] = strides[d].saturating_mul(shape[d].max(1) as u64);
    }
    strides
}

/// A storage in blocks, of which the last few are kept: reading a transposed matrix takes neither a copy of the storage
/// nor a call for each number.
struct Blocks<'a> {
    source: &'a LazyFile,
    span: Span,
    kept: Vec<Option<(u64, Vec<u8>)>>,
}

impl<'a> Blocks<'a> {
    fn new(source: &'a LazyFile, span: Span) -> Self {
        Self {
            source,
            span,
            kept: vec![None; BLOCKS],
        }
    }

    /// Numbers are aligned to their size from the start of the storage, and blocks hold whole numbers.
    fn copy(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        let inside = at - self.span.start;
        let (block, from) = (inside / BLOCK, (inside % BLOCK) as usize);
        let slot = (block % BLOCKS as u64) as usize;
        if self.kept[slot].as_ref().is_none_or(|(b, _)| *b != block) {
            let start = self.span.start + block * BLOCK;
            let len = BLOCK.min(self.span.end() - start);
            let bytes = self.source.read(Span { start, len })?;
            self.kept[slot] = Some((block, bytes));
        }
        if let Some((_, bytes)) = &self.kept[slot] {
            into.copy_from_slice(&bytes[from..from + into.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn storage(count: u64) -> Storage {
        Storage {
            scalar: Scalar::F32,
            count,
            key: "0".into(),
            span: None,
        }
    }

    fn view(offset: u64, shape: &[u64], strides: &[u64]) -> Result<View, String> {
        View::new(
            &storage(60),
            0,
            Scalar::F32,
            offset,
            shape,
            strides.to_vec(),
            1000,
        )
    }

    #[test]
    fn views_lie_inside_their_storage() {
        assert!(view(0, &[6, 10], &[10, 1]).is_ok());
        assert!(view(0, &[10, 6], &[1, 10]).is_ok());
        assert!(view(59, &[], &[]).is_ok());
        assert!(view(1000, &[0, 3], &[3, 1]).is_ok());
        assert!(view(0, &[200], &[0]).is_ok());
        for (offset, shape, strides) in [
            (1, &[6, 10][..], &[10, 1][..]),
            (60, &[], &[]),
            (0, &[2], &[60]),
            (u64::MAX, &[1], &[1]),
            (0, &[1 << 60], &[1]),
            (0, &[1 << 60], &[0]),
            (0, &[1 << 40, 1 << 40], &[0, 0]),
            (0, &[2, 2], &[u64::MAX, u64::MAX]),
            (0, &[2], &[1, 1]),
            (0, &[1; 9], &[1; 9]),
        ] {
            let error = view(offset, shape, strides).unwrap_err();
            assert!(error.contains("tensor"), "{error}");
        }
    }

    #[test]
    fn strided_views_are_read_in_row_major_order() {
        let numbers: Vec<f32> = (0..60u16).map(f32::from).collect();
        let bytes = Scalar::F32.of_f32(&numbers).unwrap();
        let source = LazyFile::memory([&[0; 3], bytes.as_slice()].concat(), Path::new("x"));
        let span = source.span(3, 240).unwrap();
        let read = |offset, shape: &[u64], strides: &[u64]| {
            let info = TensorInfo::of(&view(offset, shape, strides).unwrap(), span);
            Scalar::F32.to_f32(&info.read(&source).unwrap()).unwrap()
        };
        assert_eq!(read(0, &[60], &[1]), numbers);
        assert_eq!(
            read(5, &[2, 3], &[10, 1]),
            [5.0, 6.0, 7.0, 15.0, 16.0, 17.0]
        );
        assert_eq!(
            read(1, &[3, 2], &[1, 10]),
            [1.0, 11.0, 2.0, 12.0, 3.0, 13.0]
        );
        assert_eq!(read(7, &[3], &[0]), [7.0; 3]);
        assert_eq!(read(9, &[1, 2], &[44, 1]), [9.0, 10.0]);
    }
}
