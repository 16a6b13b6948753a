//! Places that cannot be written to, and memory that is not there, from the start.
//!
//! All of it works as any user. What nobody can write into is below a file, or in /proc; a full disk is a limit on the size of
//! files (`ulimit -f`) whose signal is ignored.

#![cfg(target_os = "linux")]

#[path = "support/furnished.rs"]
mod furnished;
mod support;

use furnished::world;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{PROGRAM, World};

/// Longer than any verb needs to find out, and far shorter than the work that it is given here.
const SOON: Duration = Duration::from_secs(60);

/// Runs the program with files limited to so many blocks of 512 bytes.
fn limited(world: &World, arguments: &str, blocks: u64) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let child = Command::new("sh")
        .args(["-c", &script, "sh", PROGRAM])
        .args(arguments.split_whitespace())
        .current_dir(world.path(""))
        .env("FEWSTEP_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    soon(child, arguments)
}

/// What came of a process that must not work for long.
fn soon(mut child: Child, arguments: &str) -> Output {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > SOON {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{arguments}: it works");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// The one line of an error, and nothing of any work before it.
fn refused(output: &Output, arguments: &str, word: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments}: {said}");
    assert!(said.starts_with("error: "), "{arguments}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{arguments}: {said}");
    assert!(said.contains(word), "{arguments}: {said}");
    assert!(output.stdout.is_empty(), "{arguments}");
}

/// Work that would take hours, of every verb that writes: `OUT` stands for a folder, or a file.
const WORK: &[&str] = &[
    "train teacher.toml --data data --set images=900000000 --out OUT",
    "train features.toml --data data --set epochs=1000 --out OUT",
    "distill student.toml --teacher teacher.safetensors --set trajectories=900000000 --out OUT",
    "distill student.toml --teacher teacher.safetensors --set trajectories=900000000 --out good --cache OUT",
    "distill sd.toml --teacher sd --prompts prompts.txt --set trajectories=900000000 --out OUT",
    "distill sd.toml --teacher sd --prompts prompts.txt --set trajectories=900000000 --out good --embeddings OUT",
    "trajectories student.toml --teacher teacher.safetensors --set trajectories=900000000 --cache OUT",
    "sample teacher.safetensors --seeds 0-9999999 --out OUT",
    "sample ldm.safetensors --seeds 0-9999 --out OUT",
    "sample ldm.safetensors --seeds 0-9999 --latents --out OUT",
    "sample sd --prompts prompts.txt --seeds 0-9999 --out good --embeddings OUT",
    "schedule teacher.safetensors --steps 5 --trajectories 9000000 --out OUT",
    "schedule teacher.safetensors --steps 5 --trajectories 9000000 --picture OUT.png",
    "sweep sweep.toml --out OUT",
    "sweep sweep.toml --out good --cache OUT",
    "evaluate teacher.safetensors --images 9000000 --features net.safetensors --write-statistics OUT",
    "bench teacher.safetensors --write-model OUT",
    "bench teacher.safetensors --write-results OUT --batch 60000",
    "convert teacher.safetensors OUT",
    "convert sd OUT --to diffusers",
    "demo --out OUT",
    "fetch edm-cifar10 --out OUT",
];

#[test]
fn no_work_is_done_where_nothing_can_be_written() {
    let world = world();
    let before = names(&world.path(""));
    for work in WORK {
        let verb = work.split(' ').next().unwrap();
        for place in ["teacher.toml/below", "teacher.toml/a/b", "/proc/fewstep/x"] {
            let arguments = work.replace("OUT", place);
            let mut command = Command::new(PROGRAM);
            command
                .args(arguments.split_whitespace())
                .current_dir(world.path(""))
                .env("FEWSTEP_THREADS", "1")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let output = soon(command.spawn().unwrap(), &arguments);
            let named = place.rsplit_once('/').unwrap().0;
            refused(&output, &arguments, named);
        }
        // A full disk.
        let arguments = work.replace("OUT", "new/deep");
        let first = if work.contains("good") { "good" } else { "new" };
        refused(&limited(&world, &arguments, 0), &arguments, first);
        assert_eq!(names(&world.path("")), before, "{verb}");
    }
}

#[test]
fn devices_and_folders_are_no_files() {
    let world = world();
    for (work, word) in [
        (
            "evaluate data --features net.safetensors --write-statistics /dev/full",
            "device",
        ),
        (
            "schedule teacher.safetensors --steps 5 --out /dev/stdout",
            "name a file",
        ),
        (
            "bench teacher.safetensors --write-model data",
            "data is a folder",
        ),
        (
            "convert teacher.safetensors data --overwrite",
            "data is a folder",
        ),
    ] {
        world.says(work, 2, word);
    }
}

/// All paths below a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() && !path.is_symlink() {
            found.extend(names(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn what_was_found_is_printed_before_it_is_written() {
    let world = world();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    symlink(assets.canonicalize().unwrap(), world.path("assets")).unwrap();
    // 64 features: a file of more than 32 kB, where 20 have room.
    let evaluate = "evaluate data --reference data --write-statistics statistics.safetensors";
    for (arguments, word) in [
        (evaluate.to_string(), "Frechet distance"),
        (format!("{evaluate} --json"), "\"frechet\""),
    ] {
        let output = limited(&world, &arguments, 40);
        let said = String::from_utf8_lossy(&output.stderr);
        let found = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("statistics.safetensors"), "{said}");
        assert!(found.contains(word), "{found}");
        assert!(!world.path("statistics.safetensors").exists());
    }
    // What was there before is whole.
    let teacher = world.bytes("teacher.safetensors");
    fs::write(world.path("copy.safetensors"), &teacher).unwrap();
    for work in [
        "convert sd copy.safetensors --overwrite",
        "bench bench64 --write-model copy.safetensors",
    ] {
        let output = limited(&world, work, 40);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("copy.safetensors"), "{said}");
        assert!(world.bytes("copy.safetensors") == teacher);
    }
    // A checkpoint that has no room is told before the first round.
    for work in [WORK[0], WORK[2]] {
        let work = work.replace("OUT", "run");
        let output = limited(&world, &work, 40);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("run/state.safetensors"), "{said}");
        fs::remove_dir_all(world.path("run")).unwrap();
    }
}

#[test]
fn a_limit_that_cannot_suffice_is_said_before_the_start() {
    let world = World::new();
    // Seven million weights: 140 MB for a teacher, a student, its moments and gradients.
    world.prints("bench bench64 --write-model large.safetensors");
    let run = |flags: &str| {
        let work =
            "distill student.toml --teacher large.safetensors --set trajectories=8 --out run";
        let child = Command::new("sh")
            .args(["-c", "ulimit -v 190000; exec \"$@\"", "sh", PROGRAM, "-q"])
            .args(work.split(' ').chain(flags.split_whitespace()))
            .current_dir(world.path(""))
            .env("FEWSTEP_THREADS", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = soon(child, work);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let (status, said) = run("");
    assert_eq!(status, Some(2), "{said}");
    for word in [
        "for weights alone",
        "ulimit -v",
        "MB",
        "micro-batch",
        "--ignore-memory",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(!world.path("run").exists());
    let (status, said) = run("--ignore-memory");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("warning: this needs more than"), "{said}");
    assert!(said.contains("error: out of memory"), "{said}");
}

#[test]
fn without_memory_there_is_a_line_and_no_abort() {
    let world = World::with_teacher();
    for (work, word) in [
        (
            "sample teacher.safetensors --seeds 0-299999 --batch 300000",
            "--batch",
        ),
        (
            "distill student.toml --teacher teacher.safetensors --set batch=300000 --set micro-batch=300000 --set trajectories=600000",
            "micro-batch",
        ),
        (
            "train teacher.toml --data data --set batch=300000 --set images=600000",
            "micro-batch",
        ),
    ] {
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 1500000; exec \"$@\"", "sh", PROGRAM, "-q"])
            .args(work.split_whitespace())
            .current_dir(world.path(""))
            .env("FEWSTEP_THREADS", "1")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{work}: {said}");
        // That it might come so was said before the start.
        let [warning, error] = said.lines().collect::<Vec<_>>()[..] else {
            panic!("{work}: {said}");
        };
        assert!(
            warning.starts_with("warning: this may need about "),
            "{work}: {said}"
        );
        assert!(warning.contains("ulimit -v"), "{work}: {said}");
        assert!(
            error.starts_with("error: out of memory: "),
            "{work}: {said}"
        );
        assert!(
            error.contains("GB") || error.contains("MB"),
            "{work}: {said}"
        );
        assert!(error.contains(word), "{work}: {said}");
    }
}
