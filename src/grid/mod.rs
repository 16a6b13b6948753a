//! Noise levels: where on the way from noise to image the network is called.

mod kind;
mod list;
mod log_alpha;
mod search;
mod spacing;

pub use kind::{JumpCost, Search, Spacing};
pub use log_alpha::LogAlphaTable;

use crate::Error;

/// Strictly decreasing noise levels, at least two, all positive and finite.
#[derive(Clone, Debug, PartialEq)]
pub struct SigmaGrid(Vec<f64>);

impl SigmaGrid {
    /// Checks the levels.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if there are fewer than two, or they do not strictly decrease, or one is not
    /// positive and finite.
    pub fn new(levels: Vec<f64>) -> Result<Self, Error> {
        let fine = levels.len() >= 2
            && levels.iter().all(|s| s.is_finite() && *s > 0.0)
            && levels.windows(2).all(|w| w[0] > w[1]);
        if fine {
            Ok(Self(levels))
        } else {
            Err(Error::invalid(
                "sigma grid",
                format!("{levels:?}"),
                "at least two positive, strictly decreasing noise levels",
            ))
        }
    }

    /// The levels, from the largest down.
    pub fn levels(&self) -> &[f64] {
        &self.0
    }

    /// Number of steps: one less than the number of levels.
    pub fn steps(&self) -> usize {
        self.0.len() - 1
    }

    /// The largest level, where sampling starts.
    pub fn sigma_max(&self) -> f64 {
        self.0[0]
    }

    /// The smallest level, where sampling stops.
    pub fn sigma_min(&self) -> f64 {
        self.0[self.steps()]
    }

    /// Keeps the first level and every `substeps`-th after it: the student's grid inside its teacher's.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if `substeps` does not divide the number of steps.
    pub fn every(&self, substeps: usize) -> Result<Self, Error> {
        if substeps == 0 || !self.steps().is_multiple_of(substeps) {
            return Err(Error::invalid(
                "substeps",
                substeps,
                format!("a divisor of the {} steps of the grid", self.steps()),
            ));
        }
        Ok(Self(self.0.iter().copied().step_by(substeps).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_levels_are_refused() {
        for levels in [
            vec![],
            vec![1.0],
            vec![1.0, 1.0],
            vec![1.0, 2.0],
            vec![1.0, 0.0],
            vec![2.0, -1.0],
            vec![f64::INFINITY, 1.0],
            vec![1.0, f64::NAN],
        ] {
            assert!(SigmaGrid::new(levels.clone()).is_err(), "{levels:?}");
        }
    }

    #[test]
    fn only_divisors_thin_a_grid() {
        let grid = SigmaGrid::new(vec![4.0, 3.0, 2.0, 1.0, 0.5]).unwrap();
        assert_eq!(grid.every(2).unwrap().levels(), [4.0, 2.0, 0.5]);
        assert_eq!(grid.every(1).unwrap(), grid);
        for substeps in [0, 3, 5, 8] {
            let error = grid.every(substeps).unwrap_err().to_string();
            assert!(error.contains("`substeps`"), "{error}");
        }
    }
}
