//! The memory that a dry run forecasts is the memory that the run takes.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::PROGRAM;

/// Runs the program; returns the largest memory that was seen, in bytes, and what it printed.
#[cfg(target_os = "linux")]
fn run(folder: &Path, arguments: &[&str]) -> (f64, String) {
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
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    (peak, String::from_utf8(output.stdout).unwrap())
}

/// What the dry run says, in bytes.
#[cfg(target_os = "linux")]
fn forecast(text: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("# predicted peak memory: "));
    let (number, unit) = line.unwrap().split_once(' ').unwrap();
    let unit = ["B", "kB", "MB", "GB"].iter().position(|u| *u == unit);
    number.parse::<f64>().unwrap() * 1000f64.powi(unit.unwrap() as i32)
}

#[test]
#[cfg(target_os = "linux")]
fn a_dry_run_forecasts_the_memory_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let teacher = assets.join("fashion-mnist-teacher.safetensors");
    let recipe = "kind = \"distillation\"\nsubsteps = 2\n";
    fs::write(folder.path().join("student.toml"), recipe).unwrap();
    let half = "teacher-precision=\"bf16\"";
    for (batch, more) in [
        // Larger than what the dry run tries, and as large.
        ("40", vec![]),
        ("6", vec!["--set", "micro-batch=3"]),
        ("24", vec!["--set", "micro-batch=12", "--set", half]),
        ("12", vec!["--set", "gradient-checkpointing=true"]),
    ] {
        let rounds = 2 * batch.parse::<usize>().unwrap();
        let sets = [format!("batch={batch}"), format!("trajectories={rounds}")];
        let teacher = teacher.to_str().unwrap();
        let mut arguments = vec!["distill", "student.toml", "--teacher", teacher];
        for set in &sets {
            arguments.extend(["--set", set]);
        }
        arguments.extend(more);
        let dry = [&arguments[..], &["--dry-run"]].concat();
        let wanted = forecast(&run(folder.path(), &dry).1);
        let out = format!("run-{batch}");
        let real = [&arguments[..], &["--out", &out]].concat();
        let (found, _) = run(folder.path(), &real);
        println!("batch {batch}: forecast {wanted:.2e}, found {found:.2e}");
        assert!(
            (wanted / found - 1.0).abs() < 0.15,
            "batch {batch}: {wanted:.2e} for {found:.2e}"
        );
    }
}
