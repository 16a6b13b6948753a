//! `sweep` on a world of 8 x 8 images: resumed run by run, ranked, drawn.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};
use support::World;

const SWEEP: &str = r#"
title = "Order of the teacher's solver"
recipe = "student.toml"
teacher = "teacher.safetensors"
features = "features/features.safetensors"
reference = "statistics.safetensors"
images = 40
pairs = 10
directions = 8
seeds = [0, 1]
plot = { x = "teacher-solver.order" }

[base]
trajectories = 16

[grid]
teacher-solver.order = [1, 3]

[[run]]
name = "two steps"
set = { substeps = 2 }

[[run]]
name = "second stage"
recipe = "second.toml"
after = "two steps"
set = { spacing = { kind = "polynomial", rho = 7.0 }, steps = 1, substeps = 3, analytic-first-step = false }

[[sampler]]
name = "teacher, Euler"
solver = "euler"
steps = [3, 4]
"#;

fn world() -> World {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out features");
    world.prints(
        "evaluate data --features features/features.safetensors --write-statistics statistics.safetensors",
    );
    fs::write(world.path("orders.toml"), SWEEP).unwrap();
    world
}

/// The table without its times.
fn table(world: &World, out: &str) -> Vec<String> {
    let text = String::from_utf8(world.bytes(format!("{out}/orders/sweep.csv"))).unwrap();
    let line = |line: &str| line.rsplit_once(',').unwrap().0.to_string();
    text.lines().map(line).collect()
}

#[test]
fn a_sweep_is_ranked_and_not_done_twice() {
    let world = world();
    let plan = world.prints("sweep orders.toml --dry-run --out sweeps");
    assert!(
        plan.contains("two steps: 2 runs, 16 trajectories"),
        "{plan}"
    );
    assert!(!world.path("sweeps").exists());
    let said = world.prints("sweep orders.toml --out sweeps");
    assert!(said.contains("| second stage | 1 |"), "{said}");
    assert!(said.contains("| two steps | 10.9: "), "{said}");
    let lines = table(&world, "sweeps");
    assert_eq!(lines.len(), 7, "{lines:?}");
    // Within a number of network calls the best comes first.
    let mut last = BTreeMap::new();
    for line in &lines[1..] {
        let fields: Vec<&str> = line.rsplitn(8, ',').collect();
        let (nfe, frechet): (u32, f64) = (fields[6].parse().unwrap(), fields[5].parse().unwrap());
        let before = last.insert(nfe, frechet).unwrap_or(0.0);
        assert!(frechet >= before, "{line}");
    }
    assert_eq!(last.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    let folder = world.path("sweeps/orders");
    for name in ["sweep.md", "sweep.svg", "curves.svg"] {
        assert!(folder.join(name).metadata().unwrap().len() > 500, "{name}");
    }
    // A run's recipe makes the same student by itself.
    world.prints("distill sweeps/orders/two-steps/seed-1/recipe.toml --teacher teacher.safetensors --out alone");
    let student = world.bytes("sweeps/orders/two-steps/seed-1/student.safetensors");
    assert!(student == world.bytes("alone/student.safetensors"));
    // Nothing is done again; what is missing is.
    let stamp = |name: &str| fs::metadata(folder.join(name)).unwrap().modified().unwrap();
    let kept = stamp("two-steps/seed-0/measured.json");
    fs::remove_dir_all(folder.join("two-steps/seed-1")).unwrap();
    world.prints("sweep orders.toml --out sweeps");
    assert_eq!(kept, stamp("two-steps/seed-0/measured.json"));
    assert_eq!(lines, table(&world, "sweeps"));
    // A result of other settings is not passed off as one of these.
    fs::write(
        world.path("orders.toml"),
        SWEEP.replace("trajectories = 16", "trajectories = 24"),
    )
    .unwrap();
    let said = world.fails("sweep orders.toml --out sweeps", 2);
    assert!(said.contains("`work.recipe.trajectories` = 16"), "{said}");
    world.prints("sweep orders.toml --out sweeps --overwrite");
    assert_ne!(lines, table(&world, "sweeps"));
}

#[test]
fn a_killed_sweep_goes_on() {
    let world = world();
    world.prints("sweep orders.toml --out whole");
    let mut child = world.spawn("sweep orders.toml --out killed");
    let started = Instant::now();
    let second = world.path("killed/orders/two-steps/seed-0");
    while !second.exists() && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!world.path("killed/orders/sweep.csv").exists());
    world.prints("sweep orders.toml --out killed");
    assert_eq!(table(&world, "whole"), table(&world, "killed"));
    let measured: Value =
        serde_json::from_slice(&world.bytes("killed/orders/two-steps/seed-0/measured.json"))
            .unwrap();
    assert_eq!(measured["samples"][0]["evaluations"], 2);
}

#[test]
fn mistakes_are_one_line() {
    let world = World::with_teacher();
    for (text, word) in [
        ("title = 'x'", "nothing to compare"),
        ("title = 'x'\n[grid]\nsubsteps = [2]", "no recipe"),
        (
            "title = 'x'\nrecipe = 'student.toml'\n[grid]\nsteps = ['a']",
            "steps",
        ),
        (
            "title = 'x'\nrecipe = 'teacher.toml'\n[grid]\nsteps = [2]",
            "distils nothing",
        ),
        ("title = ", "bad.toml"),
    ] {
        fs::write(world.path("bad.toml"), text).unwrap();
        world.says("sweep bad.toml", 2, word);
    }
    world.says("sweep none.toml", 2, "none.toml");
}
