//! Noise levels: where on the way from noise to image the network is called.

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
}
