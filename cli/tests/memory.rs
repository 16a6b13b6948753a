//! The memory that a dry run forecasts is the memory that the run takes.

#![cfg(target_os = "linux")]

#[path = "support/peak.rs"]
mod peak;
mod support;

use peak::{forecast, run};
use std::fs;
use std::path::Path;

#[test]
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
        let wanted = forecast(&run(folder.path(), &dry).said);
        let out = format!("run-{batch}");
        let real = [&arguments[..], &["--out", &out]].concat();
        let took = run(folder.path(), &real);
        let found = took.memory;
        println!(
            "batch {batch}: forecast {wanted:.2e}, found {found:.2e}, {:.0} s",
            took.seconds
        );
        assert!(
            (wanted / found - 1.0).abs() < 0.15,
            "batch {batch}: {wanted:.2e} for {found:.2e}"
        );
    }
}
