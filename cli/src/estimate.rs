//! `--dry-run`: how long a run would take and how much memory, from a round or two on a scratch copy.

use crate::device::peak_memory;
use crate::progress::{bytes, duration};
use std::time::Instant;

/// Batch sizes to try; what the larger one needs more tells how memory grows.
const SMALL: usize = 2;
const LARGE: usize = 8;

/// What a round costs.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    /// Seconds a round of the full batch.
    pub seconds: f64,
    /// Peak memory in bytes, where the system tells.
    pub peak: Option<u64>,
}

impl Calibration {
    /// Runs `round` with a small batch and with a larger one. `micro` samples are in memory at once in the real run.
    pub fn measure(
        batch: usize,
        micro: usize,
        mut round: impl FnMut(usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let small = SMALL.min(batch);
        let large = LARGE.min(batch);
        round(small)?;
        let low = peak_memory();
        let started = Instant::now();
        round(large)?;
        let seconds = started.elapsed().as_secs_f64() * batch as f64 / large as f64;
        let peak = low.zip(peak_memory()).map(|(low, high)| {
            let grown = (high - low) as f64 / (large - small).max(1) as f64;
            high + (grown * micro.min(batch).saturating_sub(large) as f64) as u64
        });
        Ok(Self { seconds, peak })
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
    println!("{}\n", recipe.trim_end());
    for (name, value) in facts {
        println!("# {name}: {value}");
    }
    println!("# rounds: {rounds} ({updates} updates)");
    let peak = calibration.peak.map_or("not known on this system".into(), bytes);
    println!("# predicted peak memory: {peak}");
    let time = duration(calibration.seconds * rounds as f64);
    println!("# predicted time: {time}, checkpoints and previews not counted");
}
