//! Weights that integrate an interpolated quantity exactly.

use std::sync::LazyLock;

/// Points of the Gauss-Legendre rule. Measured: 24 give every weight below to 1e-14 on steps as long as from sigma 80
/// to 0.5, or 3 to 1e-4.
const POINTS: usize = 32;

/// Nodes in (-1, 1) and weights of the Gauss-Legendre rule, by Newton's method on the Legendre polynomial.
static RULE: LazyLock<[(f64, f64); POINTS]> = LazyLock::new(|| {
    let n = POINTS as f64;
    // The polynomial of degree POINTS and its derivative.
    let legendre = |x: f64| {
        let (mut before, mut now) = (1.0, x);
        for k in 2..=POINTS {
            let k = k as f64;
            (before, now) = (now, ((2.0 * k - 1.0) * x * now - (k - 1.0) * before) / k);
        }
        (now, n * (x * now - before) / (x * x - 1.0))
    };
    std::array::from_fn(|i| {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n + 0.5)).cos();
        // The start is good to 1e-4, and each turn doubles the digits.
        for _ in 0..5 {
            let (value, slope) = legendre(x);
            x -= value / slope;
        }
        let (_, slope) = legendre(x);
        (x, 2.0 / ((1.0 - x * x) * slope * slope))
    })
});

/// The weight of each value in the integral over sigma, from `from` to `to`, of `density` times the polynomial in
/// `coordinate` that passes through the values at the levels `nodes`.
pub(super) fn weights(
    nodes: &[f64],
    from: f64,
    to: f64,
    coordinate: impl Fn(f64) -> f64,
    density: impl Fn(f64) -> f64,
) -> Vec<f64> {
    let places: Vec<f64> = nodes.iter().map(|sigma| coordinate(*sigma)).collect();
    let mut weights = vec![0.0; nodes.len()];
    // In log sigma, where the coordinates have no singularity near the way.
    let (middle, half) = (0.5 * (from * to).ln(), 0.5 * (to / from).ln());
    for (x, weight) in RULE.iter() {
        let sigma = (middle + half * x).exp();
        let mass = half * weight * sigma * density(sigma);
        let at = coordinate(sigma);
        for (j, total) in weights.iter_mut().enumerate() {
            *total += mass * basis(&places, j, at);
        }
    }
    weights
}

/// The Lagrange polynomial that is 1 at place `j` and 0 at the others.
pub(super) fn basis(places: &[f64], j: usize, at: f64) -> f64 {
    let others = places.iter().enumerate().filter(|(k, _)| *k != j);
    others
        .map(|(_, place)| (at - place) / (places[j] - place))
        .product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_exact_for_high_degrees() {
        let total = |power: i32| RULE.iter().map(|(x, w)| w * x.powi(power)).sum::<f64>();
        for power in [0, 2, 20, 62] {
            let exact = 2.0 / f64::from(power + 1);
            assert!((total(power) / exact - 1.0).abs() < 1e-13, "{power}");
        }
        assert!(total(33).abs() < 1e-14);
    }

    #[test]
    fn polynomials_in_the_coordinate_are_integrated_exactly() {
        let nodes = [3.0, 5.0, 11.0, 40.0];
        for power in 0..4 {
            let k = f64::from(power) + 1.0;
            // In sigma, with density 1.
            let plain = weights(&nodes, 3.0, 0.2, |s| s, |_| 1.0);
            let got: f64 = plain
                .iter()
                .zip(nodes)
                .map(|(w, s)| w * s.powi(power))
                .sum();
            let exact = (0.2f64.powf(k) - 3.0f64.powf(k)) / k;
            assert!((got / exact - 1.0).abs() < 1e-12, "{power}: {got} {exact}");
            // In log sigma, with density 1 / sigma.
            let log = weights(&nodes, 3.0, 0.2, f64::ln, |s| 1.0 / s);
            let got: f64 = log
                .iter()
                .zip(nodes)
                .map(|(w, s)| w * s.ln().powi(power))
                .sum();
            let exact = (0.2f64.ln().powf(k) - 3.0f64.ln().powf(k)) / k;
            assert!((got / exact - 1.0).abs() < 1e-12, "{power}: {got} {exact}");
        }
    }
}
