//! One process a run.

#![cfg(unix)]

mod support;

use std::fs::{self, File};
use support::{World, wait_for};

#[test]
fn a_live_run_is_left_alone() {
    let world = World::with_teacher();
    let verb = "train teacher.toml --data data --set images=80000";
    let mut child = world.spawn(&format!("{verb} --out run --tick 2"));
    let metrics = world.path("run/metrics.jsonl");
    wait_for(&mut child, "metrics", || {
        metrics.metadata().is_ok_and(|m| m.len() > 0)
    });
    let process = format!("process {}", child.id());
    for flag in ["", " --resume", " --overwrite"] {
        world.says(&format!("{verb} --out run{flag}"), 2, &process);
    }
    // Neither another recipe nor another verb gets in.
    world.says(
        "train features.toml --data data --out run --overwrite",
        2,
        &process,
    );
    let distill = "distill student.toml --teacher teacher.safetensors --out run";
    world.says(&format!("{distill} --overwrite"), 2, &process);
    assert!(child.try_wait().unwrap().is_none(), "it was disturbed");
    assert!(world.path("run/state.safetensors").exists());
    // What a killed process leaves behind is no obstacle.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!world.bytes("run/.lock").is_empty());
    let said = world.fails(&format!("{verb} --out run --resume --stop-after 1"), 0);
    assert!(said.contains("run: going on at round "), "{said}");
    // Who is done leaves no name.
    assert!(world.bytes("run/.lock").is_empty());
}

#[test]
fn every_run_takes_the_lock() {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net");
    world.prints(
        "evaluate data --features net/features.safetensors --write-statistics statistics.safetensors",
    );
    fs::write(
        world.path("one.toml"),
        r#"
        title = "One"
        recipe = "student.toml"
        teacher = "teacher.safetensors"
        features = "net/features.safetensors"
        reference = "statistics.safetensors"
        images = 40
        pairs = 4
        seeds = [0]
        plot = { x = "batch" }
        [[run]]
        name = "x"
        "#,
    )
    .unwrap();
    let own = "--features net/features.safetensors --reference statistics.safetensors";
    for (arguments, folder) in [
        ("train teacher.toml --data data --out a", "a"),
        ("train features.toml --data data --out b", "b"),
        (
            "distill student.toml --teacher teacher.safetensors --out c",
            "c",
        ),
        (
            &format!("demo --teacher teacher.safetensors {own} --out d"),
            "d",
        ),
        ("sweep one.toml --out e", "e/one/x/seed-0"),
    ] {
        fs::create_dir_all(world.path(folder)).unwrap();
        let lock = File::create(world.path(folder).join(".lock")).unwrap();
        lock.lock().unwrap();
        let word = format!("error: {folder} is in use by another process");
        let said = world.fails(arguments, 2);
        assert!(said.contains(&word), "{arguments}: {said}");
    }
}
