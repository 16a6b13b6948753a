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
    let kept = stamp("../results.jsonl");
    fs::remove_dir_all(folder.join("second-stage/seed-1")).unwrap();
    world.prints("sweep orders.toml --out sweeps");
    assert_eq!(kept, stamp("../results.jsonl"));
    assert_eq!(lines, table(&world, "sweeps"));
    // A line less is a run more, and the same result; its teacher's file is enough.
    let text = String::from_utf8(world.bytes("sweeps/results.jsonl")).unwrap();
    let (last, rest): (Vec<&str>, Vec<&str>) = text
        .lines()
        .partition(|line| line.contains("\"second-stage\":true") && line.contains("\"seed\":1}"));
    assert_eq!((last.len(), rest.len()), (1, 8), "{text}");
    fs::write(world.path("sweeps/results.jsonl"), rest.join("\n") + "\n").unwrap();
    let plan = world.prints("sweep orders.toml --out sweeps --dry-run");
    assert!(plan.contains("second stage: 1 runs"), "{plan}");
    assert!(plan.contains("two steps: measured already"), "{plan}");
    world.prints("sweep orders.toml --out sweeps");
    assert_eq!(lines, table(&world, "sweeps"));
    // A run of other settings is not passed off as one of these.
    fs::write(
        world.path("orders.toml"),
        SWEEP.replace("trajectories = 16", "trajectories = 24"),
    )
    .unwrap();
    let said = world.fails("sweep orders.toml --out sweeps", 2);
    assert!(said.contains("`trajectories` = 16"), "{said}");
    world.prints("sweep orders.toml --out sweeps --overwrite");
    assert_ne!(lines, table(&world, "sweeps"));
}

#[test]
fn results_are_shared() {
    let world = world();
    let twin = SWEEP.replace("two steps", "the same under another name");
    fs::write(world.path("twin.toml"), twin).unwrap();
    // Two processes with a seed each, and trajectories in common, do what one does.
    let mut first = world.spawn("sweep orders.toml --out shared --seeds 0 --cache cache");
    world.prints("sweep orders.toml --out shared --seeds 1 --cache cache");
    assert!(first.wait().unwrap().success());
    let said = world.prints("sweep orders.toml twin.toml --out shared --quiet");
    assert!(said.contains("the same under another name"), "{said}");
    world.prints("sweep orders.toml --out alone");
    assert_eq!(table(&world, "alone"), table(&world, "shared"));
    assert!(
        !world
            .path("shared/twin/the-same-under-another-name")
            .exists()
    );
    // Known from elsewhere, nothing is trained at all; but what comes after a run needs its student.
    world.prints("sweep orders.toml --out there --known alone/results.jsonl");
    assert_eq!(table(&world, "alone"), table(&world, "there"));
    assert!(!world.path("there/orders/two-steps").exists());
    let text = String::from_utf8(world.bytes("alone/results.jsonl")).unwrap();
    let first: Vec<&str> = text
        .lines()
        .filter(|l| !l.contains("\"second-stage\":true"))
        .collect();
    fs::write(world.path("first.jsonl"), first.join("\n") + "\n").unwrap();
    let said = world.prints("sweep orders.toml --out some --known first.jsonl --tables");
    assert!(said.contains("2 of 9 runs are not measured yet"), "{said}");
    assert!(!world.path("some/results.jsonl").exists());
    world.prints("sweep orders.toml --out after --known first.jsonl");
    assert_eq!(table(&world, "alone"), table(&world, "after"));
    world.says(
        "sweep orders.toml --out there --seeds 7",
        2,
        "no sweep has these seeds",
    );
}

/// A training that runs away is not the end of the others.
#[test]
fn a_run_that_diverges_is_said_and_left() {
    let world = world();
    let runs = "[[run]]\nname = 'wild'\nset = { learning-rate = 1e30 }\n[[run]]\nname = 'tame'\n";
    let head = SWEEP.split("[base]").next().unwrap();
    let head = head.replace("seeds = [0, 1]", "seeds = [0]");
    let head = head.lines().filter(|line| !line.starts_with("plot"));
    let head = head.collect::<Vec<_>>().join("\n");
    let base = "\n[base]\ntrajectories = 32\n";
    fs::write(world.path("wild.toml"), format!("{head}{base}{runs}")).unwrap();
    let said = world.fails("sweep wild.toml --out sweeps", 1);
    assert!(
        said.contains("wild, seed 0") && said.contains("1 runs failed"),
        "{said}"
    );
    let table = String::from_utf8(world.bytes("sweeps/wild/sweep.md")).unwrap();
    assert!(
        table.contains("| tame |") && table.contains("Failed: wild"),
        "{table}"
    );
}

/// The example in the documentation is one that runs.
#[test]
fn the_documented_sweep_is_valid() {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sweep.md")).unwrap();
    let example = text
        .split("```toml")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let world = World::new();
    fs::create_dir(world.path("assets")).unwrap();
    let teacher = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../assets/fashion-mnist-teacher.safetensors"
    );
    fs::copy(
        teacher,
        world.path("assets/fashion-mnist-teacher.safetensors"),
    )
    .unwrap();
    fs::write(world.path("example.toml"), example).unwrap();
    let said = world.prints("sweep example.toml --dry-run");
    assert!(said.contains("a second stage: 3 runs"), "{said}");
    assert!(said.contains("# in all: 25 runs"), "{said}");
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
    let results = String::from_utf8(world.bytes("killed/results.jsonl")).unwrap();
    let results = results
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let two_steps = results.filter(|r| r["identity"]["work"]["recipe"]["substeps"] == 2);
    let evaluations = two_steps.map(|r| r["samples"][0]["evaluations"].clone());
    assert_eq!(evaluations.collect::<Vec<_>>(), [2, 2]);
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
    // What only the teacher, or the run before, can tell is known before the first hour, too.
    let run = "[[run]]\nname = 'one'\n";
    let head = "title = 'x'\nrecipe = 'student.toml'\nteacher = 'teacher.safetensors'\n";
    fs::write(world.path("bad.toml"), format!("{head}{run}")).unwrap();
    let bundled = "are 1 x 8 x 8, and the features were made for 1 x 32 x 32";
    world.says("sweep bad.toml --dry-run", 2, bundled);
    world.prints("train features.toml --data data --out features");
    let head = format!("{head}features = 'features/features.safetensors'\n{run}");
    for (text, word) in [
        ("nfe = [7]", "nfe"),
        (
            "set = { second-stage = true, teacher-solver = { kind = 'euler' } }",
            "after",
        ),
        (
            "[[run]]\nname = 'two'\nafter = 'one'",
            "second-stage = true",
        ),
        (
            "[[run]]\nname = 'two'\nafter = 'one'\nset = { second-stage = true, steps = 2, teacher-solver = { kind = 'euler' } }",
            "substeps",
        ),
        (
            "[[sampler]]\nname = 's'\nsolver = 'dpmpp'\nsteps = [3]",
            "dpmpp",
        ),
        ("[[sampler]]\nname = 's'\nsteps = [0]", "steps"),
        ("[plot]\nx = 'substps'", "substps"),
    ] {
        fs::write(world.path("bad.toml"), format!("{head}{text}")).unwrap();
        world.says("sweep bad.toml --dry-run", 2, word);
    }
    world.says("sweep bad.toml --known none.jsonl", 2, "none.jsonl");
    world.says("sweep none.toml", 2, "none.toml");
}
