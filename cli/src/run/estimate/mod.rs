//! `--dry-run`: how long a run would take and how much memory, from a round or two on a scratch copy.

mod limit;
mod need;

pub use need::{Need, Training};

use crate::run::memory::{forget_peak_memory, peak_memory};
use crate::screen::progress::{bytes, duration};
use crate::screen::say::say;

/// Samples in memory at once to try, where a run has more; what the larger number needs more tells how memory grows.
const SMALL: usize = 4;
const LARGE: usize = 8;

/// What a round costs.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    /// Seconds a round of the full batch.
    pub seconds: f64,
    /// Peak memory in bytes, where the system tells.
    pub peak: Option<u64>,
}

/// A run to measure.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Samples a round.
    pub batch: usize,
    /// Those of them that are in memory at once.
    pub micro: usize,
    /// Bytes that a run keeps of a sample while others are worked on.
    pub kept: u64,
}

impl Calibration {
    /// Measures a run: `rounds(batch, micro, last)` does some rounds of so many samples, so many of them at once, as the
    /// run itself would, and returns the seconds of the last round; `last` says that it will not be asked again. Every
    /// measured round has two parts where the run has several: their gradients are added up.
    pub fn measure(
        extent: Extent,
        mut rounds: impl FnMut(usize, usize, bool) -> anyhow::Result<f64>,
    ) -> anyhow::Result<Self> {
        let batch = extent.batch.max(1);
        let micro = extent.micro.clamp(1, batch);
        let tried = |micro: usize| match extent.micro >= batch {
            true => micro,
            false => (2 * micro).min(batch),
        };
        // Reading a data set may have taken more than a few samples do: that would hide how memory grows with them.
        let before = peak_memory();
        let mut round = |batch, micro, last| -> anyhow::Result<(f64, Option<u64>)> {
            forget_peak_memory();
            Ok((rounds(batch, micro, last)?, peak_memory()))
        };
        let (measured, seconds, peak) = if micro <= LARGE {
            let (seconds, peak) = round(tried(micro), micro, true)?;
            (tried(micro), seconds, peak)
        } else {
            let (_, low) = round(tried(SMALL), SMALL, false)?;
            let (seconds, high) = round(tried(LARGE), LARGE, true)?;
            let peak = low.zip(high).map(|(low, high)| {
                let grown = high.saturating_sub(low) as f64 / (LARGE - SMALL) as f64;
                high + (grown * (micro - LARGE) as f64) as u64
            });
            (tried(LARGE), seconds, peak)
        };
        let peak = peak.map(|peak| peak + extent.kept * (batch - measured) as u64);
        Ok(Self {
            seconds: seconds * batch as f64 / measured as f64,
            peak: peak.map(|peak| peak.max(before.unwrap_or_default())),
        })
    }
}

/// Prints the recipe and, as comments, what it would cost.
pub fn print_estimate(
    recipe: &str,
    facts: &[(&str, String)],
    rounds: u64,
    updates: u64,
    calibration: &Calibration,
) {
    say!("{}\n", recipe.trim_end());
    for (name, value) in facts {
        say!("# {name}: {value}");
    }
    say!("# rounds: {rounds} ({updates} updates)");
    let peak = calibration
        .peak
        .map_or("not known on this system".into(), bytes);
    say!("# predicted peak memory: {peak}");
    // What there is, where that is less or not much more.
    if let (Some(peak), Some(limit)) = (calibration.peak, limit::tightest())
        && limit.bytes < 2 * peak
    {
        say!("# {} is {}", limit.what, bytes(limit.bytes));
    }
    let time = duration(calibration.seconds * rounds as f64);
    say!("# predicted time: {time}, checkpoints and previews not counted");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(batch: usize, micro: usize) -> Vec<(usize, usize, bool)> {
        let mut calls = Vec::new();
        let extent = Extent {
            batch,
            micro,
            kept: 0,
        };
        let calibration = Calibration::measure(extent, |batch, micro, last| {
            calls.push((batch, micro, last));
            Ok(batch as f64)
        });
        // A second for each sample.
        assert_eq!(calibration.unwrap().seconds, batch as f64);
        calls
    }

    #[test]
    fn what_is_measured_is_as_like_the_run_as_can_be() {
        assert_eq!(tried(128, 1), [(2, 1, true)]);
        assert_eq!(tried(1, 1), [(1, 1, true)]);
        assert_eq!(tried(5, 3), [(5, 3, true)]);
        assert_eq!(tried(8, 8), [(8, 8, true)]);
        assert_eq!(tried(128, 8), [(16, 8, true)]);
        assert_eq!(tried(32, 32), [(4, 4, false), (8, 8, true)]);
        assert_eq!(tried(128, 32), [(8, 4, false), (16, 8, true)]);
    }
}
