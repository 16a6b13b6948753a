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

#[test]
fn a_dry_run_of_a_teacher_forecasts_its_memory() {
    let folder = tempfile::tempdir().unwrap();
    // Few pictures, and so many that reading them takes more than training on a few.
    for (data, channels, resolution, batch, pictures) in [
        ("few", 16, 32, "64", 16),
        ("few", 32, 32, "24", 16),
        ("few", 16, 16, "6", 16),
        ("many", 16, 32, "32", 80_000),
    ] {
        let images = folder.path().join(format!("{data}-idx3-ubyte"));
        let mut bytes = vec![0, 0, 8, 3];
        for number in [pictures, 28, 28] {
            bytes.extend(u32::to_be_bytes(number));
        }
        bytes.resize(16 + pictures as usize * 28 * 28, 99);
        fs::write(&images, bytes).unwrap();
        let recipe = format!(
            "kind = \"teacher\"\nimages = 1000\nbatch = {batch}\nlearning-rate = 0.001\naverage-half-life = 100.0\n\
             [network]\nkind = \"song-unet\"\nresolution = {resolution}\nchannels = 1\nclasses = 0\n\
             model-channels = {channels}\nchannel-multipliers = [1, 2, 2]\nblocks = 2\nattention-resolutions = [8]\n\
             [sampling]\nsolver = {{ kind = \"dpm-solver-pp\" }}\nsteps = 2\nsigma-max = 80.0\nsigma-min = 0.006\n\
             spacing = {{ kind = \"polynomial\", rho = 7.0 }}\nanalytic-first-step = false\n"
        );
        fs::write(folder.path().join("teacher.toml"), recipe).unwrap();
        let images = images.to_str().unwrap();
        let arguments = ["train", "teacher.toml", "--data", images, "--resize"];
        let dry = [&arguments[..], &["--dry-run"]].concat();
        let wanted = forecast(&run(folder.path(), &dry).said);
        let out = format!("run-{data}-{channels}-{resolution}");
        let more = ["--out", &out, "--stop-after", "2"];
        let found = run(folder.path(), &[&arguments[..], &more].concat()).memory;
        println!("{data}, {channels} channels: forecast {wanted:.2e}, found {found:.2e}");
        assert!(
            (wanted / found - 1.0).abs() < 0.15,
            "{data}, {channels} channels at {resolution}, batch {batch}: {wanted:.2e} for {found:.2e}"
        );
    }
}
