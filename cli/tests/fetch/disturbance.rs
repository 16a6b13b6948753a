//! Fetches that are disturbed.

use super::*;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn a_silent_server_is_given_up() {
    let server = Server::of(Site {
        cut: Some(1000),
        silence: Duration::from_secs(30),
        ..Site::of(&content(1))
    });
    let world = World::new();
    manifest(&world, &[server.file("x")], "");
    let started = Instant::now();
    let text = fetch(&world, "--retries 0 --timeout 1", 1);
    assert!(started.elapsed() < Duration::from_secs(15), "{text}");
    assert!(text.contains("cut off after 1.0 kB"), "{text}");
    assert_eq!(world.bytes(PART).len(), 1000);
}

/// A fetch of which 100,000 bytes have come, and that waits for more.
#[cfg(unix)]
fn waiting(world: &World) -> (Server, std::process::Child) {
    let mut silence = Duration::from_secs(60);
    let site = Site::of(&content(1));
    let server = Server::start(move |request| {
        let silence = std::mem::take(&mut silence);
        let cut = (!silence.is_zero()).then_some(100_000);
        Site {
            cut,
            silence,
            ..site.clone()
        }
        .answer(request)
    });
    manifest(world, &[server.file("x")], "");
    let mut command = std::process::Command::new(support::PROGRAM);
    let words = "fetch x --manifest m.toml --timeout 60 --overwrite";
    command.current_dir(world.path(".")).args(words.split(' '));
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    let part = world.path(PART);
    while part.metadata().map_or(0, |m| m.len()) < 100_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        assert!(Instant::now() < limit, "nothing comes");
        std::thread::sleep(Duration::from_millis(5));
    }
    (server, child)
}

#[test]
#[cfg(unix)]
fn an_interrupt_keeps_the_part_and_says_how_to_go_on() {
    let world = World::new();
    let (server, child) = waiting(&world);
    let id = child.id().to_string();
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args(["-INT", &id]).status().unwrap().success());
    let text = said(&child.wait_with_output().unwrap(), 130);
    let line = text.trim_end().lines().last().unwrap();
    assert!(text.contains("what has come is kept"), "{text}");
    let words = line.split_once(" fetch ").unwrap().1;
    assert_eq!(words, "x --manifest m.toml --timeout 60");
    assert_eq!(world.bytes(PART).len(), 100_000);
    assert_eq!(server.asked().len(), 1);
    fetch(&world, "", 0);
    assert_eq!(server.asked()[0].header("range"), Some("bytes=100000-"));
    assert!(world.bytes(FILE) == content(1));
}

#[test]
#[cfg(unix)]
fn a_kill_or_a_second_fetch_does_no_harm() {
    let world = World::new();
    let (server, mut child) = waiting(&world);
    let text = fetch(&world, "", 1);
    assert!(text.contains("another fetch is at work"), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(server.asked().len(), 1);
    fetch(&world, "", 0);
    assert!(world.bytes(FILE) == content(1));
    assert_eq!(files(&world), DONE);
}

#[test]
#[cfg(unix)]
fn a_full_disk_keeps_what_has_come() {
    let server = Server::of(Site::of(&content(1)));
    let world = World::new();
    manifest(&world, &[server.file("x")], "");
    // A limit on file sizes stands in for the full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f 200; exec {} fetch x --manifest m.toml",
        support::PROGRAM
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(world.path("."));
    for name in VARIABLES {
        command.env_remove(name);
    }
    let text = said(&command.output().unwrap(), 1);
    assert!(
        text.contains("cannot write") && text.contains(PART),
        "{text}"
    );
    let kept = world.bytes(PART).len();
    assert!(kept > 0 && kept < 300_000, "{kept}");
    fetch(&world, "", 0);
    let range = format!("bytes={kept}-");
    assert_eq!(server.asked()[1].header("range"), Some(&*range));
    assert!(world.bytes(FILE) == content(1));
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_fills_up_keeps_the_part() {
    let server = Server::of(Site::of(&content(1)));
    let world = World::new();
    manifest(&world, &[server.file("x")], "");
    // Files of at most 100 kB, as on a disk that has no more room.
    let mut command = std::process::Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$@\"";
    command
        .args(["-c", script, "sh", support::PROGRAM])
        .args(["fetch", "x", "--manifest", "m.toml"])
        .current_dir(world.path("."));
    for name in VARIABLES {
        command.env_remove(name);
    }
    let text = said(&command.output().unwrap(), 1);
    for word in [PART, "what has come is kept, and the same command goes on"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let part = world.bytes(PART);
    assert!(!part.is_empty() && content(1).starts_with(&part));
    fetch(&world, "", 0);
    assert!(world.bytes(FILE) == content(1));
    assert_eq!(files(&world), DONE);
}
