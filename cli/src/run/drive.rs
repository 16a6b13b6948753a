//! The loop of every training: rounds, ticks, checkpoints, and what asks it to stop.

use crate::context::Context;
use crate::run::folder::{Folder, metrics_line};
use crate::run::window::{Previews, Window};
use crate::screen::command_line::resuming;
use crate::screen::progress::{Progress, figure};
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

impl Tick {
    /// Whether it is time, so many rounds and so long after the last.
    fn is_due(self, rounds: u64, time: Duration) -> bool {
        match self {
            Self::Rounds(every) => rounds >= every,
            Self::Time(every) => time >= every,
        }
    }
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

/// Between two questions whether a round can begin.
const POLL: Duration = Duration::from_millis(500);

/// Runs a job from where it is to its end, to `stop_after`, or until a signal asks it to stop. Of several processes all take part
/// in each round, and the first alone writes.
pub fn drive(
    job: &mut dyn Job,
    folder: &Folder,
    options: Options,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let (together, reporter) = (&context.together, context.reporter);
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
    signal::catch("round")?;
    together.begin()?;
    let place = [job.rounds().to_le_bytes(), job.total().to_le_bytes()].concat();
    together.check_same(
        &place,
        "sees another checkpoint than the first: the run's folder must be one that all machines share",
    )?;
    if folder.is_held() && (job.rounds() == 0 || folder.changed) {
        // An unwritable folder shows now, not after the first hour; and what is changed holds whatever comes.
        job.state()?.write(&folder.state())?;
    }
    if together.asked()? {
        // While levels were searched for, or by the run before this one.
        return Ok(stopped(job, Outcome::Interrupted, context));
    }
    let started = Instant::now();
    let first = job.rounds();
    let mut saved = first;
    let mut progress = reporter.start(job.unit(), job.units(first), job.units(job.total()));
    let mut window = Window::new();
    let mut previews = Previews::default();
    while job.rounds() < job.total() {
        while !together.led(|| {
            let ready = job.ready(&mut progress);
            ready.map_err(|error| failed(job, folder, saved, error))
        })? {
            let asked = together.asked()?;
            // It may be long, and what is done is not lost meanwhile.
            let due = asked || options.tick.is_due(window.rounds, window.since.elapsed());
            if due && window.rounds > 0 && folder.is_held() {
                let seconds = folder.seconds_before + started.elapsed().as_secs_f64();
                checkpoint(job, folder, &window, seconds)?;
                saved = job.rounds();
                window = Window::new();
            }
            if asked {
                progress.finish();
                return Ok(stopped(job, Outcome::Interrupted, context));
            }
            signal::pause(POLL);
        }
        let measure = job.round().map_err(|error| {
            if matches!(error, Error::Diverged { .. } | Error::BrokenTeacher { .. }) {
                // Seen by all alike.
                together.ended();
            }
            failed(job, folder, saved, error)
        })?;
        window.add(&measure.values, measure.learning_rate);
        let note: Vec<_> = measure.values.iter().map(|v| figure(*v)).collect();
        let note = format!("{} {}", job.label(), note.join(" "));
        progress.set(job.units(job.rounds()), &note);
        keep(job, folder, options)?;
        let interrupted = together.asked()?;
        let enough = options
            .stop_after
            .is_some_and(|n| job.rounds() - first >= n);
        let stop = (interrupted || enough) && job.rounds() < job.total();
        let due = stop
            || options.tick.is_due(window.rounds, window.since.elapsed())
            || job.rounds() == job.total();
        if due && folder.is_held() {
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
            return Ok(stopped(job, outcome, context));
        }
    }
    progress.finish();
    if folder.is_held() {
        job.write(&product)?;
    }
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
    let wanted = options
        .snapshots
        .is_some_and(|every| round.is_multiple_of(every));
    if wanted && folder.is_held() {
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
fn stopped(job: &dyn Job, outcome: Outcome, context: &Context) -> Outcome {
    let (done, total, command) = (job.rounds(), job.total(), resuming());
    let by = match context.together.size() {
        1 => "go on with",
        _ => "go on, with as many processes as you like, by",
    };
    context.reporter.say(format!(
        "stopped after round {done} of {total}; {by}:\n  {command}"
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
}
