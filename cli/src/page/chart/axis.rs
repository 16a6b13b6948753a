//! An axis that is linear or logarithmic, with round numbers beside it.

use super::label::label;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

/// Numbers along an axis.
#[derive(Clone, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    log: bool,
    /// Whether it is for whole numbers, between which there is nothing to name.
    whole: bool,
}

impl Axis {
    /// One that has room for these.
    pub fn new(values: impl Iterator<Item = f64> + Clone, log: bool) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let least = finite.clone().fold(f64::INFINITY, f64::min);
        let most = finite.clone().fold(f64::NEG_INFINITY, f64::max);
        // Within a small factor there are no round numbers to tell a place by.
        let log = log && least > 0.0 && most >= 4.0 * least;
        let whole = finite.clone().all(|value| value.fract() == 0.0);
        let place = |value: f64| if log { value.log10() } else { value };
        let low = finite
            .clone()
            .fold(f64::INFINITY, |low, v| low.min(place(v)));
        let high = finite.fold(f64::NEG_INFINITY, |high, v| high.max(place(v)));
        let (low, high) = match low <= high {
            true => (low, high),
            false => (0.0, 1.0),
        };
        let room = match high > low {
            true => 0.05 * (high - low),
            false => 0.05 * high.abs().max(0.1),
        };
        // What is never negative begins at nothing, if that is not far.
        let below = match !log && low >= 0.0 && low < 0.5 * high {
            true => 0.0,
            false => low - room,
        };
        Self {
            low: below,
            high: high + room,
            log,
            whole,
        }
    }

    /// Where a number stands, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let place = match self.log {
            // Error bars may go below zero.
            true => value.max(f64::MIN_POSITIVE).log10(),
            false => value,
        };
        ((place - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Round numbers, at most so many.
    fn ticks(&self, most: usize) -> Vec<f64> {
        if self.log {
            let whole = |steps: &[f64]| {
                let decades = self.low.floor() as i32..=self.high.ceil() as i32;
                let all = decades.flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d)));
                let inside = all.filter(|v| (self.low..=self.high).contains(&v.log10()));
                inside.collect::<Vec<_>>()
            };
            let choices = [
                &[1.0, 2.0, 3.0, 5.0][..],
                &[1.0, 2.0, 5.0],
                &[1.0, 3.0],
                &[1.0],
            ];
            let found = choices.iter().map(|steps| whole(steps));
            let mut found = found.filter(|ticks| ticks.len() <= most);
            if let Some(ticks) = found.next() {
                return ticks;
            }
            // Many decades: some of them.
            let decades = whole(&[1.0]);
            let every = decades.len().div_ceil(most);
            return decades.into_iter().step_by(every).collect();
        }
        let step = round_step((self.high - self.low) / most as f64);
        let step = if self.whole { step.max(1.0) } else { step };
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|at| at as f64 * step).collect()
    }
}

/// The least of 1, 2, 2.5 and 5 times a power of ten that is not smaller.
fn round_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let step = steps.iter().map(|step| step * decade);
    let mut step = step.filter(|step| *step >= least * 0.999_999);
    step.next().unwrap_or(10.0 * decade)
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let length = f64::from(limit.1 - limit.0);
        limit.0 + (self.part(*value) * length).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        self.ticks(hint.bold_points())
    }

    fn range(&self) -> Range<f64> {
        match self.log {
            true => 10f64.powf(self.low)..10f64.powf(self.high),
            false => self.low..self.high,
        }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        label(*value)
    }

    fn format_ext(&self, value: &f64) -> String {
        label(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(values: &[f64], log: bool) -> Vec<String> {
        let axis = Axis::new(values.iter().copied(), log);
        axis.ticks(5).into_iter().map(label).collect()
    }

    #[test]
    fn numbers_beside_an_axis_are_round() {
        assert_eq!(
            ticks(&[0.0, 2000.0], false),
            ["0", "500", "1000", "1500", "2000"]
        );
        assert_eq!(ticks(&[652.0, 52.0], false), ["0", "200", "400", "600"]);
        assert!(ticks(&[0.28, 0.29], false).contains(&"0.2825".into()));
        assert_eq!(ticks(&[1.0, 1000.0], true), ["1", "10", "100", "1000"]);
        assert_eq!(ticks(&[3.0, 30.0], true), ["3", "5", "10", "20", "30"]);
        assert_eq!(ticks(&[2.0, 3.0], false), ["2", "3"]);
        assert_eq!(ticks(&[2.5], false).len(), 5);
    }

    #[test]
    fn what_is_outside_stands_at_the_edge() {
        let axis = Axis::new([1.0, 100.0].into_iter(), true);
        assert_eq!(axis.map(&-5.0, (0, 100)), 0);
        assert!((40..=60).contains(&axis.map(&10.0, (0, 100))));
        // So close together, logarithms have no round numbers.
        assert_eq!(
            ticks(&[23_136.0, 24_000.0], true),
            ticks(&[23_136.0, 24_000.0], false)
        );
        // Nothing to show is no reason to fail.
        assert_eq!(Axis::new([].into_iter(), false).ticks(5), [0.0, 1.0]);
    }
}
