//! DEIS: the slope extrapolated in a time of one's choice.

use super::quadrature::{basis, weights};
use super::{Evaluation, Solver, Step, follow, nodes};
use crate::{Error, Images};
use serde::{Deserialize, Serialize};

/// The time in which [`Deis`] extrapolates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeisTime {
    /// Time of the variance preserving process that has the noise levels 0.002 and 80 at its ends 0.001 and 1
    /// (`tab` in the official code, after the table of weights that it makes).
    #[default]
    Tab,
    /// The noise level itself (`rhoab`): the same as [`IpndmV`](super::IpndmV).
    Rhoab,
}

/// The slope is extrapolated as a polynomial in a time, through the last `order` ones, and integrated over sigma. At the
/// start of a grid the order is as low as it must be. [DEIS Sec. 3]
///
/// The official code replaces the integral of [`DeisTime::Tab`] by a sum of 10,000 values, which is off by about 1e-5 of
/// itself; [`official`](Self::official) gives that, for comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deis {
    order: usize,
    time: DeisTime,
    official: bool,
}

/// Values in the official code's sum.
const VALUES: usize = 10_000;

impl Deis {
    /// The exact method of order 1 (Euler's) to 4.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for any other order.
    pub fn new(order: usize, time: DeisTime) -> Result<Self, Error> {
        if !(1..=4).contains(&order) {
            return Err(Error::invalid("order", order, "1 to 4 for DEIS"));
        }
        Ok(Self {
            order,
            time,
            official: false,
        })
    }

    /// Whether to use the official code's sum instead of the integral. Off by default.
    ///
    /// # Errors
    /// [`Error::Incompatible`] with [`DeisTime::Rhoab`], whose integral the official code has exactly.
    pub fn official(mut self, on: bool) -> Result<Self, Error> {
        if on && self.time == DeisTime::Rhoab {
            return Err(Error::Incompatible {
                first: "official = true".into(),
                second: "time = \"rhoab\"".into(),
                remedy: "use time \"tab\", the only one with another official form".into(),
            });
        }
        self.official = on;
        Ok(self)
    }
}

/// The process of [`DeisTime::Tab`]: log(1 + sigma^2) = slope t^2 / 2 + offset t.
struct Process {
    slope: f64,
    offset: f64,
}

/// The smallest and largest level and the first time of [`Process`]; the last is 1.
const RANGE: (f64, f64, f64) = (0.002, 80.0, 1e-3);

impl Process {
    fn new() -> Self {
        let (low, high, first) = RANGE;
        let (low, high) = ((low * low).ln_1p(), (high * high).ln_1p());
        let slope = 2.0 * (low / first - high) / (first - 1.0);
        let offset = high - slope / 2.0;
        Self { slope, offset }
    }

    /// Rises with sigma from sigma = 0 on.
    fn time(&self, sigma: f64) -> f64 {
        let Self { slope, offset } = self;
        let exponent = (sigma * sigma).ln_1p();
        ((offset * offset + 2.0 * slope * exponent).sqrt() - offset) / slope
    }

    /// d sigma / d time.
    fn speed(&self, time: f64) -> f64 {
        let Self { slope, offset } = self;
        let exponent = slope * time * time / 2.0 + offset * time;
        (slope * time + offset) * exponent.exp() / (2.0 * exponent.exp_m1().sqrt())
    }
}

/// The official code's sum: both ends are among its values, but each counts for a 10,000th of the step.
fn official_weights(process: &Process, nodes: &[f64], to: f64) -> Vec<f64> {
    if nodes.len() == 1 {
        return vec![to - nodes[0]];
    }
    let times: Vec<f64> = nodes.iter().map(|sigma| process.time(*sigma)).collect();
    let length = process.time(to) - times[0];
    let mut sums = vec![0.0; nodes.len()];
    for i in 0..VALUES {
        let time = times[0] + length * i as f64 / (VALUES - 1) as f64;
        let speed = process.speed(time);
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum += speed * basis(&times, j, time);
        }
    }
    sums.iter().map(|s| s * length / VALUES as f64).collect()
}

impl Solver for Deis {
    fn order(&self) -> usize {
        // The sum's own error is small but of the third order in the step, whatever the polynomial.
        if self.official {
            self.order.min(2)
        } else {
            self.order
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
        let process = Process::new();
        let exact = |time: &dyn Fn(f64) -> f64| weights(&nodes, step.from, step.to, time, |_| 1.0);
        let weights = match self.time {
            DeisTime::Tab if self.official => official_weights(&process, &nodes, step.to),
            DeisTime::Tab => exact(&|sigma| process.time(sigma)),
            DeisTime::Rhoab => exact(&|sigma| sigma),
        };
        follow(past, now, &weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for order in [0, 5] {
            let error = Deis::new(order, DeisTime::Tab).unwrap_err().to_string();
            assert!(error.contains("1 to 4"), "{error}");
        }
        let rhoab = Deis::new(3, DeisTime::Rhoab).unwrap();
        assert!(rhoab.official(true).is_err());
        assert!(rhoab.official(false).is_ok());
    }

    #[test]
    fn the_time_is_that_of_the_spacing() {
        let (low, high, first) = RANGE;
        let process = Process::new();
        assert!((process.time(low) / first - 1.0).abs() < 1e-12);
        assert!((process.time(high) - 1.0).abs() < 1e-14);
        // Time-uniform levels lie at equal times.
        let spacing = crate::grid::Spacing::TimeUniform { rho: 1.0 };
        let grid = spacing.grid(5, low, high).unwrap();
        for (i, sigma) in grid.levels().iter().enumerate() {
            let time = 1.0 + i as f64 / 5.0 * (first - 1.0);
            assert!((process.time(*sigma) - time).abs() < 1e-12, "{sigma}");
        }
        let (time, d) = (0.3, 1e-6);
        let level = |time: f64| {
            let exponent = process.slope * time * time / 2.0 + process.offset * time;
            exponent.exp_m1().sqrt()
        };
        let speed = (level(time + d) - level(time - d)) / (2.0 * d);
        assert!((process.speed(time) / speed - 1.0).abs() < 1e-8);
    }

    #[test]
    fn the_official_sum_is_close_to_the_integral() {
        let process = Process::new();
        let nodes = [3.0, 5.0, 11.0, 40.0];
        for order in 2..=4 {
            let exact = weights(&nodes[..order], 3.0, 2.0, |s| process.time(s), |_| 1.0);
            let sum = official_weights(&process, &nodes[..order], 2.0);
            let pairs = exact.iter().zip(&sum);
            let apart = pairs.map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
            assert!(apart > 1e-7 && apart < 2e-4, "order {order}: {apart}");
            assert!((exact.iter().sum::<f64>() + 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_official_sum_ends_at_order_two() {
        // The law of solvers cannot show it: at its steps the error is below that of the polynomial, at smaller ones
        // below rounding. But the weights should add up to the step, and what is missing is of the third order.
        let process = Process::new();
        for order in 2..=4 {
            let missing = |h: f64| {
                let nodes = [0.0, 0.8, 2.1, 2.9].map(|back| 1.0 + back * h);
                let sum = official_weights(&process, &nodes[..order], 1.0 - h);
                (sum.iter().sum::<f64>() + h).abs()
            };
            let measured = (missing(0.2) / missing(0.1)).log2() - 1.0;
            let solver = Deis::new(order, DeisTime::Tab).unwrap();
            let said = solver.official(true).unwrap().order() as f64;
            assert!((measured - said).abs() < 0.25, "order {order}: {measured}");
        }
    }
}
