//! What is changed in a run on its way.

use super::schedule::RateSchedule;
use crate::change;
use crate::optimizer::AdamConfig;
use crate::setting::is_default;
use serde::{Deserialize, Serialize};

/// Other settings of the learning from some round on; what is not given stays as it was. A recipe keeps those that a run was
/// given on its way, so that it makes the same student from the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Change {
    /// The first round that it holds for, counted from 0; 1 or more.
    pub round: u64,
    /// Whether the schedule of the learning rate begins anew here, and spans what is left of the run.
    #[serde(skip_serializing_if = "is_default")]
    pub restart_schedule: bool,
    /// Teacher trajectories in the whole run, those before the change among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trajectories: Option<u64>,
    /// Largest learning rate of Adam.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// How the learning rate changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate_schedule: Option<RateSchedule>,
    /// Part of the run after which the learning rate of the schedule `step` is a tenth, in (0, 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate_drop: Option<f64>,
    /// Adam's constants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adam: Option<AdamConfig>,
}

impl change::Change for Change {
    fn round(&self) -> u64 {
        self.round
    }

    fn nothing(round: u64) -> Self {
        Self {
            round,
            ..Self::default()
        }
    }

    fn merge(&mut self, later: Self) {
        self.restart_schedule |= later.restart_schedule;
        self.trajectories = later.trajectories.or(self.trajectories);
        self.learning_rate = later.learning_rate.or(self.learning_rate);
        self.learning_rate_schedule = later.learning_rate_schedule.or(self.learning_rate_schedule);
        self.learning_rate_drop = later.learning_rate_drop.or(self.learning_rate_drop);
        self.adam = later.adam.or(self.adam);
    }
}

impl Change {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        change::Change::is_nothing(self)
    }
}
