//! What there is to say at a tick: what has been measured since the last, and whether a picture is worth its time.

use std::time::{Duration, Instant};

/// What has been measured since the last tick.
pub struct Window {
    pub sums: Vec<f64>,
    pub rounds: u64,
    pub learning_rate: f64,
    pub since: Instant,
}

impl Window {
    pub fn new() -> Self {
        Self {
            sums: Vec::new(),
            rounds: 0,
            learning_rate: 0.0,
            since: Instant::now(),
        }
    }

    /// Takes in what a round measured.
    pub fn add(&mut self, values: &[f64], learning_rate: f64) {
        self.sums.resize(values.len(), 0.0);
        for (sum, value) in self.sums.iter_mut().zip(values) {
            *sum += value;
        }
        self.rounds += 1;
        self.learning_rate = learning_rate;
    }
}

/// The time that previews have taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Previews {
    spent: Duration,
    /// The last one.
    last: Duration,
}

/// A preview that takes less is made at every tick.
const QUICK: Duration = Duration::from_secs(5);
/// Slower ones take at most one part of so many of the time.
const SHARE: u32 = 10;

impl Previews {
    /// Whether there is time for one more.
    pub fn due(&self, elapsed: Duration) -> bool {
        self.last < QUICK || (self.spent + self.last) * SHARE <= elapsed
    }

    /// One was made.
    pub fn took(&mut self, time: Duration) {
        self.spent += time;
        self.last = time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_previews_are_rare() {
        let seconds = Duration::from_secs;
        let mut previews = Previews::default();
        assert!(previews.due(seconds(0)));
        previews.took(seconds(4));
        assert!(previews.due(seconds(8)));
        previews.took(seconds(60));
        // 4 + 60 + 60 seconds are a tenth of 1240.
        assert!(!previews.due(seconds(1239)) && previews.due(seconds(1240)));
    }
}
