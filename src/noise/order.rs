//! The order in which data are visited.

use super::{Domain, Stream};
use crate::Error;

/// Which of `len` items comes at `position` of an endless pass that visits all of them in every epoch, each epoch in
/// an order of its own. No state: a resumed run needs only the position.
///
/// # Errors
/// [`Error::InvalidValue`] if `len` is 0.
pub fn epoch_index(seed: u64, position: u64, len: usize) -> Result<usize, Error> {
    if len == 0 {
        return Err(Error::invalid(
            "number of items to visit",
            len,
            "at least 1",
        ));
    }
    let len = len as u64;
    let mut stream = Stream::new(seed, Domain::DataOrder, position / len);
    let keys: [u64; 8] = std::array::from_fn(|_| stream.bits());
    // A Feistel network permutes 0..4^half; walking its cycle until a number falls below `len` permutes 0..len.
    let half = (64 - (len - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let mut index = position % len;
    loop {
        let (mut left, mut right) = (index >> half, index & mask);
        for key in keys {
            (left, right) = (right, left ^ (scramble(right ^ key) & mask));
        }
        index = (left << half) | right;
        if index < len {
            return Ok(index as usize);
        }
    }
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of `x`.
fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_visits_all_in_another_order() {
        for len in [1, 2, 3, 10, 1000, 1025] {
            let epoch = |e: u64| -> Vec<usize> {
                let first = e * len as u64;
                (first..first + len as u64)
                    .map(|p| epoch_index(9, p, len).unwrap())
                    .collect()
            };
            for e in [0, 1, 1000] {
                let mut visited = epoch(e);
                visited.sort_unstable();
                assert!(visited.into_iter().eq(0..len), "len {len}, epoch {e}");
            }
            if len >= 10 {
                assert_ne!(epoch(0), epoch(1));
                let same = epoch(0).into_iter().enumerate().filter(|(i, v)| i == v);
                assert!(same.count() < 9, "hardly shuffled: len {len}");
            }
        }
    }

    #[test]
    fn epoch_order_is_uniform() {
        // Over 6,000 epochs of 3 items all six orders come up equally often.
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000u64 {
            let index = |i: u64| epoch_index(1, 3 * epoch + i, 3).unwrap();
            let order: Vec<usize> = (0..3).map(index).collect();
            *counts.entry(order).or_insert(0f64) += 1.0;
        }
        let chi: f64 = counts.values().map(|c| (c - 1e3).powi(2) / 1e3).sum();
        assert!(counts.len() == 6 && chi < 30.0, "{counts:?}");
    }
}
