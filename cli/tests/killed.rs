//! `sample` and `evaluate` that are ended at random moments: nothing is ever half there, and the same command ends in the same
//! bytes.

#![cfg(unix)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{SIGNALS, World, random, send, wait_for};

/// Every file of a folder by name, without what a killed write leaves hidden.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        (name, fs::read(path).unwrap())
    };
    let shown = entries.map(read).filter(|(name, _)| !name.starts_with('.'));
    shown.collect()
}

/// Starts a command, ends it at a random moment, and returns its status.
fn ended(world: &World, command: &str, signal: &str, whole: Duration) -> Option<i32> {
    let mut child = world.spawn(command);
    std::thread::sleep(whole.mul_f64(random() * 0.9));
    send(&child, signal);
    child.wait().unwrap().code()
}

#[test]
fn samples_are_whole_and_the_same() {
    let world = World::with_teacher();
    let verb = "sample teacher.safetensors --seeds 0-299 --batch 10 --grid";
    let started = Instant::now();
    world.prints(&format!("{verb} --out whole"));
    let time = started.elapsed();
    let whole = files(&world.path("whole"));
    assert!(whole.len() > 300);
    let mut stopped = 0;
    for (signal, caught) in SIGNALS.into_iter().chain(SIGNALS) {
        let command = format!("{verb} --out {signal}");
        let folder = world.path(signal);
        let status = ended(&world, &command, signal, time);
        assert!(
            [None, Some(0), caught].contains(&status),
            "{signal}: {status:?}"
        );
        stopped += u32::from(status == caught);
        for (name, bytes) in files(&folder) {
            // What is there is what it will be; the description of all may come before all are there.
            assert!(whole[&name] == bytes, "{signal}: {name} is not whole");
        }
    }
    assert!(stopped > 0, "no signal came in time");
    for (signal, _) in SIGNALS {
        world.prints(&format!("{verb} --out {signal}"));
        assert!(files(&world.path(signal)) == whole, "{signal}");
    }
}

#[test]
fn statistics_are_whole_and_the_same() {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net");
    let verb = "evaluate teacher.safetensors --images 400 --features net/features.safetensors";
    let started = Instant::now();
    world.prints(&format!("{verb} --write-statistics whole.safetensors"));
    let time = started.elapsed();
    let whole = world.bytes("whole.safetensors");
    for (signal, caught) in SIGNALS.into_iter().chain(SIGNALS) {
        let name = format!("{signal}.safetensors");
        let command = format!("{verb} --write-statistics {name}");
        let status = ended(&world, &command, signal, time);
        assert!(
            [None, Some(0), caught].contains(&status),
            "{signal}: {status:?}"
        );
        if world.path(&name).exists() && status != Some(0) {
            assert!(world.bytes(&name) == whole, "{signal}: it is not whole");
        }
        world.prints(&command);
        assert!(world.bytes(&name) == whole, "{signal}");
    }
}

#[test]
fn what_is_stopped_says_how_to_go_on() {
    let world = World::with_teacher();
    let mut child = world.spawn("sample teacher.safetensors --seeds 0-99999 --out images");
    let first = world.path("images/000000.png");
    wait_for(&mut child, "a first picture", || first.exists());
    send(&child, "TERM");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(143), "{said}");
    let words = [
        "terminated: finishing the batch",
        "go on with",
        "sample teacher.safetensors",
    ];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");

    world.prints("train features.toml --data data --out net");
    let evaluate =
        "evaluate teacher.safetensors --images 100000 --features net/features.safetensors";
    let mut child = world.spawn(&format!("{evaluate} --write-statistics s.safetensors"));
    std::thread::sleep(Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none());
    send(&child, "INT");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    let words = ["what is measured is kept; go on with", "--resume"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    let kept = fs::read_dir(world.path("runs/evaluate")).unwrap();
    assert_eq!(kept.count(), 1);
    assert!(!world.path("s.safetensors").exists());
}
