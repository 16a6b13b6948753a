//! iPNDM with the coefficients of the steps at hand.

use super::quadrature::weights;
use super::{Evaluation, Solver, Step, follow, nodes};
use crate::{Error, Images};

/// Variable-step Adams-Bashforth: the slope is extrapolated as the polynomial in sigma through the last `order` ones,
/// and integrated exactly. At the start of a grid, where there are fewer, the order is as low as it must be.
/// [iPNDM, variable steps]
///
/// The official code has other coefficients: from order 3 on they are not those of the polynomial, and those of order
/// 4 do not even add up to the step. [`official`](Self::official) gives them, for comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IpndmV {
    order: usize,
    official: bool,
}

impl IpndmV {
    /// The exact method of order 1 (Euler's) to 4.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for any other order.
    pub fn new(order: usize) -> Result<Self, Error> {
        if (1..=4).contains(&order) {
            let official = false;
            Ok(Self { order, official })
        } else {
            Err(Error::invalid("order", order, "1 to 4 for iPNDM-v"))
        }
    }

    /// Whether to use the official code's coefficients, which are the same up to order 2. Off by default.
    pub fn official(mut self, on: bool) -> Self {
        self.official = on;
        self
    }
}

/// The official code's coefficients for a step from `nodes[0]` to `to`, newest slope first.
fn official_weights(nodes: &[f64], to: f64) -> Vec<f64> {
    let h = to - nodes[0];
    // Lengths of the steps before. Those that are not there are not used, but no sum of lengths may be 0: all are
    // negative.
    let back = |i: usize| match nodes.get(i..i + 2) {
        Some(pair) => pair[0] - pair[1],
        None => -1.0,
    };
    let (h1, h2, h3) = (back(0), back(1), back(2));
    let q = h1 * (h1 + h2) / (h2 * (h2 + h3));
    let order = nodes.len();
    let a = match order {
        1 | 2 => 0.0,
        _ => 0.5 * (1.0 - h * h / (3.0 * h1 * (h1 + h2))),
    };
    let b = match order {
        1..=3 => 0.0,
        _ => {
            let first = 0.5 * (1.0 - h / (3.0 * (h + h1)));
            let second = (1.0 - h / (2.0 * (h + h1))) * h / (6.0 * (h + h1 + h2));
            (first + second) * h * (h + h1) * (h + h1 + h2) / (h1 * (h1 + h2) * (h1 + h2 + h3))
        }
    };
    let half = if order == 1 { 0.0 } else { h / (2.0 * h1) };
    let all = [
        1.0 + half + a + b,
        -half - (1.0 + h1 / h2) * a - (1.0 + h1 / h2 + q) * b,
        h1 / h2 * a + (h1 / h2 + q * (1.0 + h2 / h3)) * b,
        -q * (h1 / h2) * b,
    ];
    all[..order].iter().map(|weight| h * weight).collect()
}

impl Solver for IpndmV {
    fn order(&self) -> usize {
        match (self.official, self.order) {
            (true, 3) => 2,
            (true, 4) => 0,
            (_, order) => order,
        }
    }

    fn history(&self) -> usize {
        self.order - 1
    }

    fn step(
        &self,
        _denoise: &mut dyn FnMut(Images, f64) -> Images,
        past: &[Evaluation],
        now: &Evaluation,
        step: Step,
    ) -> Images {
        let nodes = nodes(past, now, self.order);
        let weights = if self.official {
            official_weights(&nodes, step.to)
        } else {
            weights(&nodes, step.from, step.to, |sigma| sigma, |_| 1.0)
        };
        follow(past, now, &weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_checked() {
        for order in 1..=4 {
            assert_eq!(IpndmV::new(order).unwrap().history(), order - 1);
        }
        for order in [0, 5] {
            let error = IpndmV::new(order).unwrap_err().to_string();
            assert!(error.contains("1 to 4"), "{error}");
        }
    }

    #[test]
    fn the_official_weights_differ_from_order_three_on() {
        let nodes = [3.0, 5.0, 11.0, 40.0];
        for order in 1..=4 {
            let exact = weights(&nodes[..order], 3.0, 2.0, |s| s, |_| 1.0);
            let official = official_weights(&nodes[..order], 2.0);
            let pairs = exact.iter().zip(&official);
            let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert_eq!(apart > 1e-4, order > 2, "order {order}: {apart}");
            // The slopes' weights should add up to the step, which is -1.
            let sum = official.iter().sum::<f64>() + 1.0;
            assert_eq!(sum.abs() > 1e-4, order == 4, "order {order}: {sum}");
            assert!((exact.iter().sum::<f64>() + 1.0).abs() < 1e-13);
        }
        // On equal steps both are those of iPNDM up to order 3.
        let equal = official_weights(&[3.0, 4.0, 5.0], 2.0);
        for (got, want) in equal.iter().zip([23.0, -16.0, 5.0]) {
            assert!((got + want / 12.0).abs() < 1e-14, "{equal:?}");
        }
    }
}
