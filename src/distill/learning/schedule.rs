//! How the learning rate changes over a run.

use crate::change::half_wave;
use serde::{Deserialize, Serialize};

/// The shape of the learning rate over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RateSchedule {
    /// A tenth after the part `learning-rate-drop` of the run, as in the official code.
    #[default]
    Step,
    /// Half a cosine wave, from the whole rate in the first round towards 0 after the last.
    Cosine,
    /// The same throughout.
    Constant,
}

/// A round of a schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Counted from where the schedule begins.
    pub(super) round: u64,
    /// Rounds of the schedule.
    pub(super) rounds: u64,
    /// Trajectories a round.
    pub(super) batch: u64,
    /// Trajectories of the schedule, each use counted; not rounded up to whole batches.
    pub(super) trajectories: f64,
}

impl RateSchedule {
    /// The learning rate of a round, of the largest one. The official code looks at the count of the round *before* the last
    /// when it decides on the drop, and so do we. [SFD App. B]
    pub(super) fn rate(self, largest: f64, drop: f64, at: Place) -> f64 {
        match self {
            Self::Step => {
                let looked_at = at.round.saturating_sub(1) * at.batch;
                let dropped = looked_at as f64 >= drop * at.trajectories;
                // Not a factor of 0.1, which is another number of f64.
                if at.round > 0 && dropped {
                    return largest / 10.0;
                }
                largest
            }
            Self::Cosine => {
                let part = at.round as f64 / at.rounds.max(1) as f64;
                largest * half_wave(part)
            }
            Self::Constant => largest,
        }
    }
}
