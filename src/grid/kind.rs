//! What a spacing can be. A search is one, and has one: so both are here.

use super::LogAlphaTable;
use serde::{Deserialize, Serialize};

/// The rule that places noise levels, computed in f64. In a recipe: `{ kind = "polynomial", rho = 7 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum Spacing {
    /// Equal steps in sigma^(1/rho); 7 makes small steps at small noise. [EDM Eq. 5]
    Polynomial {
        /// Positive.
        #[serde(default = "seven")]
        rho: f64,
    },
    /// Equal steps in log sigma.
    LogSnr {},
    /// Equal steps in the time of the variance preserving process that reaches from the smallest to the largest
    /// level, raised to rho. [EDM Tab. 1]
    TimeUniform {
        /// Positive.
        #[serde(default = "one")]
        rho: f64,
    },
    /// Equal steps in the time of a discrete-time model, raised to rho.
    Discrete {
        /// Positive. Published models use 1.
        #[serde(default = "one")]
        rho: f64,
        /// The model's noise schedule.
        table: LogAlphaTable,
    },
    /// Equal steps in the time t of a rectified flow, sigma = t / (1 - t), moved towards noise: where a step would end at t, it
    /// ends at shift t / (1 + (shift - 1) t). [Esser et al. 2024, Eq. 23]
    Flow {
        /// Positive; 1 moves nothing, published models of large pictures take 3.
        #[serde(default = "one")]
        shift: f64,
    },
    /// These levels, from the largest down: `{ kind = "levels", levels = [80, 3.1, 0.006] }`.
    Levels {
        /// Strictly decreasing, at least two.
        levels: Vec<f64>,
        /// How a grid with more steps divides each of theirs.
        #[serde(default)]
        spacing: Box<Spacing>,
    },
    /// Any number of steps along the curve through these levels, which lie at equal parts of the way:
    /// `{ kind = "curve", levels = [80, 6, 1, 0.006] }`. For a student of several numbers of steps.
    Curve {
        /// Strictly decreasing, at least two.
        levels: Vec<f64>,
        /// In whose coordinate the curve is straight from one level to the next.
        #[serde(default)]
        spacing: Box<Spacing>,
    },
    /// Levels that a search on the model finds, or has found.
    Searched(Search),
}

fn one() -> f64 {
    1.0
}

fn seven() -> f64 {
    7.0
}

impl Default for Spacing {
    fn default() -> Self {
        Self::Polynomial { rho: 7.0 }
    }
}

/// What makes one long jump along the path dear: how far from the fine path it lands, averaged over images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JumpCost {
    /// How much further from the straight line between the path's ends the jump lands than the path is there;
    /// negative where it lands nearer.
    #[default]
    Deviation,
    /// The sum of absolute differences between the jump's end and the path.
    L1,
    /// The root of the sum of their squares.
    L2,
}

/// How to search for the levels of a grid on a model: many fine paths are looked at, and the levels are those points
/// of theirs between which the jumps cost least together. In a recipe:
/// `{ kind = "searched", cost = "deviation", gamma = 1.15 }`. [GITS Alg. 1]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Search {
    /// What a jump costs.
    pub cost: JumpCost,
    /// What the cost of a jump counts for each jump before it, above 0. Above 1, later jumps weigh more, and the
    /// levels move towards small noise.
    pub gamma: f64,
    /// Steps of the fine grid, among whose levels the search chooses.
    pub candidates: usize,
    /// Paths to look at.
    pub trajectories: usize,
    /// Spacing of the fine grid, and of what a teacher puts between two levels that were found.
    pub spacing: Box<Spacing>,
    /// What was found. Left out of a recipe that is still to be searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<Vec<f64>>,
}

impl Default for Search {
    /// The published settings.
    fn default() -> Self {
        Self {
            cost: JumpCost::Deviation,
            gamma: 1.15,
            candidates: 60,
            trajectories: 256,
            spacing: Box::default(),
            levels: None,
        }
    }
}
