//! What is changed in a training on its way.

use crate::change;
use crate::optimizer::AdamConfig;
use crate::setting::is_default;
use serde::{Deserialize, Serialize};

/// Other settings of the learning from some round on; what is not given stays as it was. A recipe keeps those that a run was
/// given on its way, so that it makes the same teacher from the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TeacherChange {
    /// The first round that it holds for, counted from 0; 1 or more.
    pub round: u64,
    /// Whether the schedule of the learning rate begins anew here: `warmup` and `decay-from` count from here on, and the rate
    /// falls over what is left of the run.
    #[serde(skip_serializing_if = "is_default")]
    pub restart_schedule: bool,
    /// Images in the whole run, those before the change among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// Largest learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Images over which the learning rate rises from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u64>,
    /// Images after which the learning rate falls in half a cosine wave to 0 at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_from: Option<u64>,
    /// Adam's constants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adam: Option<AdamConfig>,
}

impl change::Change for TeacherChange {
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
        self.images = later.images.or(self.images);
        self.learning_rate = later.learning_rate.or(self.learning_rate);
        self.warmup = later.warmup.or(self.warmup);
        self.decay_from = later.decay_from.or(self.decay_from);
        self.adam = later.adam.or(self.adam);
    }
}

impl TeacherChange {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        change::Change::is_nothing(self)
    }

    /// Whether it says how the learning rate goes on.
    pub(super) fn says_schedule(&self) -> bool {
        self.restart_schedule || self.warmup.is_some() || self.decay_from.is_some()
    }
}
