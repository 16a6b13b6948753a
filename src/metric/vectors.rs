//! Sets of feature vectors, and the counting of pairs between them.

use crate::Error;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// A set of feature vectors, side by side in memory, in f32 or f64.
#[derive(Clone, Copy, Debug)]
pub struct Vectors<'a, T> {
    values: &'a [T],
    size: usize,
}

impl<'a, T: Copy + Into<f64> + Sync> Vectors<'a, T> {
    /// Vectors of `size` features each, one after the other.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if there is none, the last is not whole, or a number is not finite.
    pub fn new(values: &'a [T], size: usize) -> Result<Self, Error> {
        if size == 0 || values.is_empty() || !values.len().is_multiple_of(size) {
            let value = format!("{} numbers in vectors of {size}", values.len());
            return Err(Error::invalid(
                "features",
                value,
                "one whole vector or more",
            ));
        }
        if let Some(wrong) = values.iter().map(|&v| v.into()).find(|v| !v.is_finite()) {
            let expected = "finite: an image has NaN or infinite pixels";
            return Err(Error::invalid("features", wrong, expected));
        }
        Ok(Self { values, size })
    }

    /// Number of vectors.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.values.len() / self.size
    }

    /// Numbers in a vector.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Some vectors in f64, row by row.
    pub(super) fn rows(&self, range: Range<usize>) -> Vec<f64> {
        let values = &self.values[range.start * self.size..range.end * self.size];
        values.iter().map(|&value| value.into()).collect()
    }

    /// The numbers 0..len in stretches of `step`.
    pub(super) fn blocks(&self, step: usize) -> Vec<Range<usize>> {
        let starts = (0..self.len()).step_by(step);
        starts
            .map(|start| start..(start + step).min(self.len()))
            .collect()
    }

    /// Whether two sets can be compared.
    pub(super) fn check<U: Copy + Into<f64> + Sync>(
        &self,
        other: &Vectors<'_, U>,
    ) -> Result<(), Error> {
        if self.size == other.size {
            return Ok(());
        }
        Err(Error::Incompatible {
            first: format!("vectors of {} features", self.size),
            second: format!("vectors of {} features", other.size),
            remedy: "take both sets with the same feature network".into(),
        })
    }
}

/// Hears how many pairs of vectors are done, and of how many; called from several threads.
pub type Report<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Counts pairs that are done.
pub(super) struct Counter<'a> {
    done: AtomicU64,
    total: u64,
    report: Report<'a>,
}

impl<'a> Counter<'a> {
    pub(super) fn new(total: u64, report: Report<'a>) -> Self {
        Self {
            done: AtomicU64::new(0),
            total,
            report,
        }
    }

    pub(super) fn add(&self, pairs: usize) {
        let pairs = pairs as u64;
        let done = self.done.fetch_add(pairs, Ordering::Relaxed) + pairs;
        (self.report)(done, self.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_and_finite_vectors_are_taken() {
        let vectors = Vectors::new(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], 2).unwrap();
        assert_eq!((vectors.len(), vectors.size()), (3, 2));
        assert_eq!(vectors.rows(1..3), [3.0, 4.0, 5.0, 6.0]);
        assert_eq!(vectors.blocks(2), [0..2, 2..3]);
        assert!(Vectors::new(&[1f32; 5], 2).is_err());
        assert!(Vectors::new(&[1f32; 0], 2).is_err());
        assert!(Vectors::new(&[1f32], 0).is_err());
        let error = Vectors::new(&[1.0, f64::NAN], 2).unwrap_err().to_string();
        assert!(error.contains("finite"), "{error}");
        assert!(
            vectors
                .check(&Vectors::new(&[1f64; 3], 3).unwrap())
                .is_err()
        );
    }
}
