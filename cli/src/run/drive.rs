//! The loop of every training: rounds, ticks, checkpoints, and what asks it to stop.

use crate::run::folder::{Folder, metrics_line};
use crate::screen::command_line::resuming;
use crate::screen::progress::{Progress, Reporter, figure};
use crate::screen::signal;
use fewstep::Error;
use fewstep::model::State;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// What one round measured.
pub struct Measure {
    /// The loss, or a distance for each student step.
    pub values: Vec<f64>,
    /// The learning rate it used.
    pub learning_rate: f64,
}

/// Something that is trained round by round. A round depends on the state only: ticks, previews and checkpoints leave
/// no trace in the result.
pub trait Job {
    /// The name of the file it makes.
    fn product(&self) -> &'static str;
    /// What is counted, in the plural.
    fn unit(&self) -> &'static str;
    /// The name of what is measured.
    fn measure(&self) -> &'static str;
    /// The same, as a bar shows it.
    fn label(&self) -> String {
        self.measure().into()
    }
    /// How to go on where the numbers run away.
    fn advice(&self) -> &'static str {
        "--resume --set learning-rate=RATE goes on from there with a smaller rate"
    }
    /// Units a round.
    fn batch(&self) -> u64;
    /// Units of the first `rounds` rounds.
    fn units(&self, rounds: u64) -> u64 {
        rounds * self.batch()
    }
    /// Rounds done.
    fn rounds(&self) -> u64;
    /// Rounds in the whole run.
    fn total(&self) -> u64;
    /// Whether the next round can begin; asked again until it can. It says itself what it waits for.
    fn ready(&mut self, _progress: &mut Progress) -> Result<bool, Error> {
        Ok(true)
    }
    /// One round.
    fn round(&mut self) -> Result<Measure, Error>;
    /// Everything that the next round depends on.
    fn state(&self) -> Result<State, Error>;
    /// Writes the file it makes.
    fn write(&self, path: &Path) -> Result<(), Error>;
    /// Writes a picture of how far it is, if there is anything to see.
    fn preview(&mut self, path: &Path) -> anyhow::Result<()>;
}

/// How often to write a checkpoint, a metrics line and a preview.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tick {
    /// Every so many rounds.
    Rounds(u64),
    /// After so much time, at the end of a round.
    Time(Duration),
}

impl FromStr for Tick {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse::<u64>().ok().filter(|n| *n > 0);
        let split = text
            .trim_end_matches(|c: char| c.is_ascii_alphabetic())
            .len();
        let tick = match (number(&text[..split]), &text[split..]) {
            (Some(n), "") => Some(Self::Rounds(n)),
            (Some(n), "s") => Some(Self::Time(Duration::from_secs(n))),
            (Some(n), "m") => n
                .checked_mul(60)
                .map(|s| Self::Time(Duration::from_secs(s))),
            _ => None,
        };
        tick.ok_or_else(|| {
            format!("`{text}` is neither a time like 60s or 5m nor a number of rounds, 1 or more")
        })
    }
}

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Checkpoints and metrics.
    pub tick: Tick,
    /// Leave off after this many rounds.
    pub stop_after: Option<u64>,
    /// Keep the states of every so many rounds.
    pub snapshots: Option<u64>,
    /// Keep so many of them; all if not given.
    pub keep: Option<usize>,
    /// Draw previews.
    pub previews: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The product is written.
    Finished,
    /// It left off as asked; there is a checkpoint.
    Stopped,
    /// By Ctrl-C or its like; there is a checkpoint.
    Interrupted,
}

impl Outcome {
    /// The exit status.
    pub fn code(self) -> ExitCode {
        match self {
            Self::Finished | Self::Stopped => ExitCode::SUCCESS,
            Self::Interrupted => ExitCode::from(signal::status()),
        }
    }
}

/// What has been measured since the last tick.
struct Window {
    sums: Vec<f64>,
    rounds: u64,
    learning_rate: f64,
    since: Instant,
}

impl Window {
    fn new() -> Self {
        Self {
            sums: Vec::new(),
            rounds: 0,
            learning_rate: 0.0,
            since: Instant::now(),
        }
    }

    fn add(&mut self, measure: &Measure) {
        self.sums.resize(measure.values.len(), 0.0);
        for (sum, value) in self.sums.iter_mut().zip(&measure.values) {
            *sum += value;
        }
        self.rounds += 1;
        self.learning_rate = measure.learning_rate;
    }

    fn is_due(&self, tick: Tick) -> bool {
        match tick {
            Tick::Rounds(rounds) => self.rounds >= rounds,
            Tick::Time(time) => self.since.elapsed() >= time,
        }
    }
}

/// The time that previews have taken.
#[derive(Clone, Copy, Debug, Default)]
struct Previews {
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
    fn due(&self, elapsed: Duration) -> bool {
        self.last < QUICK || (self.spent + self.last) * SHARE <= elapsed
    }

    fn took(&mut self, time: Duration) {
        self.spent += time;
        self.last = time;
    }
}

/// Between two questions whether a round can begin.
const POLL: Duration = Duration::from_millis(500);

/// Runs a job from where it is to its end, to `stop_after`, or until a signal asks it to stop.
pub fn drive(
    job: &mut dyn Job,
    folder: &Folder,
    options: Options,
    reporter: Reporter,
) -> anyhow::Result<Outcome> {
    let product = folder.file(job.product());
    if job.rounds() >= job.total() && product.exists() {
        reporter.say(format!(
            "nothing left to do: {} is finished",
            product.display()
        ));
        return Ok(Outcome::Finished);
    }
    if folder.resumes {
        reporter.say(found(folder, job.rounds(), job.total()));
    }
    if job.rounds() == 0 || folder.changed {
        // An unwritable folder shows now, not after the first hour; and what is changed holds whatever comes.
        job.state()?.write(&folder.state())?;
    }
    signal::catch("round")?;
    if signal::asked() {
        // While levels were searched for, or by the run before this one.
        return Ok(stopped(job, Outcome::Interrupted, reporter));
    }
    let started = Instant::now();
    let first = job.rounds();
    let mut saved = first;
    let mut progress = reporter.start(job.unit(), job.units(first), job.units(job.total()));
    let mut window = Window::new();
    let mut previews = Previews::default();
    while job.rounds() < job.total() {
        while !job
            .ready(&mut progress)
            .map_err(|error| failed(job, folder, saved, error))?
        {
            // It may be long, and what is done is not lost meanwhile.
            let due = signal::asked() || window.is_due(options.tick);
            if due && window.rounds > 0 {
                let seconds = folder.seconds_before + started.elapsed().as_secs_f64();
                checkpoint(job, folder, &window, seconds)?;
                saved = job.rounds();
                window = Window::new();
            }
            if signal::asked() {
                progress.finish();
                return Ok(stopped(job, Outcome::Interrupted, reporter));
            }
            signal::pause(POLL);
        }
        let measure = job
            .round()
            .map_err(|error| failed(job, folder, saved, error))?;
        window.add(&measure);
        let note: Vec<_> = measure.values.iter().map(|v| figure(*v)).collect();
        let note = format!("{} {}", job.label(), note.join(" "));
        progress.set(job.units(job.rounds()), &note);
        keep(job, folder, options)?;
        let interrupted = signal::asked();
        let enough = options
            .stop_after
            .is_some_and(|n| job.rounds() - first >= n);
        let stop = (interrupted || enough) && job.rounds() < job.total();
        if stop || window.is_due(options.tick) || job.rounds() == job.total() {
            let seconds = folder.seconds_before + started.elapsed().as_secs_f64();
            let line = checkpoint(job, folder, &window, seconds)?;
            let last = job.rounds() == job.total();
            // Who presses Ctrl-C wants to leave, and a scheduler does not wait.
            if options.previews && !interrupted && (last || previews.due(started.elapsed())) {
                let begun = Instant::now();
                preview(job, folder, &progress);
                folder.append_preview(&line)?;
                previews.took(begun.elapsed());
            }
            saved = job.rounds();
            window = Window::new();
        }
        if stop {
            progress.finish();
            let outcome = match interrupted {
                true => Outcome::Interrupted,
                false => Outcome::Stopped,
            };
            return Ok(stopped(job, outcome, reporter));
        }
    }
    progress.finish();
    job.write(&product)?;
    Ok(Outcome::Finished)
}

/// Why a round failed, and what there is to go on from.
fn failed(job: &dyn Job, folder: &Folder, saved: u64, error: Error) -> anyhow::Error {
    let advice = match error {
        Error::Diverged { .. } => format!("; {}", job.advice()),
        _ => String::new(),
    };
    let state = folder.state();
    anyhow::Error::new(error).context(format!(
        "stopped; {} holds round {saved}, the last good checkpoint{advice}",
        state.display()
    ))
}

/// Writes a snapshot if this round is one of those to keep.
fn keep(job: &dyn Job, folder: &Folder, options: Options) -> anyhow::Result<()> {
    let round = job.rounds();
    if options
        .snapshots
        .is_some_and(|every| round.is_multiple_of(every))
    {
        job.state()?.write(&folder.snapshot(round))?;
        if let Some(count) = options.keep {
            folder.keep_snapshots(count)?;
        }
    }
    Ok(())
}

/// What `--resume` found.
fn found(folder: &Folder, done: u64, total: u64) -> String {
    let path = folder.path().display();
    match done {
        0 => format!("{path}: no round is done yet; starting at round 0 of {total}"),
        done => format!("{path}: going on at round {done} of {total}"),
    }
}

/// Says how to go on.
fn stopped(job: &dyn Job, outcome: Outcome, reporter: Reporter) -> Outcome {
    let (done, total, command) = (job.rounds(), job.total(), resuming());
    reporter.say(format!(
        "stopped after round {done} of {total}; go on with:\n  {command}"
    ));
    outcome
}

/// Writes the state, then what describes it, which is returned.
fn checkpoint(
    job: &mut dyn Job,
    folder: &Folder,
    window: &Window,
    seconds: f64,
) -> anyhow::Result<Value> {
    let round = job.rounds();
    job.state()?.write(&folder.state())?;
    let means: Vec<f64> = window
        .sums
        .iter()
        .map(|s| s / window.rounds as f64)
        .collect();
    let value = match means.as_slice() {
        [only] if job.measure() == "loss" => json!(only),
        all => json!(all),
    };
    let units = job.units(round);
    let new = units - job.units(round - window.rounds);
    let rate = new as f64 / window.since.elapsed().as_secs_f64();
    let rest = [window.learning_rate, seconds, rate];
    let line = metrics_line(round, job.unit(), units, (job.measure(), value), rest);
    folder.append_metrics(&line)?;
    Ok(line)
}

/// A picture is a comfort, not a result: the run goes on without it.
fn preview(job: &mut dyn Job, folder: &Folder, progress: &Progress) {
    let path = folder.preview(job.rounds());
    if let Err(error) = job.preview(&path)
        && !error.is::<signal::Stopped>()
    {
        progress.say(&format!(
            "warning: no preview: {}",
            crate::screen::failure::one_line(&error)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_times_or_rounds() {
        assert_eq!("60s".parse(), Ok(Tick::Time(Duration::from_secs(60))));
        assert_eq!("5m".parse(), Ok(Tick::Time(Duration::from_secs(300))));
        assert_eq!("12".parse(), Ok(Tick::Rounds(12)));
        for bad in ["", "s", "0", "0s", "-1s", "5h", "1.5s"] {
            assert!(bad.parse::<Tick>().is_err(), "{bad}");
        }
    }

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
