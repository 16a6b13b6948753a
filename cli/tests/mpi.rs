//! Several processes under `mpirun`: only in a build with the feature `mpi`, and where there is one. `check-mpi.sh` runs them.

#![cfg(feature = "mpi")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use support::{PROGRAM, World, send, wait_for};

const STUDENT: &str = "distill student.toml --teacher teacher.safetensors --set micro-batch=2";
const TEACHER: &str = "train teacher.toml --data data --set images=160 --set micro-batch=2";

/// Whether there is a launcher. With `CI=true` one that is missing is a failure, if it was to be there.
fn launcher() -> bool {
    let there = Command::new("mpirun").arg("--version").output().is_ok();
    assert!(there || std::env::var("FEWSTEP_MPI").is_err(), "no mpirun");
    if !there {
        println!("not tried: there is no mpirun");
    }
    there
}

/// `mpirun` with so many processes, more than there are cores if need be.
fn mpirun(folder: &Path, size: usize, arguments: &str) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args([
            "--oversubscribe",
            "--bind-to",
            "none",
            "-n",
            &size.to_string(),
        ])
        .arg(PROGRAM)
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        // A machine without a network is one, too.
        .env("OMPI_MCA_btl", "self,vader,tcp")
        .env("FEWSTEP_THREADS", "1")
        .env_remove("FEWSTEP_DEVICE")
        .stdin(Stdio::null());
    command
}

fn run(world: &World, size: usize, arguments: &str) -> Output {
    mpirun(&world.path("."), size, arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it and wants it to end well; what was printed.
fn prints(world: &World, size: usize, arguments: &str) -> String {
    let output = run(world, size, arguments);
    let status = output.status.code();
    assert_eq!(status, Some(0), "{arguments}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn spawn(world: &World, size: usize, arguments: &str) -> Child {
    let mut command = mpirun(&world.path("."), size, arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for the checkpoint of a round.
fn wait_for_metrics(world: &World, child: &mut Child, run: &str) {
    let metrics = world.path(format!("{run}/metrics.jsonl"));
    wait_for(child, "metrics", || {
        metrics.metadata().is_ok_and(|m| m.len() > 0)
    });
}

fn same(world: &World, a: &str, b: &str, product: &str) {
    let [a, b] = [a, b].map(|run| format!("{run}/{product}"));
    assert!(world.bytes(&a) == world.bytes(&b), "{a} and {b} differ");
}

#[test]
fn several_processes_make_the_bytes_of_one() {
    if !launcher() {
        return;
    }
    let world = World::with_teacher();
    for (verb, product) in [
        (STUDENT, "student.safetensors"),
        (TEACHER, "teacher.safetensors"),
    ] {
        let name = product.split('.').next().unwrap();
        world.prints(&format!("{verb} --tick 3 --out {name}1"));
        for size in [2, 4] {
            let run = format!("{name}{size}");
            let printed = prints(&world, size, &format!("{verb} --tick 3 --out {run}"));
            // Said once, and not by each.
            assert_eq!(printed, format!("{run}/{product}\n"));
            same(&world, &format!("{name}1"), &run, product);
            same(&world, &format!("{name}1"), &run, "state.safetensors");
            same(&world, &format!("{name}1"), &run, "recipe.toml");
            let text = String::from_utf8(world.bytes(format!("{run}/metrics.jsonl"))).unwrap();
            let rounds = text.lines().map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["round"].as_u64().unwrap()
            });
            let rounds: Vec<u64> = rounds.collect();
            assert!(rounds.windows(2).all(|w| w[0] < w[1]), "{rounds:?}");
        }
    }
}

#[test]
fn without_a_micro_batch_each_takes_its_share_and_any_number_goes_on() {
    if !launcher() {
        return;
    }
    let world = World::with_teacher();
    let recipe = "kind = 'distillation'\ntrajectories = 64\nbatch = 8\nlearning-rate = 5e-4\n";
    std::fs::write(world.path("whole.toml"), recipe).unwrap();
    let verb = "distill whole.toml --teacher teacher.safetensors";
    world.prints(&format!("{verb} --set micro-batch=2 --out one"));
    prints(&world, 4, &format!("{verb} --out run --stop-after 3"));
    prints(
        &world,
        2,
        &format!("{verb} --out run --resume --stop-after 3"),
    );
    world.prints(&format!("{verb} --out run --resume"));
    same(&world, "one", "run", "student.safetensors");
    same(&world, "one", "run", "recipe.toml");
}

#[test]
fn a_cache_serves_any_number() {
    if !launcher() {
        return;
    }
    let world = World::with_teacher();
    let verb = format!("{STUDENT} --set trajectories=32 --cache cache");
    prints(&world, 2, &format!("{verb} --out two"));
    let output = world.run(&format!("{verb} --out one")).output().unwrap();
    assert!(
        said(&output).contains("4 batches read"),
        "{}",
        said(&output)
    );
    let output = run(&world, 4, &format!("{verb} --out four --wait"));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(
        said(&output).contains("4 batches read"),
        "{}",
        said(&output)
    );
    same(&world, "one", "two", "student.safetensors");
    same(&world, "one", "four", "student.safetensors");
}

#[test]
fn one_that_dies_ends_all_and_the_checkpoint_stays() {
    if !launcher() {
        return;
    }
    let world = World::with_teacher();
    let verb = format!("{STUDENT} --set trajectories=240 --tick 1");
    world.prints(&format!("{verb} --out whole"));
    let mut child = spawn(&world, 4, &format!("{verb} --out run"));
    wait_for_metrics(&world, &mut child, "run");
    let workers = children(&child);
    assert_eq!(workers.len(), 4, "{workers:?}");
    let killed = Command::new("kill")
        .args(["-KILL", &workers[2].to_string()])
        .status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    // The launcher's words.
    assert!(said(&output).contains("signal 9"), "{}", said(&output));
    assert!(world.path("run/state.safetensors").exists());
    assert!(!world.path("run/student.safetensors").exists());
    prints(&world, 2, &format!("{verb} --out run --resume"));
    same(&world, "whole", "run", "student.safetensors");
}

/// The processes that one has started.
fn children(child: &Child) -> Vec<u32> {
    let id = child.id();
    let listed = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    listed
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

#[test]
fn a_signal_to_one_stops_all_after_the_same_round() {
    if !launcher() {
        return;
    }
    let world = World::with_teacher();
    let verb = format!("{TEACHER} --set images=3200 --tick 500");
    let mut child = spawn(&world, 2, &format!("{verb} --out run --snapshots 1"));
    let first = world.path("run/state-0000001.safetensors");
    wait_for(&mut child, "a first round", || first.exists());
    let worker = children(&child)[1].to_string();
    let stopped = Command::new("kill").args(["-TERM", &worker]).status();
    assert!(stopped.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(143), "{text}");
    assert!(
        text.contains("with as many processes as you like"),
        "{text}"
    );
    assert!(!world.path("run/teacher.safetensors").exists());
    // Without it there would be a checkpoint of round 0 only.
    let said = world.fails(&format!("{verb} --out run --resume --stop-after 1"), 0);
    assert!(
        said.contains("going on at round ") && !said.contains("at round 0"),
        "{said}"
    );
}

/// Every file of a folder by name.
fn files(world: &World, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(world.path(folder)).unwrap();
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        (name, std::fs::read(path).unwrap())
    };
    entries.map(read).collect()
}

#[test]
fn pictures_and_measurements_are_shared_out() {
    if !launcher() {
        return;
    }
    let world = World::with_teacher();
    let verb = "sample teacher.safetensors --seeds 0-40 --batch 4 --grid";
    world.prints(&format!("{verb} --out one"));
    let printed = prints(&world, 3, &format!("{verb} --out three"));
    assert_eq!(printed, "three\n");
    assert!(files(&world, "one") == files(&world, "three"));
    // Some are gone, and all are thrown away.
    for seed in [3, 17, 40] {
        std::fs::remove_file(world.path(format!("three/{seed:06}.png"))).unwrap();
    }
    prints(&world, 2, &format!("{verb} --out three"));
    assert!(files(&world, "one") == files(&world, "three"));
    prints(
        &world,
        2,
        &format!("{verb} --out three --class 1 --overwrite"),
    );
    assert!(files(&world, "one") != files(&world, "three"));

    world.prints("train features.toml --data data --out net");
    let verb = "evaluate teacher.safetensors --images 200 --features net/features.safetensors";
    let verb = format!("{verb} --reference data --metrics frechet,kernel --json");
    let alone = world.prints(&format!("{verb} --write-statistics one.safetensors"));
    for size in [2, 3] {
        let name = format!("{size}.safetensors");
        let several = prints(&world, size, &format!("{verb} --write-statistics {name}"));
        assert_eq!(several, alone);
        assert!(world.bytes(&name) == world.bytes("one.safetensors"));
    }
}

#[test]
fn what_is_wrong_is_said_once_and_ends_all() {
    if !launcher() {
        return;
    }
    let world = World::with_teacher();
    let lines = |arguments: &str, status: i32, word: &str| {
        let output = run(&world, 2, &format!("-q {arguments}"));
        let text = said(&output);
        assert_eq!(output.status.code(), Some(status), "{arguments}: {text}");
        let ours = text.lines().filter(|line| line.contains("error: "));
        let ours: Vec<_> = ours.collect();
        assert!(
            ours.len() == 1 && ours[0].contains(word),
            "{arguments}: {text}"
        );
    };
    lines(
        "distill student.toml --teacher nothing.safetensors",
        2,
        "nothing",
    );
    lines("distill student.toml --teachr x", 2, "--teachr");
    lines(
        &format!("{STUDENT} --dry-run"),
        2,
        "2 processes were started",
    );
    lines("inspect teacher.safetensors", 2, "start it once");
    lines("train features.toml --data data", 2, "feature network");
    lines(
        &format!("{STUDENT} --set learning-rate=1e30 --out far"),
        1,
        "the loss is not finite",
    );
    // A folder that is in use: only the first process has looked.
    let mut child = world.spawn(&format!(
        "{STUDENT} --set trajectories=80000 --tick 1 --out held"
    ));
    let metrics = world.path("held/metrics.jsonl");
    wait_for(&mut child, "metrics", || metrics.exists());
    lines(&format!("{STUDENT} --out held --resume"), 2, "is in use by");
    send(&child, "KILL");
    child.wait().unwrap();
}
