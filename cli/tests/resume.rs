//! However a run is disturbed, the file it makes in the end is the same.

#![cfg(unix)]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};
use support::{SIGNALS, World, random, send, wait_for};

const TRAIN: &str = "train teacher.toml --data data --tick 3";
const FEATURES: &str = "train features.toml --data data --tick 5 --set epochs=40";
const DISTILL: &str = "distill student.toml --teacher teacher.safetensors --tick 2";

/// Whether this process, and so what it starts, ignores SIGHUP: the tool then does, too.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 != 0)
}

/// Ends three runs twice each at random moments, and compares the final file.
fn survives_kills(verb: &str, product: &str) {
    let world = World::with_teacher();
    let started = Instant::now();
    world.prints(&format!("{verb} --out whole"));
    let whole = started.elapsed();
    let expected = world.bytes(format!("whole/{product}"));
    for attempt in 0..3 {
        let out = format!("killed{attempt}");
        let command = format!("{verb} --out {out} --resume");
        for kill in 0..2 {
            let (signal, caught) = SIGNALS[(2 * attempt + kill) % SIGNALS.len()];
            let moment = whole.mul_f64(random() * 0.8);
            let mut child = world.spawn(&command);
            std::thread::sleep(moment);
            send(&child, signal);
            // No status: before it had anything to save. 0: it was quicker.
            let status = child.wait().unwrap().code();
            assert!(
                status.is_none() || status == Some(0) || status == caught,
                "{signal}: {status:?}"
            );
            println!("{out}: {signal} after {moment:?}: {status:?}");
        }
        world.prints(&command);
        let path = format!("{out}/{product}");
        assert!(
            world.bytes(&path) == expected,
            "{path} differs from an undisturbed run's"
        );
        // Metrics are those of one run: each round once, in order.
        let text = String::from_utf8(world.bytes(format!("{out}/metrics.jsonl"))).unwrap();
        let rounds: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["round"].as_u64().unwrap())
            .collect();
        assert!(rounds.windows(2).all(|w| w[0] < w[1]), "{rounds:?}");
        // No half-written file stays behind.
        let names = std::fs::read_dir(world.path(&out)).unwrap();
        let names: Vec<_> = names
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(names.iter().all(|n| !n.ends_with(".tmp")), "{names:?}");
    }
}

#[test]
fn training_survives_kills() {
    survives_kills(TRAIN, "teacher.safetensors");
}

#[test]
fn training_of_features_survives_kills() {
    survives_kills(FEATURES, "features.safetensors");
}

#[test]
fn distillation_survives_kills() {
    survives_kills(DISTILL, "student.safetensors");
}

#[test]
fn distillation_for_several_numbers_of_steps_survives_kills() {
    survives_kills(
        "distill several.toml --teacher teacher.safetensors --tick 3",
        "student.safetensors",
    );
}

#[test]
fn ticks_and_stops_leave_no_trace() {
    let world = World::with_teacher();
    for (verb, product) in [
        ("train teacher.toml --data data", "teacher.safetensors"),
        (
            "distill student.toml --teacher teacher.safetensors",
            "student.safetensors",
        ),
        ("train features.toml --data data", "features.safetensors"),
    ] {
        world.prints(&format!("{verb} --out a{product}"));
        world.prints(&format!("{verb} --out b{product} --tick 1 --stop-after 3"));
        assert!(!world.path(format!("b{product}/{product}")).exists());
        world.prints(&format!("{verb} --out b{product} --tick 7 --resume"));
        let (a, b) = (
            format!("a{product}/{product}"),
            format!("b{product}/{product}"),
        );
        assert!(world.bytes(&a) == world.bytes(&b), "{product}");
        // Killed between the last checkpoint and the final file.
        std::fs::remove_file(world.path(&b)).unwrap();
        world.prints(&format!("{verb} --out b{product} --resume"));
        assert!(world.bytes(&a) == world.bytes(&b), "{product}");
        // A finished run says so and changes nothing.
        let text = world.fails(&format!("{verb} --out b{product} --resume"), 0);
        assert!(text.contains("finished"), "{text}");
        assert!(world.bytes(&a) == world.bytes(&b), "{product}");
    }
}

#[test]
fn an_interrupt_finishes_the_round_and_says_how_to_go_on() {
    let world = World::with_teacher();
    let verb = "train teacher.toml --data data --set images=800";
    world.prints(&format!("{verb} --out whole"));
    let mut child = world.spawn(&format!("{verb} --out run --tick 4"));
    let metrics = world.path("run/metrics.jsonl");
    wait_for(&mut child, "metrics", || {
        metrics.metadata().is_ok_and(|m| m.len() > 0)
    });
    send(&child, "INT");
    // Who sends it to a process and to its group sends it twice.
    send(&child, "INT");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(!world.path("run/teacher.safetensors").exists());
    // The last line is the command that goes on.
    let command = text.trim_end().lines().last().unwrap().trim();
    assert!(command.ends_with("--resume"), "{text}");
    let words = command.split_once(" train ").unwrap().1;
    let said = world.fails(&format!("train {words}"), 0);
    assert!(said.contains("run: going on at round "), "{said}");
    let product = "teacher.safetensors";
    let (a, b) = (format!("whole/{product}"), format!("run/{product}"));
    assert!(world.bytes(a) == world.bytes(b));
}

#[test]
fn a_full_disk_keeps_the_last_checkpoint() {
    let world = World::with_teacher();
    world.prints(&format!("{TRAIN} --out whole"));
    world.prints(&format!("{TRAIN} --out run --stop-after 6"));
    let before = world.bytes("run/state.safetensors");
    // A limit on file sizes stands in for the full disk: writing fails halfway.
    let script = format!(
        "trap '' XFSZ; ulimit -f 100; exec {} -q {TRAIN} --out run --resume",
        support::PROGRAM
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(world.path("."))
        .env("FEWSTEP_THREADS", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("cannot write") && text.contains("state.safetensors"),
        "{text}"
    );
    assert!(!text.contains("panicked"), "{text}");
    assert!(world.bytes("run/state.safetensors") == before);
    world.prints(&format!("{TRAIN} --out run --resume"));
    let product = "teacher.safetensors";
    assert!(world.bytes(format!("run/{product}")) == world.bytes(format!("whole/{product}")));
}

#[test]
fn whoever_asks_to_stop_gets_a_checkpoint_and_the_usual_status() {
    let world = World::with_teacher();
    for (signal, status) in SIGNALS {
        let Some(status) = status else { continue };
        if signal == "HUP" && hangup_is_ignored() {
            println!("not tried: SIGHUP, which these tests were started without (nohup)");
            continue;
        }
        let verb = format!("train teacher.toml --data data --set images=80000 --out {signal}");
        let mut child = world.spawn(&verb);
        let state = world.path(format!("{signal}/state.safetensors"));
        wait_for(&mut child, "a first state", || state.exists());
        std::thread::sleep(Duration::from_millis(300));
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert!(text.contains("go on with"), "{text}");
        // A tick is a minute: without the signal there would be nothing but round 0.
        let said = world.fails(&format!("{verb} --resume --stop-after 1"), 0);
        assert!(said.contains("going on at round "), "{said}");
    }
    let verb = "train teacher.toml --data data --out fresh --resume --stop-after 1";
    let said = world.fails(verb, 0);
    assert!(said.contains("starting at round 0 of 40"), "{said}");
}

#[test]
fn a_closed_terminal_does_not_end_what_runs_under_nohup() {
    let world = World::with_teacher();
    let script = format!(
        "trap '' HUP; exec {} {TRAIN} --set images=2000 --out run",
        support::PROGRAM
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .current_dir(world.path("."))
        .env("FEWSTEP_THREADS", "1")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let state = world.path("run/state.safetensors");
    wait_for(&mut child, "a first state", || state.exists());
    send(&child, "HUP");
    assert!(child.wait().unwrap().success());
    assert!(world.path("run/teacher.safetensors").exists());
}
