//! Runs of the program whose memory is watched, where Linux tells.

use super::support::PROGRAM;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a run took.
pub struct Took {
    /// The largest memory that was seen, in bytes.
    pub memory: f64,
    /// From start to end.
    pub seconds: f64,
    /// What it printed.
    pub said: String,
}

/// Runs the program in a folder.
pub fn run(folder: &Path, arguments: &[&str]) -> Took {
    let started = Instant::now();
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak: f64 = 0.0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        if let Some(kilobytes) = line.and_then(|l| l.trim().strip_suffix("kB")) {
            peak = peak.max(1024.0 * kilobytes.trim().parse::<f64>().unwrap());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let seconds = started.elapsed().as_secs_f64();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    Took {
        memory: peak,
        seconds,
        said: String::from_utf8(output.stdout).unwrap(),
    }
}

/// The memory that a dry run predicts, in bytes.
pub fn forecast(text: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("# predicted peak memory: "));
    let (number, unit) = line.unwrap().split_once(' ').unwrap();
    let unit = ["B", "kB", "MB", "GB"].iter().position(|u| *u == unit);
    number.parse::<f64>().unwrap() * 1000f64.powi(unit.unwrap() as i32)
}
