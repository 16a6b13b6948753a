//! The teacher's work by itself: trajectories for a cache that another process trains from.

use super::cache::Key;
use super::part::is_finite;
use super::{Claimed, TrajectoryCache, TrajectorySource};
use crate::Error;

/// What a source without a cache is told.
fn without() -> Error {
    Error::Incompatible {
        first: "trajectories for others".into(),
        second: "a source without a cache".into(),
        remedy: "give it one (`TrajectorySource::with_cache`)".into(),
    }
}

impl TrajectorySource {
    /// The cache, and what the trajectories of a round are called there.
    fn place(&self, round: u64) -> Result<(&TrajectoryCache, Key), Error> {
        let recipe = self.recipe();
        let key = self.key(recipe.trajectory_round(round), recipe.steps_at(round))?;
        Ok((self.cache().ok_or_else(without)?, key))
    }

    /// Whether the cache has the trajectories of a round. Whether they are whole is found out when they are read.
    ///
    /// # Errors
    /// [`Error::Incompatible`] without a [cache](Self::with_cache), here and in all of these.
    pub fn is_kept(&self, round: u64) -> Result<bool, Error> {
        let (cache, key) = self.place(round)?;
        Ok(cache.has_come(&key))
    }

    /// Asks for the work on a round's trajectories, so that of several processes with the same folder each does its own.
    /// `holder` is what the others are told, such as `process 12 on node7`. A process that has said nothing for a minute is
    /// taken for dead, and its claim is void.
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be written to.
    pub fn claim(&self, round: u64, holder: &str) -> Result<Claimed, Error> {
        let (cache, key) = self.place(round)?;
        cache.claim(&key, holder)
    }

    /// The process that is at work on a round's trajectories, if one has [claimed](Self::claim) them.
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be read, or written to: its own clock is asked.
    pub fn at_work(&self, round: u64) -> Result<Option<String>, Error> {
        let (cache, key) = self.place(round)?;
        cache.at_work(&key)
    }

    /// Where the cache lacks the trajectories of a round: in which settings the newest that it has of the same teacher are of
    /// another run, for who wonders why nothing is found. Nothing if there are none, or they are of this run.
    ///
    /// # Errors
    /// As [`is_kept`](Self::is_kept).
    pub fn difference(&self, round: u64) -> Result<Option<String>, Error> {
        let (cache, key) = self.place(round)?;
        Ok(cache.difference(&key))
    }

    /// Solves the trajectories of a round and puts them into the cache, synced to the disk.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be written; [`Error::BrokenTeacher`] if they are not finite; and those of
    /// [`round`](Self::round).
    pub fn fill(&self, round: u64) -> Result<(), Error> {
        let (cache, key) = self.place(round)?;
        let recipe = self.recipe();
        let (start, condition) = self.start(recipe.trajectory_round(round))?;
        let target = self.solve(start, &condition, recipe.steps_at(round))?;
        let states = &target.states[1..];
        if let Some(step) = states.iter().position(|state| !is_finite(state)) {
            return Err(Error::BrokenTeacher { round, step });
        }
        cache.keep(&key, states)
    }

    /// Removes from the folder what killed processes have left: parts of files, and claims.
    ///
    /// # Errors
    /// As [`is_kept`](Self::is_kept); what cannot be removed stays.
    pub fn tidy(&self) -> Result<(), Error> {
        self.cache().ok_or_else(without)?.tidy();
        Ok(())
    }
}
