//! Dropout masks.

use super::{Domain, Stream};
use crate::Error;
use rayon::prelude::*;
use std::ops::Range;

/// Dropout factors, `len` for each sample one after the other: 0 with probability `rate` (a multiple of 2^-16), else
/// 1 / (1 - rate). `use_` tells apart the layers (and the evaluations) of a round.
///
/// # Errors
/// [`Error::InvalidValue`] if `rate` is not in [0, 1).
pub fn dropout_mask(
    seed: u64,
    round: u64,
    use_: u64,
    samples: Range<u64>,
    len: usize,
    rate: f64,
) -> Result<Vec<f32>, Error> {
    if !(0.0..1.0).contains(&rate) {
        return Err(Error::invalid("dropout", rate, "in [0, 1)"));
    }
    let threshold = (rate * 65536.0).round() as u32;
    let keep = (1.0 / (1.0 - rate)) as f32;
    let count = samples.end.saturating_sub(samples.start) as usize;
    let mut mask = vec![keep; count * len];
    if threshold > 0 && len > 0 {
        mask.par_chunks_mut(len)
            .enumerate()
            .for_each(|(offset, mask)| {
                let sample = samples.start + offset as u64;
                let mut stream = Stream::keyed(seed, Domain::Dropout, round, use_, sample);
                for four in mask.chunks_mut(4) {
                    let mut bits = stream.bits();
                    for value in four {
                        if ((bits & 0xffff) as u32) < threshold {
                            *value = 0.0;
                        }
                        bits >>= 16;
                    }
                }
            });
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_keeps_the_expectation_and_the_cut() {
        let mask = dropout_mask(1, 0, 0, 0..10, 10_000, 0.13).unwrap();
        let dropped = mask.iter().filter(|&&m| m == 0.0).count() as f64 / 1e5;
        assert!(
            (dropped - 0.13).abs() < 5.0 * f64::sqrt(0.13 * 0.87 / 1e5),
            "{dropped}"
        );
        assert!(
            mask.iter()
                .all(|&m| m == 0.0 || m == (1.0f64 / 0.87) as f32)
        );
        assert_eq!(
            dropout_mask(1, 0, 0, 6..7, 10_000, 0.13).unwrap(),
            mask[60_000..70_000]
        );
        assert_ne!(
            dropout_mask(1, 0, 1, 6..7, 10_000, 0.13).unwrap(),
            mask[60_000..70_000]
        );
        assert!(
            dropout_mask(1, 0, 0, 0..1, 9, 0.0)
                .unwrap()
                .iter()
                .all(|&m| m == 1.0)
        );
        assert!(dropout_mask(1, 0, 0, 0..1, 9, 1.0).is_err());
    }
}
