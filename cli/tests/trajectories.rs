//! `trajectories` and `distill --wait`: the teacher's work on any number of machines that share a folder.

#![cfg(unix)]

#[path = "support/furnished.rs"]
mod furnished;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, SystemTime};
use support::{World, send, wait_for};

/// A teacher's path of many steps: a batch takes long enough to be disturbed.
const SLOW: &str = "student.toml --teacher teacher.safetensors --set substeps=60";

/// The files of a cache with this ending.
fn files(cache: &Path, ending: &str) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let teachers = list(cache).into_iter().filter(|path| path.is_dir());
    let all = teachers.flat_map(|folder| list(&folder));
    all.filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

/// What a process said, which must have ended well.
fn done(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// Lets a minute and more pass for what a killed process has left.
fn aged(cache: &Path, process: u32) {
    for path in files(cache, ".claim") {
        let holder = fs::read_to_string(&path).unwrap_or_default();
        if holder.starts_with(&format!("process {process} on ")) {
            let file = fs::File::options().write(true).open(&path).unwrap();
            let then = SystemTime::now() - Duration::from_secs(90);
            file.set_modified(then).unwrap();
        }
    }
}

/// Batches that a process says it made itself.
fn made(said: &str) -> u64 {
    let words: Vec<&str> = said.split_whitespace().collect();
    let at = words
        .windows(2)
        .position(|w| w == ["made", "here,"])
        .unwrap();
    words[at - 1].parse().unwrap()
}

#[test]
fn two_processes_one_of_them_killed_feed_a_third_to_the_same_bytes() {
    let world = World::with_teacher();
    world.prints(&format!("distill {SLOW} --out plain"));
    let fill = format!("trajectories {SLOW} --cache shared");
    let waiting = world.spawn(&format!(
        "distill {SLOW} --cache shared --wait=forever --out fed --tick 1"
    ));
    let cache = world.path("shared");
    let (mut first, second) = (world.spawn(&fill), world.spawn(&fill));
    let process = format!("process {} on ", first.id());
    wait_for(&mut first, "work of its own", || {
        let claims = files(&cache, ".claim").into_iter();
        let mut claims = claims.map(|path| fs::read_to_string(path).unwrap_or_default());
        files(&cache, ".safetensors").len() > 3 && claims.any(|held| held.starts_with(&process))
    });
    send(&first, "KILL");
    first.wait().unwrap();
    aged(&cache, first.id());
    let again = world.spawn(&fill);
    for process in [second, again] {
        done(process);
    }
    let said = done(waiting);
    assert!(
        said.contains("waiting for the trajectories of round 0 since"),
        "{said}"
    );
    assert!(said.contains("trajectory cache: 20 batches read"), "{said}");
    assert!(
        !said.contains("written") && !said.contains("broken"),
        "{said}"
    );
    assert!(world.bytes("plain/student.safetensors") == world.bytes("fed/student.safetensors"));
    assert_eq!(files(&cache, ".safetensors").len(), 20);
    assert!(files(&cache, ".claim").is_empty());
}

#[test]
fn no_batch_is_made_twice() {
    let world = World::with_teacher();
    let fill = format!("trajectories {SLOW} --cache shared");
    let all: Vec<Child> = (0..3).map(|_| world.spawn(&fill)).collect();
    let made: Vec<u64> = all.into_iter().map(|child| made(&done(child))).collect();
    assert_eq!(made.iter().sum::<u64>(), 20, "{made:?}");
    assert!(made.iter().all(|n| *n > 0), "{made:?}");
    // What is there is not made again.
    let said = world.fails(&fill, 0);
    assert!(
        said.contains("20 batches are there: 0 made here, 20 there before, 0 made by others"),
        "{said}"
    );
}

#[test]
fn what_nobody_makes_is_made_by_who_waits() {
    let world = World::with_teacher();
    let distill = "distill student.toml --teacher teacher.safetensors";
    world.prints(&format!("{distill} --out plain"));
    let fill = "trajectories student.toml --teacher teacher.safetensors --cache shared";
    world.prints(&format!("{fill} --rounds 3-6"));
    let said = world.fails(
        &format!("{distill} --cache shared --wait=0s --out alone"),
        0,
    );
    assert!(
        said.contains("nobody is at work on the trajectories of round 0"),
        "{said}"
    );
    assert!(said.contains("4 batches read, 16 written"), "{said}");
    assert!(world.bytes("plain/student.safetensors") == world.bytes("alone/student.safetensors"));
    assert!(files(&world.path("shared"), ".claim").is_empty());
    world.says(
        &format!("{distill} --wait=1d --cache shared --out x"),
        2,
        "neither a time",
    );
    let said = world.fails(&format!("{distill} --wait --out x"), 2);
    assert!(said.contains("--cache"), "{said}");
}

#[test]
fn a_wait_can_be_stopped_and_goes_on() {
    let world = World::with_teacher();
    let distill = "distill student.toml --teacher teacher.safetensors --cache shared --wait=forever --out run";
    world.prints("distill student.toml --teacher teacher.safetensors --out plain");
    let fill = "trajectories student.toml --teacher teacher.safetensors --cache shared";
    world.prints(&format!("{fill} --rounds 0-4"));
    let mut child = world.spawn(distill);
    let state = world.path("run/state.safetensors");
    wait_for(&mut child, "a state", || state.exists());
    // Five rounds take milliseconds.
    std::thread::sleep(Duration::from_secs(3));
    send(&child, "INT");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(
        said.contains("waiting for the trajectories of round 5 since"),
        "{said}"
    );
    // What was done before the wait is not lost.
    assert!(said.contains("stopped after round 5 of 20"), "{said}");
    world.prints(fill);
    let said = world.fails(&format!("{distill} --resume"), 0);
    assert!(said.contains("going on at round 5 of 20"), "{said}");
    assert!(world.bytes("plain/student.safetensors") == world.bytes("run/student.safetensors"));
}

#[test]
fn rounds_are_those_of_the_run() {
    let world = World::with_teacher();
    let fill = "--teacher teacher.safetensors --cache cache";
    world.says(
        &format!("trajectories student.toml {fill} --rounds 3-20"),
        2,
        "--rounds 3-20: the run has rounds 0 to 19",
    );
    world.says(
        &format!("trajectories student.toml {fill} --rounds 9-3"),
        2,
        "runs backwards",
    );
    world.says(
        &format!("trajectories teacher.toml {fill}"),
        2,
        "fewstep train",
    );
    // Each batch serves two rounds: these three are of two batches.
    world.prints(&format!("trajectories several.toml {fill} --rounds 3-5"));
    assert_eq!(files(&world.path("cache"), ".safetensors").len(), 2);
    let run = "distill several.toml --teacher teacher.safetensors";
    let said = world.fails(&format!("{run} --cache cache --wait=0s --out run"), 0);
    assert!(said.contains("2 batches read, 6 written"), "{said}");
    world.prints(&format!("{run} --out plain"));
    assert!(world.bytes("plain/student.safetensors") == world.bytes("run/student.safetensors"));
}

#[test]
fn a_dry_run_says_what_it_will_cost_and_leaves_nothing() {
    let world = World::with_teacher();
    let fill = "trajectories student.toml --teacher teacher.safetensors --cache cache";
    let dry = world.prints(&format!("{fill} --dry-run"));
    let expected = "batches of 8 trajectories: 0 of 20 are there; 122.9 kB for all of them";
    assert!(
        dry.contains(expected) && dry.contains("predicted time: "),
        "{dry}"
    );
    assert!(!world.path("cache").exists());
    world.prints(&format!("{fill} --rounds 0-9"));
    let dry = world.prints(&format!("{fill} --dry-run --rounds 5-14"));
    let expected = "5 of 10 are there; 61.4 kB for all of them";
    assert!(
        dry.contains(expected) && dry.contains("for 5 batches"),
        "{dry}"
    );
}

#[test]
fn texts_are_part_of_the_work() {
    let world = furnished::world();
    let run = "sd.toml --teacher sd --prompts prompts.txt --cache cache";
    world.prints(&format!("trajectories {run}"));
    let said = world.fails(&format!("distill {run} --wait=forever --out fed"), 0);
    assert!(
        !said.contains("written") && said.contains(" batches read"),
        "{said}"
    );
    world.prints("distill sd.toml --teacher sd --prompts prompts.txt --out plain");
    assert!(world.bytes("plain/student.safetensors") == world.bytes("fed/student.safetensors"));
    world.says(
        "trajectories sd.toml --teacher sd --cache cache",
        2,
        "--prompts",
    );
    world.says(
        "trajectories student.toml --teacher teacher.safetensors --prompts prompts.txt --cache cache",
        2,
        "takes no text",
    );
}
