//! Ctrl-C, SIGTERM and SIGHUP: what is asked to stop finishes its round or batch first.

use crate::screen::say::tell;
use anyhow::Context as _;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

const HANGUP: i32 = 1;
const INTERRUPT: i32 = 2;
const TERMINATE: i32 = 15;

/// The first signal; 0 before it.
static ASKED: AtomicI32 = AtomicI32::new(0);

/// What is finished first.
static UNIT: Mutex<&str> = Mutex::new("");

/// Signals that come together are one: a shell and `timeout` both send theirs to the process and to its group.
const TOGETHER: Duration = Duration::from_millis(500);

/// The work was left off because a signal asked for it.
#[derive(Debug)]
pub struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(name(ASKED.load(Ordering::Relaxed)))
    }
}

impl std::error::Error for Stopped {}

/// From now on the first signal is only noted; one that comes later ends the program at once. `unit` is what is finished
/// first. Before that, signals do what they do to any program: there is nothing to save.
pub fn catch(unit: &'static str) -> anyhow::Result<()> {
    static CAUGHT: OnceLock<()> = OnceLock::new();
    *UNIT.lock().unwrap_or_else(PoisonError::into_inner) = unit;
    if CAUGHT.set(()).is_err() {
        return Ok(());
    }
    let mut first = None;
    listen(move |signal| {
        let since = first.map(|at: Instant| at.elapsed());
        match answer(since, signal) {
            Answer::Note => {
                first = Some(Instant::now());
                ASKED.store(signal, Ordering::Relaxed);
                let unit = *UNIT.lock().unwrap_or_else(PoisonError::into_inner);
                tell!(
                    "{}: finishing the {unit} (Ctrl-C again to stop at once)",
                    name(signal)
                );
            }
            Answer::Nothing => {}
            Answer::End => std::process::exit(status_of(signal).into()),
        }
    })
}

/// Calls `act` with the exit status at the first signal, in a thread of its own.
pub fn catch_with(mut act: impl FnMut(u8) + Send + 'static) -> anyhow::Result<()> {
    listen(move |signal| act(status_of(signal)))
}

/// Whether to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed) != 0
}

/// The first signal, for other processes; 0 before it.
pub fn noted() -> u8 {
    u8::try_from(ASKED.load(Ordering::Relaxed)).unwrap_or_default()
}

/// Takes note of a signal that another process had, as if it had come here.
pub fn note(signal: u8) {
    let first = ASKED.compare_exchange(0, signal.into(), Ordering::Relaxed, Ordering::Relaxed);
    let _ = first;
}

/// An error once it is time to stop, for work that has nothing to save.
pub fn check() -> Result<(), Stopped> {
    if asked() { Err(Stopped) } else { Ok(()) }
}

/// Sleeps, unless it is time to stop.
pub fn pause(time: Duration) {
    let slice = Duration::from_millis(100);
    let started = Instant::now();
    while !asked() && started.elapsed() < time {
        std::thread::sleep(slice.min(time.saturating_sub(started.elapsed())));
    }
}

/// The exit status of what was stopped: 128 and the number of the signal, as shells have it.
pub fn status() -> u8 {
    status_of(ASKED.load(Ordering::Relaxed))
}

fn status_of(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

fn name(signal: i32) -> &'static str {
    match signal {
        TERMINATE => "terminated",
        HANGUP => "hung up",
        _ => "interrupted",
    }
}

/// What to do about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Note,
    Nothing,
    End,
}

/// `since` is the time since the first. A terminal that is closed sends its hang-up by the shell and by the system.
fn answer(since: Option<Duration>, signal: i32) -> Answer {
    match since {
        None => Answer::Note,
        Some(since) if since < TOGETHER || signal == HANGUP => Answer::Nothing,
        Some(_) => Answer::End,
    }
}

#[cfg(unix)]
fn listen(mut act: impl FnMut(i32) + Send + 'static) -> anyhow::Result<()> {
    let mut wanted = vec![INTERRUPT, TERMINATE];
    if !hangup_is_ignored() {
        wanted.push(HANGUP);
    }
    let mut signals =
        signal_hook::iterator::Signals::new(wanted).context("cannot catch signals")?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || signals.forever().for_each(&mut act))
        .context("cannot catch signals")?;
    Ok(())
}

#[cfg(not(unix))]
fn listen(mut act: impl FnMut(i32) + Send + 'static) -> anyhow::Result<()> {
    ctrlc::set_handler(move || act(INTERRUPT)).context("cannot catch Ctrl-C")
}

/// Whether this runs under `nohup`, which wants a closed terminal to change nothing.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    use std::io::IsTerminal;
    let status = std::fs::read_to_string("/proc/self/status").ok();
    match status.as_deref().and_then(ignored) {
        Some(mask) => mask & 1 << (HANGUP - 1) != 0,
        // Where there is no such file: `nohup` leaves no stream at the terminal.
        None => !std::io::stderr().is_terminal(),
    }
}

/// The signals that are ignored, a bit for each.
#[cfg(unix)]
fn ignored(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_come_together_are_one() {
        let after = |ms| Some(Duration::from_millis(ms));
        assert_eq!(answer(None, INTERRUPT), Answer::Note);
        for signal in [HANGUP, INTERRUPT, TERMINATE] {
            assert_eq!(answer(after(0), signal), Answer::Nothing);
            assert_eq!(answer(after(499), signal), Answer::Nothing);
        }
        assert_eq!(answer(after(500), INTERRUPT), Answer::End);
        assert_eq!(answer(after(9000), TERMINATE), Answer::End);
        assert_eq!(answer(after(9000), HANGUP), Answer::Nothing);
    }

    #[test]
    fn the_status_is_the_shells() {
        let all = [HANGUP, INTERRUPT, TERMINATE].map(status_of);
        assert_eq!(all, [129, 130, 143]);
    }

    #[cfg(unix)]
    #[test]
    fn ignored_signals_are_read() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored(status), Some(0x1001));
        assert_eq!(ignored("Name:\tx\n"), None);
    }
}
