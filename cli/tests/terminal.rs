//! What cannot be written to a terminal ends no run.

#![cfg(unix)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use support::World;

/// The one file that may write there.
const PLACE: &str = "say.rs";

fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn all_of_it_is_written_in_one_place() {
    let mut found = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.len() > 50);
    let macros = ["print!(", "println!(", "dbg!("];
    let mut strays = Vec::new();
    for path in found.iter().filter(|path| !path.ends_with(PLACE)) {
        let text = fs::read_to_string(path).unwrap();
        // Tests may print.
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (at, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap();
            let stream = line.contains("stdout()") || line.contains("stderr()");
            let asks = line.contains("is_terminal()");
            // `Cli::parse` and the like print and leave by themselves.
            let parses = line.contains("Cli::parse(") || line.contains(".exit()");
            if macros.iter().any(|m| line.contains(m)) || (stream && !asks) || parses {
                strays.push(format!("{}:{}: {line}", path.display(), at + 1));
            }
        }
    }
    assert!(
        strays.is_empty(),
        "use say! or tell! of {PLACE}: a failed write must not panic:\n{}",
        strays.join("\n")
    );
}

/// Where nothing can be written: nobody reads the one, the other is always full.
fn dead_ends() -> Vec<(&'static str, Stdio)> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut ends = vec![("closed", Stdio::from(writer))];
    if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
        ends.push(("full", Stdio::from(full)));
    }
    ends
}

fn command(world: &World, arguments: &str) -> Command {
    let mut command = Command::new(support::PROGRAM);
    command
        .current_dir(world.path("."))
        .args(arguments.split_whitespace())
        .env("FEWSTEP_THREADS", "1");
    command
}

#[test]
fn a_log_that_cannot_be_written_ends_no_training() {
    let world = World::new();
    let verb = "train teacher.toml --data data --tick 5";
    world.prints(&format!("{verb} --out whole"));
    for (name, end) in dead_ends() {
        // Says what it found, and how to go on.
        let stopping = format!("{verb} --out {name} --resume --stop-after 3");
        let output = command(&world, &stopping).stderr(end).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}");
    }
    for (name, end) in dead_ends() {
        // A preview that cannot be made is said, too.
        fs::create_dir_all(world.path(format!("{name}/preview-0000005.png"))).unwrap();
        let resuming = format!("{verb} --out {name} --resume");
        let output = command(&world, &resuming).stderr(end).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}");
        let product = format!("{name}/teacher.safetensors");
        assert!(world.bytes(&product) == world.bytes("whole/teacher.safetensors"));
    }
    // The error that ends a program cannot be said; its status can.
    for (name, end) in dead_ends() {
        let output = command(&world, "inspect nowhere").stderr(end).output();
        assert_eq!(output.unwrap().status.code(), Some(2), "{name}");
    }
}

#[test]
fn results_that_nobody_gets_are_an_error_at_the_end() {
    let world = World::new();
    let results = [
        "train teacher.toml --data data --out run --overwrite",
        "inspect run/teacher.safetensors",
        "--help",
        "train --help",
        "--version",
        "completions bash",
    ];
    for arguments in results {
        for (name, end) in dead_ends() {
            let output = command(&world, arguments).stdout(end).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            let expected = i32::from(name == "full");
            assert_eq!(
                output.status.code(),
                Some(expected),
                "{arguments}, {name}: {text}"
            );
            assert!(!text.contains("panicked"), "{text}");
            let said = text.contains("cannot write to standard output");
            assert_eq!(said, name == "full", "{text}");
        }
    }
    // The work was done first.
    world.prints("inspect run/teacher.safetensors");
    assert!(world.prints("completions bash").contains("complete -F"));
}
