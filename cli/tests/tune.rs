//! `tune` on a world of 8 x 8 images: finds a recipe, goes on where it was stopped, and says what it cost.

mod support;

use std::fs;
use support::{World, send, wait_for};

const TUNE: &str = "tune --teacher teacher.safetensors --nfe 2 --budget 1600 --set batch=4 --images 12 --candidates 4";

/// The results without their seconds, which are no two times the same.
fn results(world: &World, out: &str) -> Vec<String> {
    let text = String::from_utf8(world.bytes(format!("{out}/tune.jsonl"))).unwrap();
    let line = |line: &str| line.split("\"seconds\"").next().unwrap().to_string();
    text.lines().map(line).collect()
}

#[test]
fn a_recipe_is_found_without_data_and_can_be_distilled_with() {
    let world = World::with_teacher();
    let plan = world.prints(&format!("{TUNE} --dry-run --out a"));
    assert!(plan.contains("2 brackets"), "{plan}");
    assert!(!world.path("a").exists());
    let said = world.prints(&format!("{TUNE} --out a"));
    assert!(said.contains("paired distance"), "{said}");
    let recipe = fs::read_to_string(world.path("a/recipe.toml")).unwrap();
    assert!(recipe.starts_with("# paired distance 0."), "{recipe}");
    assert!(recipe.contains("--budget 1600"), "{recipe}");
    // Two brackets of 4 and then 1 candidates. The best of the first is in the second as well, and is not measured again.
    let found = results(&world, "a");
    let again = usize::from(
        found
            .iter()
            .filter(|line| line.contains("\"rung\":1"))
            .count()
            == 1,
    );
    assert_eq!(found.len(), 1 + 4 + 1 + 3 + 1 - again, "{found:#?}");
    for left in ["a/trajectories", "a/candidate-1-03"] {
        assert!(!world.path(left).exists(), "{left}");
    }
    // The recipe makes the student that the search made.
    world.prints("distill a/recipe.toml --teacher teacher.safetensors --out b");
    let evaluated = |file: &str| {
        let said = world.prints(&format!(
            "evaluate {file} --paired teacher.safetensors --images 12 --seeds 1000000 --json"
        ));
        let json: serde_json::Value = serde_json::from_str(&said).unwrap();
        json.to_string()
    };
    let weights = |file: &str| {
        let bytes = world.bytes(file);
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    assert!(weights("a/student.safetensors") == weights("b/student.safetensors"));
    assert!(evaluated("b/student.safetensors").contains("paired"));
    // Typed again, it has nothing left to do, and says the same.
    let again = world.prints(&format!("{TUNE} --out a"));
    assert_eq!(again, said);
    assert_eq!(results(&world, "a"), found);
    let refused = format!("{TUNE} --out a").replace("--nfe 2", "--nfe 3");
    world.says(&refused, 2, "nfe");
    world.says(&TUNE.replace("1600", "10"), 2, "--budget");
}

#[test]
fn a_search_that_was_stopped_finds_the_same() {
    let world = World::with_teacher();
    world.prints(&format!("{TUNE} --out whole"));
    for signal in ["TERM", "KILL"] {
        let out = format!("stopped-{signal}");
        let mut child = world.spawn(&format!("{TUNE} --out {out}"));
        wait_for(&mut child, "two results", || {
            let text = fs::read_to_string(world.path(format!("{out}/tune.jsonl")));
            text.is_ok_and(|text| text.lines().count() > 2)
        });
        send(&child, signal);
        child.wait().unwrap();
        world.prints(&format!("{TUNE} --out {out}"));
        assert_eq!(results(&world, &out), results(&world, "whole"));
        let student = |out: &str| world.bytes(format!("{out}/student.safetensors"));
        assert!(student(&out) == student("whole"), "{signal}");
    }
}

#[test]
fn a_reference_is_what_is_come_near_to() {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out features");
    world.prints(
        "evaluate data --features features/features.safetensors --write-statistics statistics.safetensors",
    );
    let said = world.prints(&format!(
        "{TUNE} --out a --reference statistics.safetensors --features features/features.safetensors"
    ));
    assert!(said.contains("Frechet distance"), "{said}");
}
