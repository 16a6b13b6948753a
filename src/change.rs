//! Changes of a run on its way: what those of students and teachers have in common.

use crate::Error;

/// Other settings from some round on.
pub(crate) trait Change: Clone + Default + PartialEq {
    /// The first round that it holds for, counted from 0.
    fn round(&self) -> u64;

    /// One of that round that says nothing.
    fn nothing(round: u64) -> Self;

    /// What a later change of the same round adds.
    fn merge(&mut self, later: Self);

    /// Whether it says nothing.
    fn is_nothing(&self) -> bool {
        *self == Self::nothing(self.round())
    }
}

/// Puts a change into those of a run, which are in the order of rounds: one for each round.
pub(crate) fn insert<C: Change>(changes: &mut Vec<C>, change: C) {
    match changes.binary_search_by_key(&change.round(), C::round) {
        Ok(same) => changes[same].merge(change),
        Err(place) => changes.insert(place, change),
    }
}

/// Whether changes are in the order of rounds.
///
/// # Errors
/// [`Error::InvalidValue`] for a round that is 0, or not after the one before.
pub(crate) fn check_order<C: Change>(changes: &[C]) -> Result<(), Error> {
    let mut before = 0;
    for change in changes {
        if change.round() <= before {
            let expected = "1 or more, and rising from one change to the next";
            return Err(Error::invalid("changes.round", change.round(), expected));
        }
        before = change.round();
    }
    Ok(())
}

/// Where the length of a run stands: in the last change that says one, or in the recipe itself.
pub(crate) fn length_of<'a, C>(
    changes: &'a mut [C],
    said: impl Fn(&'a mut C) -> Option<&'a mut u64>,
    first: &'a mut u64,
) -> &'a mut u64 {
    changes
        .iter_mut()
        .rev()
        .filter_map(said)
        .next()
        .unwrap_or(first)
}

/// Half a cosine wave, from 1 where `part` is 0 to 0 where it is 1 or more.
pub(crate) fn half_wave(part: f64) -> f64 {
    (libm::cos(part.min(1.0) * std::f64::consts::PI) + 1.0) / 2.0
}
