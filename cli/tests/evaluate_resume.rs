//! Evaluations that are ended at random moments, and go on to the same bytes.

#![cfg(unix)]

mod support;

use std::fs;
use std::time::Instant;
use support::{World, random, send, wait_for};

/// The names of what is kept in a folder.
fn kept(world: &World, folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(world.path(folder)) else {
        return Vec::new();
    };
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let names = entries.map(name).map(|name| name.into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn five_thousand_images_come_to_the_same_wherever_they_are_stopped() {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net");
    let verb = "evaluate teacher.safetensors --images 5000 --features net/features.safetensors --reference data \
                --metrics frechet,kernel,prdc --solver euler --steps 2";
    let started = Instant::now();
    let whole = world.prints(&format!(
        "{verb} --json --write-statistics whole.npz --state w"
    ));
    let time = started.elapsed();
    let statistics = world.bytes("whole.npz");
    assert!(kept(&world, "w").is_empty() && !world.path("runs").exists());

    let (mut stopped, mut kinds, mut went_on) = (0, Vec::new(), 0);
    for (i, signal) in ["KILL", "TERM", "KILL"].into_iter().enumerate() {
        let command = format!("{verb} --json --write-statistics {i}.npz --state {i} --resume");
        // Stopped again and again, each time after a part of the work.
        for _ in 0..3 {
            let mut child = world.spawn(&command);
            std::thread::sleep(time.mul_f64(0.05 + 0.3 * random()));
            if child.try_wait().unwrap().is_none() {
                send(&child, signal);
                stopped += 1;
            }
            let _ = child.wait().unwrap();
            kinds.extend(kept(&world, &i.to_string()));
        }
        let output = world.run(&command).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        went_on += u32::from(said.contains("are measured already"));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), whole, "{signal}");
        assert!(
            world.bytes(format!("{i}.npz")) == statistics,
            "{i} {signal}"
        );
        assert!(kept(&world, &i.to_string()).is_empty(), "{i} {signal}");
    }
    assert!(stopped > 0 && went_on > 0, "no signal came in time");
    assert!(
        kinds.iter().any(|name| name.starts_with("images-")),
        "{kinds:?}"
    );
}

#[test]
fn what_is_asked_to_stop_keeps_all_and_says_how_to_go_on() {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net");
    let verb = "evaluate teacher.safetensors --images 2000 --features net/features.safetensors --reference data --paired \
                teacher.safetensors --solver euler --steps 3";
    let started = Instant::now();
    let whole = world.prints(verb);
    let time = started.elapsed();
    let mut child = world.spawn(verb);
    let moment = time.mul_f64(0.3 + 0.3 * random());
    std::thread::sleep(moment);
    assert!(child.try_wait().unwrap().is_none(), "it is too fast");
    send(&child, "INT");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    let command = said.lines().last().unwrap().trim();
    assert!(command.ends_with(&format!("{verb} --resume")), "{said}");
    let stages = kept(&world, "runs/evaluate");
    assert!(
        stages.iter().any(|name| name.starts_with("images-")),
        "{stages:?}"
    );
    // Another evaluation has files of its own.
    let other = world.fails(&format!("{} --resume", verb.replace("2000", "60")), 0);
    assert!(!other.contains("measured already"), "{other}");
    assert_eq!(kept(&world, "runs/evaluate"), stages);
    let output = world.run(&format!("{verb} --resume")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("measured already"), "{said}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), whole);
    assert!(!world.path("runs").exists());
}

#[test]
fn two_do_not_measure_the_same_and_damage_does_no_harm() {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net");
    let verb = "evaluate teacher.safetensors --images 3000 --features net/features.safetensors --state s --solver euler \
                --steps 3 --write-statistics x.safetensors";
    world.prints(verb);
    let whole = world.bytes("x.safetensors");
    let mut child = world.spawn(&format!("{verb} --resume"));
    let file = |world: &World| {
        let mut names = kept(world, "s").into_iter();
        names
            .find(|name| name.starts_with("images-"))
            .map(|name| world.path("s").join(name))
    };
    let long =
        |path: std::path::PathBuf| fs::metadata(path).is_ok_and(|about| about.len() > 20_000);
    wait_for(&mut child, "a few batches", || {
        file(&world).is_some_and(long)
    });
    world.says(
        &format!("{verb} --resume"),
        2,
        "another process is measuring the same",
    );
    send(&child, "KILL");
    child.wait().unwrap();
    // A page of it is lost: what comes before it is as good as ever.
    let path = file(&world).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    fs::remove_file(world.path("x.safetensors")).unwrap();
    let said = world.fails(&format!("{verb} --resume"), 0);
    assert!(said.contains("measured already"), "{said}");
    assert!(world.bytes("x.safetensors") == whole);
    // Without --resume it says that it begins anew.
    let mut child = world.spawn(verb);
    wait_for(&mut child, "a few batches", || {
        file(&world).is_some_and(long)
    });
    send(&child, "KILL");
    child.wait().unwrap();
    let said = world.fails(verb, 0);
    assert!(
        said.contains("begun anew (--resume goes on with it)"),
        "{said}"
    );
    assert!(world.bytes("x.safetensors") == whole);
    world.says(
        "evaluate data --reference data --state teacher.safetensors",
        1,
        "teacher.safetensors",
    );
}
