//! The settings of a search for noise levels; the search itself needs a model and is in the module `schedule`.

use super::SigmaGrid;
use super::kind::Search;
use crate::Error;

impl Search {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a gamma that is not positive, no paths, fewer than 2 or more than 500 candidates,
    /// levels that are no grid, or a spacing that is no rule.
    pub fn check(&self) -> Result<(), Error> {
        if !(self.gamma > 0.0 && self.gamma.is_finite()) {
            return Err(Error::invalid("gamma", self.gamma, "positive and finite"));
        }
        if self.trajectories == 0 {
            return Err(Error::invalid("trajectories", 0, "at least 1"));
        }
        // The costs of all jumps are held in memory, the square of this.
        if !(2..=500).contains(&self.candidates) {
            return Err(Error::invalid("candidates", self.candidates, "2 to 500"));
        }
        self.spacing.check_rule()?;
        match &self.levels {
            Some(levels) => SigmaGrid::new(levels.clone()).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Whether `other` would find the same: all settings are equal, whatever has been found.
    pub fn same_settings(&self, other: &Self) -> bool {
        let bare = |search: &Self| Self {
            levels: None,
            ..search.clone()
        };
        bare(self) == bare(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Spacing;

    #[test]
    fn settings_are_checked() {
        let with = |change: &dyn Fn(&mut Search)| {
            let mut search = Search::default();
            change(&mut search);
            search.check()
        };
        with(&|_| ()).unwrap();
        with(&|s| s.levels = Some(vec![80.0, 1.0, 0.006])).unwrap();
        let nested = Spacing::Searched(Search::default());
        for (error, word) in [
            (with(&|s| s.gamma = 0.0), "gamma"),
            (with(&|s| s.gamma = f64::NAN), "gamma"),
            (with(&|s| s.trajectories = 0), "trajectories"),
            (with(&|s| s.candidates = 1), "candidates"),
            (with(&|s| s.candidates = 501), "candidates"),
            (with(&|s| *s.spacing = nested.clone()), "spacing"),
            (
                with(&|s| *s.spacing = Spacing::Polynomial { rho: 0.0 }),
                "rho",
            ),
            (with(&|s| s.levels = Some(vec![1.0, 2.0])), "grid"),
        ] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn what_was_found_is_no_setting() {
        let found = Search {
            levels: Some(vec![2.0, 1.0]),
            ..Search::default()
        };
        assert!(Search::default().same_settings(&found));
        let other = Search {
            gamma: 1.2,
            ..found
        };
        assert!(!Search::default().same_settings(&other));
    }
}
