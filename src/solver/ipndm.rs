//! iPNDM: Adams-Bashforth with the coefficients of equal steps.

use super::{Evaluation, Solver, Step, follow};
use crate::{Error, Images};

/// Improved pseudo linear multistep method: the slope is extrapolated from the last `order` ones. At the start of a
/// grid, where there are fewer, the order is as low as it must be.
///
/// The coefficients are those of equal steps in sigma whatever the grid is, as in the published method; on uneven
/// grids its accuracy in the strict sense is that of order 1. [`IpndmV`](super::IpndmV) has those of the grid's own steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ipndm {
    order: usize,
}

/// Adams-Bashforth coefficients by order, newest slope first.
const COEFFICIENTS: [&[f64]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

impl Ipndm {
    /// The method of order 1 (Euler's) to 4.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for any other order.
    pub fn new(order: usize) -> Result<Self, Error> {
        if (1..=COEFFICIENTS.len()).contains(&order) {
            Ok(Self { order })
        } else {
            Err(Error::invalid("order", order, "1 to 4 for iPNDM"))
        }
    }
}

impl Solver for Ipndm {
    fn order(&self) -> usize {
        self.order
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
        let order = self.order.min(past.len() + 1);
        let coefficients = COEFFICIENTS[order - 1].iter();
        let weights: Vec<f64> = coefficients.map(|c| c * (step.to - step.from)).collect();
        follow(past, now, &weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_checked() {
        for order in 1..=4 {
            assert_eq!(Ipndm::new(order).unwrap().history(), order - 1);
        }
        for order in [0, 5] {
            let error = Ipndm::new(order).unwrap_err().to_string();
            assert!(error.contains("1 to 4"), "{error}");
        }
    }
}
