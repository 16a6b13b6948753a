//! A distillation that waits for trajectories which other processes make.

use crate::run::lock::this_process;
use crate::screen::progress::{Progress, duration};
use fewstep::Error;
use fewstep::distill::{Claim, Claimed, TrajectorySource};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long nobody may be at work on what is waited for; nothing: for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(Option<Duration>);

impl FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self(None));
        }
        let split = text
            .trim_end_matches(|c: char| c.is_ascii_alphabetic())
            .len();
        let unit = match &text[split..] {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            _ => None,
        };
        let count = text[..split].parse::<u64>().ok();
        let seconds = unit.zip(count).and_then(|(unit, n)| n.checked_mul(unit));
        seconds
            .map(|seconds| Self(Some(Duration::from_secs(seconds))))
            .ok_or_else(|| format!("`{text}` is neither a time like 30s, 10m or 2h nor `forever`"))
    }
}

/// Between two looks at who is at work: such a look writes a file into the folder.
const LOOK: Duration = Duration::from_secs(5);

/// Between two lines where there is no bar.
const LINE: Duration = Duration::from_secs(60);

/// What is waited for, and what is done if it does not come.
pub(super) struct Waiting {
    patience: Patience,
    round: Option<Wait>,
    /// Nobody came in time for the round before: no need to wait as long for the next.
    alone: bool,
    /// Held while this process does the work itself.
    claim: Option<Claim>,
}

/// The wait for one round.
struct Wait {
    since: Instant,
    /// Since when nobody has been at work on it.
    idle: Option<Instant>,
    looked: Option<Instant>,
    said: Option<Instant>,
    holder: Option<String>,
}

impl Waiting {
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            patience,
            round: None,
            alone: false,
            claim: None,
        }
    }

    /// Whether the trajectories of a round are there, or are to be solved here.
    pub(super) fn ready(
        &mut self,
        source: &TrajectorySource,
        round: u64,
        progress: &mut Progress,
    ) -> Result<bool, Error> {
        if source.is_kept(round)? {
            self.alone = false;
            self.round = None;
            return Ok(true);
        }
        let wait = self.round.get_or_insert_with(|| Wait {
            since: Instant::now(),
            idle: None,
            looked: None,
            said: None,
            holder: None,
        });
        if wait.looked.is_none_or(|at| at.elapsed() >= LOOK) {
            // A folder that cannot be read or written now may come back.
            wait.holder = source.at_work(round).ok().flatten();
            wait.looked = Some(Instant::now());
            wait.idle = match wait.holder {
                Some(_) => None,
                None => wait.idle.or(wait.looked),
            };
        }
        if wait.said.is_none()
            && wait.holder.is_none()
            && let Some(difference) = source.difference(round)?
        {
            progress.say(&format!(
                "what is in the folder is of another run: {difference}; recipes and --device must agree"
            ));
        }
        let impatient = |idle: Instant| self.patience.0.is_some_and(|most| idle.elapsed() >= most);
        if let Some(idle) = wait.idle
            && (self.alone || impatient(idle))
        {
            match source.claim(round, &this_process()) {
                Ok(Claimed::Theirs(_)) => wait.looked = None,
                taken => {
                    if !self.alone {
                        progress.say(&format!(
                            "nobody is at work on the trajectories of round {round}: solving them here until others come"
                        ));
                    }
                    // Where nothing can be written, there is nobody to share with.
                    self.claim = match taken {
                        Ok(Claimed::Mine(claim)) => Some(claim),
                        _ => None,
                    };
                    self.alone = true;
                    self.round = None;
                    return Ok(true);
                }
            }
        }
        let line = wait.said.is_none_or(|at| at.elapsed() >= LINE);
        if line {
            wait.said = Some(Instant::now());
        }
        let who = match &wait.holder {
            Some(holder) => format!("{holder} is at work on them"),
            None => "nobody is at work on them".into(),
        };
        let time = duration(wait.since.elapsed().as_secs_f64());
        let note = format!("waiting for the trajectories of round {round} since {time}; {who}");
        progress.wait(&note, line);
        Ok(false)
    }

    /// The trajectories are there, whoever made them.
    pub(super) fn done(&mut self) {
        self.claim = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_a_time_or_has_no_end() {
        let seconds = |n| Ok(Patience(Some(Duration::from_secs(n))));
        assert_eq!("0s".parse(), seconds(0));
        assert_eq!("10m".parse(), seconds(600));
        assert_eq!("2h".parse(), seconds(7200));
        assert_eq!("forever".parse(), Ok(Patience(None)));
        for bad in [
            "",
            "10",
            "m",
            "-1s",
            "1.5h",
            "9999999999999999999h",
            "never",
        ] {
            assert!(bad.parse::<Patience>().is_err(), "{bad}");
        }
    }
}
