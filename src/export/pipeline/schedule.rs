//! When a student's network is called, and what it is told: all that samplers elsewhere must know.

use super::past::Past;
use crate::Error;
use crate::denoiser::Predicted;
use crate::grid::LogAlphaTable;
use crate::model::{Card, Sampling};
use crate::solver::SolverConfig;

/// The levels of a student with one number of network calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The noise level of each call, the largest first, and the one where sampling ends.
    pub levels: Vec<f64>,
    /// What the network is told in each call: the position in the table of levels that it was trained on, fractions allowed.
    pub times: Vec<f64>,
    /// The standard deviation of the noise that the first call is given. With a free first step it is not the first level: the
    /// step is in it, s_0 (1 + (s_1 - s_0) / sqrt(1 + s_0^2)). [SFD Sec. 3.2]
    pub start: f64,
    /// What steps take from the calls before, where they are not Euler's.
    pub past: Option<Past>,
    /// Whether the network predicts the velocity, not the noise.
    pub velocity: bool,
    /// The levels that the network was trained on.
    pub table: LogAlphaTable,
}

impl Schedule {
    /// Those of a model that is sampled so.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for steps that call the network twice or correct themselves, and for a network that is not one of a
    /// table of noise levels;
    /// [`Error::InvalidValue`] for levels that cannot be.
    pub fn of(card: &Card, sampling: &Sampling) -> Result<Self, Error> {
        let preconditioning = &card.answer.preconditioning;
        let Some(table) = preconditioning.table() else {
            return Err(Error::Incompatible {
                first: "a scheduler for diffusers".into(),
                second: format!("a network that predicts {}", preconditioning.predicted()),
                remedy: "only networks of a table of noise levels (Stable Diffusion 1, 2, XL) have one; sample it with fewstep"
                    .into(),
            });
        };
        let mut levels = sampling.grid()?.levels().to_vec();
        let free = sampling.analytic_first_step && levels.len() > 2;
        let past = match sampling.solver {
            SolverConfig::Euler {} => None,
            solver => Some(Past::of(solver, &levels, free)?),
        };
        let first = levels[0];
        let mut start = first;
        if free {
            levels.remove(0);
            start = match past.as_ref().and_then(|past| past.before) {
                Some([noisy, _]) => first / noisy,
                None => first * (1.0 + (levels[0] - first) / first.hypot(1.0)),
            };
        }
        let called = &levels[..levels.len() - 1];
        Ok(Self {
            times: called.iter().map(|s| table.position_of_sigma(*s)).collect(),
            levels,
            start,
            past,
            velocity: preconditioning.predicted() == Predicted::Velocity,
            table: table.clone(),
        })
    }

    /// Calls of the network.
    pub fn calls(&self) -> usize {
        self.times.len()
    }

    /// Where sampling ends.
    pub(super) fn end(&self) -> f64 {
        self.levels[self.calls()]
    }

    /// What diffusers calls that which the network predicts.
    pub(super) fn prediction(&self) -> &'static str {
        match self.velocity {
            true => "v_prediction",
            false => "epsilon",
        }
    }
}
