//! Who goes on: successive halving. [Jamieson & Talwalkar 2016]
//!
//! Many candidates are trained a little, the better third goes on, and so on until one is left. What a candidate has
//! learnt is kept: a rung only adds to it.

/// One candidate in this many goes on to the next rung.
pub const KEPT: usize = 3;

/// A rung: how many candidates, and how far each is trained by its end, in units of cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rung {
    pub candidates: usize,
    pub cost: f64,
}

/// The rungs of a bracket that costs `budget`, with at most `most` candidates, none trained for less than `least`.
/// Empty if the budget is below `least`.
pub fn rungs(budget: f64, most: usize, least: f64) -> Vec<Rung> {
    let mut candidates = most.max(1);
    loop {
        let found = divided(budget, candidates);
        match found.first() {
            Some(first) if first.cost >= least => return found,
            _ if candidates == 1 => return Vec::new(),
            _ => candidates -= 1,
        }
    }
}

fn divided(budget: f64, candidates: usize) -> Vec<Rung> {
    let mut found = Vec::new();
    let (mut count, mut cost) = (candidates, 1.0);
    loop {
        found.push(Rung {
            candidates: count,
            cost,
        });
        if count == 1 {
            break;
        }
        count = (count / KEPT).max(1);
        cost *= KEPT as f64;
    }
    // What is new in each rung.
    let mut before = 0.0;
    let mut all = 0.0;
    for rung in &found {
        all += rung.candidates as f64 * (rung.cost - before);
        before = rung.cost;
    }
    for rung in &mut found {
        rung.cost *= budget / all;
    }
    found
}

/// The places of the `count` smallest values; those that are not finite come last.
pub fn best(values: &[f64], count: usize) -> Vec<usize> {
    let key = |i: &usize| match values[*i] {
        value if value.is_finite() => value,
        _ => f64::INFINITY,
    };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| key(a).total_cmp(&key(b)));
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(rungs: &[Rung]) -> f64 {
        let mut before = 0.0;
        let mut all = 0.0;
        for rung in rungs {
            all += rung.candidates as f64 * (rung.cost - before);
            before = rung.cost;
        }
        all
    }

    #[test]
    fn the_budget_is_spent_and_the_last_rung_has_one() {
        for (budget, most) in [(32_000.0, 27), (1000.0, 9), (500.0, 5), (64.0, 40)] {
            let found = rungs(budget, most, 16.0);
            assert!((spent(&found) / budget - 1.0).abs() < 1e-9);
            assert_eq!(found.last().map(|r| r.candidates), Some(1));
            assert!(found.windows(2).all(|w| w[0].cost < w[1].cost));
            assert!(found[0].cost >= 16.0);
        }
        assert!(rungs(10.0, 27, 16.0).is_empty());
    }

    #[test]
    fn twenty_seven_make_four_rungs() {
        let found: Vec<_> = rungs(32_400.0, 27, 16.0)
            .iter()
            .map(|r| r.candidates)
            .collect();
        assert_eq!(found, [27, 9, 3, 1]);
        // 27, and 18 more for each of three times a third: 81 units in all.
        assert!((rungs(32_400.0, 27, 16.0)[0].cost - 400.0).abs() < 1e-9);
    }

    #[test]
    fn what_diverged_is_last() {
        assert_eq!(best(&[3.0, f64::NAN, 1.0, 2.0], 3), [2, 3, 0]);
        assert_eq!(best(&[f64::NAN, 5.0], 2), [1, 0]);
    }
}
