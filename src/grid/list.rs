//! Grids through levels that are given as a list.

use super::SigmaGrid;
use super::kind::Spacing;
use crate::Error;

/// The grid with `steps` steps that passes through all `levels`, each of their steps divided by `rule`.
///
/// # Errors
/// [`Error::InvalidValue`] if the levels have other ends or do not divide `steps`, and those of [`Spacing::grid`].
pub(super) fn refine(
    levels: &[f64],
    steps: usize,
    sigma_min: f64,
    sigma_max: f64,
    rule: &Spacing,
) -> Result<SigmaGrid, Error> {
    let coarse = ends(levels, sigma_min, sigma_max)?;
    if !steps.is_multiple_of(coarse.steps()) {
        let given = coarse.steps();
        let expected = format!(
            "{given}, as many as the given levels have, or a multiple of it; for other numbers, kind = \"curve\""
        );
        return Err(Error::invalid("steps", steps, expected));
    }
    // For what the rule itself asks of its ends.
    rule.grid(1, sigma_min, sigma_max)?;
    let parts = steps / coarse.steps();
    let mut fine = vec![sigma_max];
    for pair in levels.windows(2) {
        let [from, to] = [pair[0], pair[1]].map(|s| fraction(rule, s, sigma_min, sigma_max));
        let inner = (1..parts).map(|i| {
            let u = from + (to - from) * i as f64 / parts as f64;
            rule.level(u, sigma_min, sigma_max)
        });
        fine.extend(inner);
        fine.push(pair[1]);
    }
    SigmaGrid::new(fine)
}

/// These levels as a grid, which must end where they do.
///
/// # Errors
/// [`Error::InvalidValue`] if the levels have other ends or are no grid.
pub(super) fn ends(levels: &[f64], sigma_min: f64, sigma_max: f64) -> Result<SigmaGrid, Error> {
    let grid = SigmaGrid::new(levels.to_vec())?;
    for (name, wanted, got) in [
        ("sigma-max", sigma_max, grid.sigma_max()),
        ("sigma-min", sigma_min, grid.sigma_min()),
    ] {
        if wanted != got {
            let expected = format!("{got}, where the given levels end");
            return Err(Error::invalid(name, wanted, expected));
        }
    }
    Ok(grid)
}

/// The level at the fraction `u` of the way along the curve through `levels`, which lie at equal parts of it.
pub(super) fn along(levels: &[f64], u: f64, sigma_min: f64, sigma_max: f64, rule: &Spacing) -> f64 {
    let place = u * (levels.len() - 1) as f64;
    let before = (place as usize).min(levels.len() - 2);
    let part = place - before as f64;
    let [from, to] = [levels[before], levels[before + 1]];
    match part {
        // The rule meets the levels themselves only up to rounding.
        0.0 => from,
        _ => {
            let [from, to] = [from, to].map(|s| fraction(rule, s, sigma_min, sigma_max));
            rule.level(from + (to - from) * part, sigma_min, sigma_max)
        }
    }
}

/// The fraction of the way at which a rule has the level `sigma`, found by halving.
fn fraction(rule: &Spacing, sigma: f64, sigma_min: f64, sigma_max: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    // 60 halvings leave nothing but rounding.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if rule.level(middle, sigma_min, sigma_max) > sigma {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::super::spacing::tests::any_spacing;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn given_levels_are_divided_by_their_rule() {
        let read = |text: &str| toml::from_str::<Spacing>(text).unwrap();
        let given = read("kind = 'levels'\nlevels = [80, 10, 1, 0.1]");
        assert_eq!(
            given.grid(3, 0.1, 80.0).unwrap().levels(),
            [80.0, 10.0, 1.0, 0.1]
        );
        // The levels of a rule, divided by the rule, are a finer grid of the rule.
        let rule = Spacing::Polynomial { rho: 5.0 };
        let coarse = rule.grid(3, 0.006, 80.0).unwrap().levels().to_vec();
        let given = Spacing::Levels {
            levels: coarse,
            spacing: Box::new(rule.clone()),
        };
        let (fine, want) = (given.grid(12, 0.006, 80.0), rule.grid(12, 0.006, 80.0));
        for (got, want) in fine.unwrap().levels().iter().zip(want.unwrap().levels()) {
            assert!((got / want - 1.0).abs() < 1e-12, "{got} instead of {want}");
        }
        for (steps, low, high, word) in [
            (4, 0.006, 80.0, "multiple"),
            (3, 0.01, 80.0, "sigma-min"),
            (3, 0.006, 90.0, "sigma-max"),
        ] {
            let error = given.grid(steps, low, high).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let nested = Spacing::Levels {
            levels: vec![2.0, 1.0],
            spacing: Box::new(given),
        };
        assert!(nested.check().is_err());
    }

    #[test]
    fn a_curve_meets_its_levels_and_takes_any_number_of_steps() {
        let read = |text: &str| toml::from_str::<Spacing>(text).unwrap();
        let curve = read("kind = 'curve'\nlevels = [80, 6, 1, 0.006]");
        let given = read("kind = 'levels'\nlevels = [80, 6, 1, 0.006]");
        for steps in [3, 6, 12] {
            let [curve, given] = [&curve, &given].map(|s| s.grid(steps, 0.006, 80.0).unwrap());
            for (got, want) in curve.levels().iter().zip(given.levels()) {
                assert!((got / want - 1.0).abs() < 1e-12, "{got} instead of {want}");
            }
        }
        // The coordinate is sigma^(1/7); 0.25 of the way is three quarters of the first of three parts.
        let root = |sigma: f64| sigma.powf(1.0 / 7.0);
        let want = (root(80.0) + 0.75 * (root(6.0) - root(80.0))).powi(7);
        let got = curve.grid(4, 0.006, 80.0).unwrap().levels()[1];
        assert!((got / want - 1.0).abs() < 1e-12, "{got} instead of {want}");
        let error = curve.grid(3, 0.01, 80.0).unwrap_err().to_string();
        assert!(error.contains("sigma-min"), "{error}");
    }

    #[test]
    fn a_searched_spacing_has_a_grid_once_it_is_found() {
        let read = |text: &str| toml::from_str::<Spacing>(text);
        let open = read("kind = 'searched'\ngamma = 1.2\ncost = 'l1'").unwrap();
        assert_eq!(open.to_search().unwrap().gamma, 1.2);
        let error = open.grid(2, 0.1, 80.0).unwrap_err().to_string();
        assert!(error.contains("search"), "{error}");
        assert!(read("kind = 'searched'\ngama = 1.2").is_err());
        let Spacing::Searched(mut search) = open.clone() else {
            panic!("{open:?}")
        };
        search.levels = Some(vec![80.0, 3.0, 0.1]);
        let found = Spacing::Searched(search);
        assert!(found.to_search().is_none());
        let text = toml::to_string(&found).unwrap();
        assert_eq!(read(&text).unwrap(), found, "{text}");
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Spacing>(&json).unwrap(), found);
        assert_eq!(found.grid(2, 0.1, 80.0).unwrap().levels(), [80.0, 3.0, 0.1]);
        let plain = found.settled();
        assert!(matches!(plain, Spacing::Levels { .. }));
        let [plain, found] = [plain, found].map(|s| s.grid(8, 0.1, 80.0).unwrap());
        assert_eq!(plain, found);
    }

    proptest! {
        #[test]
        fn thinning_undoes_refining_of_given_levels(
            spacing in any_spacing(),
            mut shares in proptest::collection::vec(0.01f64..0.99, 0..6),
            substeps in 1usize..7,
            sigma_min in 0.002f64..0.08,
            sigma_max in 5.0f64..100.0,
        ) {
            shares.sort_by(f64::total_cmp);
            shares.dedup_by(|a, b| *a - *b < 1e-3);
            let inner = shares.iter().map(|u| sigma_max * (sigma_min / sigma_max).powf(*u));
            let levels: Vec<f64> = [sigma_max].into_iter().chain(inner).chain([sigma_min]).collect();
            let steps = levels.len() - 1;
            let given = Spacing::Levels { levels: levels.clone(), spacing: Box::new(spacing) };
            let grid = given.grid(steps, sigma_min, sigma_max).unwrap();
            prop_assert_eq!(grid.levels(), levels);
            let fine = given.grid(steps * substeps, sigma_min, sigma_max).unwrap();
            prop_assert_eq!(fine.every(substeps).unwrap(), grid);
        }
    }
}
