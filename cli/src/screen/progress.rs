//! Progress on stderr: a bar on a terminal, a plain line every few seconds elsewhere.

use crate::screen::say::tell;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Seconds between plain lines.
const PAUSE: Duration = Duration::from_secs(5);

/// Below this many a second, the time for one is shown.
const SLOW: f64 = 0.1;

/// How progress is shown.
#[derive(Clone, Copy, Debug)]
pub struct Reporter {
    quiet: bool,
    terminal: bool,
}

impl Reporter {
    /// Looks at what stderr is.
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// The same without progress, if `quiet`.
    #[must_use]
    pub fn quieter(self, quiet: bool) -> Self {
        Self {
            quiet: self.quiet || quiet,
            ..self
        }
    }

    /// A line for people.
    pub fn say(self, line: impl AsRef<str>) {
        if !self.quiet {
            tell!("{}", line.as_ref());
        }
    }

    /// A line that `--quiet` does not hide.
    pub fn warn(self, line: impl AsRef<str>) {
        tell!("warning: {}", line.as_ref());
    }

    /// Starts counting from `done` to `total`.
    pub fn start(self, what: &str, done: u64, total: u64) -> Progress {
        let template = "{prefix} {wide_bar} {human_pos}/{human_len}  {msg}";
        self.begin(what, [done, total], template)
    }

    /// As [`start`](Self::start), of bytes; the total is 0 if it is not known.
    pub fn start_bytes(self, what: &str, done: u64, total: u64) -> Progress {
        let template = match total {
            0 => "{prefix} {decimal_bytes}  {msg}",
            _ => "{prefix} {wide_bar} {decimal_bytes}/{decimal_total_bytes}  {msg}",
        };
        Progress {
            unit: |count| bytes(count as u64),
            ..self.begin(what, [done, total], template)
        }
    }

    fn begin(self, what: &str, [done, total]: [u64; 2], template: &str) -> Progress {
        let bar = ProgressBar::new(total).with_position(done);
        if self.quiet || !self.terminal {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_string());
        Progress {
            what: what.to_string(),
            plain: !self.quiet && !self.terminal,
            bar,
            unit: figure,
            first: done,
            total,
            started: Instant::now(),
            last_line: Instant::now(),
        }
    }
}

/// A count on its way to a total.
pub struct Progress {
    what: String,
    plain: bool,
    bar: ProgressBar,
    /// How a count is shown in a rate.
    unit: fn(f64) -> String,
    first: u64,
    total: u64,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// Shows how far it is, the rate and the time left, and `note`.
    pub fn set(&mut self, done: u64, note: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = done.saturating_sub(self.first) as f64 / seconds.max(1e-9);
        let mut text = match rate {
            // What takes a minute is not counted by the second.
            slow if slow > 0.0 && slow < SLOW => format!("{} each", duration(1.0 / slow)),
            fast => format!("{}/s", (self.unit)(fast)),
        };
        if self.total > 0 {
            let left = self.total.saturating_sub(done) as f64 / rate.max(1e-9);
            text = format!("{text}, {} left", duration(left));
        }
        if !note.is_empty() {
            text = format!("{text}, {note}");
        }
        self.bar.set_message(text.clone());
        self.bar.set_position(done);
        if self.plain && self.last_line.elapsed() >= PAUSE {
            let of = match self.total {
                0 => String::new(),
                total => format!("/{total}"),
            };
            tell!("{} {done}{of}: {text}", self.what);
            self.last_line = Instant::now();
        }
    }

    /// Shows what is waited for, in place of a rate; where there is no bar, as a line of its own now and then.
    pub fn wait(&mut self, note: &str, line: bool) {
        self.bar.set_message(note.to_string());
        if self.plain && line {
            tell!("{note}");
            self.last_line = Instant::now();
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }

    /// Shows a line above the bar.
    pub fn say(&self, line: &str) {
        if self.plain {
            tell!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}

/// A number with three significant digits.
pub fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        // What rounds to 0.1.
        v if v >= 0.099_95 => format!("{value:.3}"),
        0.0 => "0".into(),
        _ => format!("{value:.2e}"),
    }
}

/// Seconds for people.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds > 3.2e8 {
        return "unknown time".into();
    }
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        3600..172_800 => format!("{} h {:02} min", s / 3600, s / 60 % 60),
        _ => format!("{} days {} h", s / 86_400, s / 3600 % 24),
    }
}

/// Bytes for people.
pub fn bytes(count: u64) -> String {
    let count = count as f64;
    if count >= 1e9 {
        format!("{:.2} GB", count / 1e9)
    } else if count >= 1e6 {
        format!("{:.1} MB", count / 1e6)
    } else {
        format!("{:.1} kB", count / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let figures = [1234.5, 12.345, 1.2345, 0.12345, 0.0012345, 0.0].map(figure);
        assert_eq!(figures, ["1234", "12.3", "1.23", "0.123", "1.23e-3", "0"]);
        let times = [3.2, 75.0, 3700.0, 200_000.0, f64::INFINITY].map(duration);
        assert_eq!(
            times,
            [
                "3 s",
                "1 min 15 s",
                "1 h 01 min",
                "2 days 7 h",
                "unknown time"
            ]
        );
        assert_eq!(
            [900, 2_500_000, 1_230_000_000].map(bytes),
            ["0.9 kB", "2.5 MB", "1.23 GB"]
        );
    }
}
