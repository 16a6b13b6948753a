//! What processes tell each other.

use crate::Error;
use std::fmt::Debug;

/// The processes of a run, as one of them sees it. All of them do the same things in the same order: each call waits until all
/// have made it.
///
/// Whatever an implementation is told it passes on as it is, bit for bit; it adds nothing up.
pub trait Group: Debug + Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// How many there are, 1 or more.
    fn size(&self) -> usize;

    /// What each of them says, in the order of their numbers: a few bytes, not of the same length.
    ///
    /// # Errors
    /// [`Error::Group`] if one of them is gone.
    fn tell(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, Error>;

    /// Deals numbers out: `mine` are equal parts for each process, in the order of their numbers; `theirs`, as long, becomes what
    /// each of them has for this one.
    ///
    /// # Errors
    /// [`Error::Group`] if one of them is gone.
    fn deal(&self, mine: &[f32], theirs: &mut [f32]) -> Result<(), Error>;

    /// Puts the numbers of all, equally many of each, one after the other into `all`.
    ///
    /// # Errors
    /// [`Error::Group`] if one of them is gone.
    fn collect(&self, mine: &[f32], all: &mut [f32]) -> Result<(), Error>;
}

/// One process that does everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Group for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn tell(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(vec![mine.to_vec()])
    }

    fn deal(&self, mine: &[f32], theirs: &mut [f32]) -> Result<(), Error> {
        theirs.copy_from_slice(mine);
        Ok(())
    }

    fn collect(&self, mine: &[f32], all: &mut [f32]) -> Result<(), Error> {
        all.copy_from_slice(mine);
        Ok(())
    }
}

/// Whether this process computes part `i` of a batch.
pub(crate) fn computes(group: &dyn Group, part: usize) -> bool {
    part % group.size() == group.rank()
}

/// The parts of a batch by turns, in each of which every process takes one: of each turn the part of this process, if there is
/// one left for it.
pub(crate) fn turns<T>(group: &dyn Group, parts: Vec<T>) -> Vec<Option<T>> {
    let (rank, size) = (group.rank(), group.size());
    let mut turns = Vec::with_capacity(parts.len().div_ceil(size));
    for (i, part) in parts.into_iter().enumerate() {
        if i % size == 0 {
            turns.push(None);
        }
        if let Some(turn) = turns.last_mut().filter(|_| i % size == rank) {
            *turn = Some(part);
        }
    }
    turns
}

/// What the first of the processes says.
///
/// # Errors
/// [`Error::Group`] if one of them is gone.
pub(crate) fn first(group: &dyn Group, mine: &[u8]) -> Result<Vec<u8>, Error> {
    let mine = if group.rank() == 0 { mine } else { &[] };
    Ok(group.tell(mine)?.swap_remove(0))
}

/// Whether it is so for one of the processes.
///
/// # Errors
/// [`Error::Group`] if one of them is gone.
pub(crate) fn any(group: &dyn Group, here: bool) -> Result<bool, Error> {
    let said = group.tell(&[u8::from(here)])?;
    Ok(said.iter().any(|said| said != &[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct At(usize, usize);

    impl Group for At {
        fn rank(&self) -> usize {
            self.0
        }

        fn size(&self) -> usize {
            self.1
        }

        fn tell(&self, _: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
            Ok(vec![vec![0], vec![1]])
        }

        fn deal(&self, _: &[f32], _: &mut [f32]) -> Result<(), Error> {
            Ok(())
        }

        fn collect(&self, _: &[f32], _: &mut [f32]) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn every_part_is_computed_once_and_turns_are_the_same_for_all() {
        let taken = |rank, size, parts: usize| turns(&At(rank, size), (0..parts).collect());
        assert_eq!(taken(0, 2, 5), [Some(0), Some(2), Some(4)]);
        assert_eq!(taken(1, 2, 5), [Some(1), Some(3), None]);
        assert_eq!(taken(3, 4, 2), [None]);
        assert_eq!(taken(0, 1, 3), [Some(0), Some(1), Some(2)]);
        for size in 1..6 {
            for parts in 0..12 {
                let all = (0..size).flat_map(|rank| taken(rank, size, parts));
                let mut all: Vec<_> = all.flatten().collect();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..parts));
                let here = (0..size).map(|rank| computes(&At(rank, size), parts));
                assert_eq!(here.filter(|here| *here).count(), 1);
            }
        }
    }

    #[test]
    fn one_is_enough() {
        assert!(any(&At(0, 2), false).unwrap());
        assert!(!any(&Alone, false).unwrap() && any(&Alone, true).unwrap());
    }
}
