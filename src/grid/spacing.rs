//! How the levels of a grid lie between the largest and the smallest.

use super::SigmaGrid;
use super::kind::{Search, Spacing};
use super::list::{along, ends, refine};
use crate::Error;

/// Where the time of [`Spacing::TimeUniform`] ends; it starts at 1.
const T_MIN: f64 = 1e-3;
/// More than anybody takes on purpose.
const MOST_STEPS: usize = 1_000_000;

impl Spacing {
    /// A grid of `steps` steps from `sigma_max` down to `sigma_min`, both met exactly.
    ///
    /// Law: `grid(k * n, ..).every(k) == grid(n, ..)`, bit for bit, so that a teacher with k times the steps passes
    /// through all of its student's levels. Levels that are given or found keep it by dividing each of their n steps
    /// into k parts, equal in the spacing's own coordinate. The grid that a search chose from would not do: it has
    /// another number of levels between any two, so the teacher's cost and its accuracy would differ from step to
    /// step.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if `steps` is 0, unless 0 < `sigma_min` < `sigma_max`, if `rho` is not positive, if
    /// `sigma_min` is too large for time-uniform spacing (0.1329 for 80), if so many steps lie so close that two
    /// levels coincide, or if given levels have other ends or do not divide `steps`; [`Error::Incompatible`] for
    /// levels that have not been searched yet.
    pub fn grid(&self, steps: usize, sigma_min: f64, sigma_max: f64) -> Result<SigmaGrid, Error> {
        if !(1..=MOST_STEPS).contains(&steps) {
            return Err(Error::invalid("steps", steps, format!("1 to {MOST_STEPS}")));
        }
        if !(sigma_max > 0.0 && sigma_max.is_finite()) {
            return Err(Error::invalid(
                "sigma-max",
                sigma_max,
                "positive and finite",
            ));
        }
        if !(sigma_min > 0.0 && sigma_min < sigma_max) {
            return Err(Error::invalid(
                "sigma-min",
                sigma_min,
                format!("above 0 and below sigma-max, which is {sigma_max}"),
            ));
        }
        self.check()?;
        match &self.settled() {
            Self::Levels { levels, spacing } => {
                return refine(levels, steps, sigma_min, sigma_max, spacing);
            }
            Self::Curve { levels, spacing } => {
                ends(levels, sigma_min, sigma_max)?;
                // For what the rule itself asks of its ends.
                spacing.grid(1, sigma_min, sigma_max)?;
            }
            Self::Searched(_) => {
                return Err(Error::Incompatible {
                    first: "spacing = \"searched\"".into(),
                    second: "a grid that is needed now".into(),
                    remedy: "search on a model first, as `fewstep schedule` does".into(),
                });
            }
            _ => {}
        }
        if let Self::TimeUniform { .. } = self {
            // Above it, the slope of the exponent at t = 1 is negative, and the levels would first rise.
            let limit = T_MIN * (2.0 - T_MIN) * (sigma_max * sigma_max).ln_1p();
            if (sigma_min * sigma_min).ln_1p() >= limit {
                return Err(Error::invalid(
                    "sigma-min",
                    sigma_min,
                    format!(
                        "below {:.4} for time-uniform spacing from {sigma_max}",
                        limit.exp_m1().sqrt()
                    ),
                ));
            }
        }
        let level = |i: usize| match i {
            // The formulas meet the ends only up to rounding.
            0 => sigma_max,
            i if i == steps => sigma_min,
            i => self.level(i as f64 / steps as f64, sigma_min, sigma_max),
        };
        SigmaGrid::new((0..=steps).map(level).collect())
    }

    /// Checks what does not depend on the ends of the grid.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if `rho` is not positive and finite, or for levels that are no grid; those of
    /// [`Search::check`].
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::LogSnr {} => Ok(()),
            Self::Levels { levels, spacing } | Self::Curve { levels, spacing } => {
                SigmaGrid::new(levels.clone())?;
                spacing.check_rule()
            }
            Self::Searched(search) => search.check(),
            Self::Flow { shift } if *shift > 0.0 && shift.is_finite() => Ok(()),
            Self::Flow { shift } => Err(Error::invalid("shift", shift, "positive and finite")),
            Self::Polynomial { rho } | Self::TimeUniform { rho } | Self::Discrete { rho, .. } => {
                if *rho > 0.0 && rho.is_finite() {
                    Ok(())
                } else {
                    Err(Error::invalid("rho", rho, "positive and finite"))
                }
            }
        }
    }

    /// As [`check`](Self::check), for a spacing inside another, which must be a rule and no list.
    pub(super) fn check_rule(&self) -> Result<(), Error> {
        if let Self::Levels { .. } | Self::Curve { .. } | Self::Searched(_) = self {
            let wanted = "a rule such as \"polynomial\" inside another spacing";
            return Err(Error::invalid("spacing", "a list of levels", wanted));
        }
        self.check()
    }

    /// The levels of a search as plain levels; any other spacing as it is.
    pub fn settled(&self) -> Self {
        match self {
            Self::Searched(search) => match &search.levels {
                Some(levels) => Self::Levels {
                    levels: levels.clone(),
                    spacing: search.spacing.clone(),
                },
                None => self.clone(),
            },
            other => other.clone(),
        }
    }

    /// The search that this spacing still waits for.
    pub fn to_search(&self) -> Option<&Search> {
        match self {
            Self::Searched(search) if search.levels.is_none() => Some(search),
            _ => None,
        }
    }

    /// The level at the fraction `u` of the way.
    pub(super) fn level(&self, u: f64, sigma_min: f64, sigma_max: f64) -> f64 {
        match self {
            Self::Polynomial { rho } => between(sigma_max, sigma_min, u, *rho),
            Self::LogSnr {} => (sigma_max.ln() + u * (sigma_min.ln() - sigma_max.ln())).exp(),
            Self::TimeUniform { rho } => {
                // sigma(t)^2 = exp(slope t^2 / 2 + offset t) - 1, with the ends at t = 1 and T_MIN.
                let log_min = (sigma_min * sigma_min).ln_1p();
                let log_max = (sigma_max * sigma_max).ln_1p();
                let slope = 2.0 * (log_min / T_MIN - log_max) / (T_MIN - 1.0);
                let offset = log_max - slope / 2.0;
                let t = between(1.0, T_MIN, u, *rho);
                (slope * t * t / 2.0 + offset * t).exp_m1().sqrt()
            }
            Self::Discrete { rho, table } => {
                let t_max = table.t_of_sigma(sigma_max);
                let t_min = table.t_of_sigma(sigma_min);
                // The official code leaves t_max unraised, which is the same at its rho of 1.
                table.sigma_of_t(between(t_max, t_min, u, *rho))
            }
            Self::Flow { shift } => {
                // In the time before it is moved.
                let time = |sigma: f64| sigma / (shift + sigma);
                let at = between(time(sigma_max), time(sigma_min), u, 1.0);
                shift * at / (1.0 - at)
            }
            Self::Curve { levels, spacing } => along(levels, u, sigma_min, sigma_max, spacing),
            // A list has no formula; `grid` never gets here with one.
            Self::Levels { .. } | Self::Searched(_) => f64::NAN,
        }
    }
}

/// From `first` (u = 0) to `last` (u = 1) in equal steps of the rho-th root.
fn between(first: f64, last: f64, u: f64, rho: f64) -> f64 {
    let (first, last) = (first.powf(1.0 / rho), last.powf(1.0 / rho));
    (first + u * (last - first)).powf(rho)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::grid::LogAlphaTable;
    use crate::solver::conformance::Case;
    use proptest::prelude::*;

    fn stable_diffusion() -> LogAlphaTable {
        LogAlphaTable::scaled_linear(0.00085, 0.012, 1000).unwrap()
    }

    /// By hand: times 0.9, 0.6, 0.3 of a flow that is not moved; those of one that is, from the formula of the paper.
    #[test]
    fn times_of_flows() {
        let sigma = |t: f64| t / (1.0 - t);
        let grid = |shift, steps| Spacing::Flow { shift }.grid(steps, sigma(0.3), sigma(0.9));
        let plain = grid(1.0, 2).unwrap();
        assert!((plain.levels()[1] - sigma(0.6)).abs() < 1e-12);
        let moved = |u: f64| sigma(3.0 * u / (1.0 + 2.0 * u));
        let shifted = Spacing::Flow { shift: 3.0 };
        let shifted = shifted.grid(4, moved(0.2), moved(0.8)).unwrap();
        for (level, u) in shifted.levels().iter().zip([0.8, 0.65, 0.5, 0.35, 0.2]) {
            assert!((level / moved(u) - 1.0).abs() < 1e-12, "{level} {u}");
        }
        assert!(grid(0.0, 2).unwrap_err().to_string().contains("shift"));
        let text = r#"{"kind": "flow", "shift": 3.0}"#;
        let read: Spacing = serde_json::from_str(text).unwrap();
        assert_eq!(read, Spacing::Flow { shift: 3.0 });
    }

    #[test]
    fn golden_schedules() {
        let Some(case) = Case::open("schedule") else {
            return;
        };
        let mut count = 0;
        let mut worst = 0.0f64;
        for entry in case.config()["entries"].as_array().unwrap() {
            let id = entry["id"].as_str().unwrap();
            let spacing = case.spacing(entry);
            let want = case.numbers(&format!("out/{id}"));
            let grid = spacing
                .grid(
                    entry["num_steps"].as_u64().unwrap() as usize - 1,
                    entry["sigma_min"].as_f64().unwrap(),
                    entry["sigma_max"].as_f64().unwrap(),
                )
                .unwrap();
            assert_eq!(grid.levels().len(), want.len(), "{id}");
            for (got, want) in grid.levels().iter().zip(want) {
                let error = (got / want - 1.0).abs();
                worst = worst.max(error);
                assert!(error < 1e-9, "{id}: {got} instead of {want}");
            }
            count += 1;
        }
        assert_eq!(count, 171);
        println!("{count} grids, worst relative error {worst:.1e}");
    }

    #[test]
    fn bad_settings_are_refused() {
        let grid = |steps, low, high| Spacing::default().grid(steps, low, high);
        assert!(grid(0, 0.006, 80.0).is_err());
        for (low, high) in [
            (80.0, 80.0),
            (90.0, 80.0),
            (0.0, 80.0),
            (-1.0, 80.0),
            (f64::NAN, 80.0),
            (0.006, f64::INFINITY),
            (0.006, f64::NAN),
        ] {
            assert!(grid(3, low, high).is_err(), "{low} {high}");
        }
        for rho in [0.0, -7.0, f64::NAN, f64::INFINITY] {
            assert!(Spacing::Polynomial { rho }.grid(3, 0.006, 80.0).is_err());
        }
        let uniform = |sigma_min| Spacing::TimeUniform { rho: 1.0 }.grid(2000, sigma_min, 80.0);
        assert!(uniform(0.1328).is_ok());
        let error = uniform(0.1330).unwrap_err().to_string();
        assert!(error.contains("below 0.1329"), "{error}");
    }

    #[test]
    fn recipes_say_it_in_kebab_case() {
        let read = |text: &str| toml::from_str::<Spacing>(text);
        assert_eq!(
            read("kind = 'polynomial'\nrho = 7").unwrap(),
            Spacing::default()
        );
        assert_eq!(read("kind = 'polynomial'").unwrap(), Spacing::default());
        assert_eq!(read("kind = 'log-snr'").unwrap(), Spacing::LogSnr {});
        assert_eq!(
            read("kind = 'time-uniform'\nrho = 2.0").unwrap(),
            Spacing::TimeUniform { rho: 2.0 }
        );
        let discrete = Spacing::Discrete {
            rho: 1.0,
            table: stable_diffusion(),
        };
        let text = toml::to_string(&discrete).unwrap();
        assert!(text.contains("beta-start = 0.00085"), "{text}");
        assert_eq!(read(&text).unwrap(), discrete);
        for text in [
            "kind = 'cosine'",
            "rho = 7",
            "kind = 'log-snr'\nrho = 7",
            "kind = 'polynomial'\nrh = 7",
            "kind = 'curve'",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    pub(in crate::grid) fn any_spacing() -> impl Strategy<Value = Spacing> {
        prop_oneof![
            (1.0..20.0).prop_map(|rho| Spacing::Polynomial { rho }),
            Just(Spacing::LogSnr {}),
            (1.0..3.0).prop_map(|rho| Spacing::TimeUniform { rho }),
            (1.0..3.0).prop_map(|rho| Spacing::Discrete {
                rho,
                table: stable_diffusion()
            }),
        ]
    }

    /// A curve through levels at these fractions of the way in log sigma.
    fn curve(mut shares: Vec<f64>, rule: Spacing, sigma_min: f64, sigma_max: f64) -> Spacing {
        shares.sort_by(f64::total_cmp);
        shares.dedup_by(|a, b| *a - *b < 1e-2);
        let inner = shares
            .iter()
            .map(|u| sigma_max * (sigma_min / sigma_max).powf(*u));
        Spacing::Curve {
            levels: std::iter::once(sigma_max)
                .chain(inner)
                .chain([sigma_min])
                .collect(),
            spacing: Box::new(rule),
        }
    }

    proptest! {
        #[test]
        fn thinning_undoes_refining(
            spacing in any_spacing(),
            steps in 1usize..20,
            substeps in 1usize..7,
            sigma_min in 0.002..0.08,
            sigma_max in 5.0..100.0,
        ) {
            let grid = spacing.grid(steps, sigma_min, sigma_max).unwrap();
            prop_assert_eq!(grid.steps(), steps);
            prop_assert_eq!(grid.sigma_max(), sigma_max);
            prop_assert_eq!(grid.sigma_min(), sigma_min);
            let fine = spacing.grid(steps * substeps, sigma_min, sigma_max).unwrap();
            prop_assert_eq!(fine.every(substeps).unwrap(), grid);
        }

        #[test]
        fn thinning_undoes_refining_along_a_curve(
            rule in any_spacing(),
            shares in proptest::collection::vec(0.01f64..0.99, 0..6),
            steps in 1usize..20,
            substeps in 1usize..7,
            sigma_min in 0.002f64..0.08,
            sigma_max in 5.0f64..100.0,
        ) {
            let spacing = curve(shares, rule, sigma_min, sigma_max);
            let grid = spacing.grid(steps, sigma_min, sigma_max).unwrap();
            prop_assert_eq!(grid.sigma_max(), sigma_max);
            prop_assert_eq!(grid.sigma_min(), sigma_min);
            let fine = spacing.grid(steps * substeps, sigma_min, sigma_max).unwrap();
            prop_assert_eq!(fine.every(substeps).unwrap(), grid);
        }
    }
}
