//! `fetch` against a server of our own, which behaves as servers do.

mod disturbance;
mod part;
mod server;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web.rs"]
mod web;

use fewstep::model::hash_bytes;
use std::fs;
use std::process::Output;
use support::World;
use web::{Reply, Server, Site};

const PART: &str = "weights/x.bin.part";
const FILE: &str = "weights/x.bin";
const RECORD: &str = "weights/x.bin.fetch.toml";

/// Bytes that do not repeat, so that a part in the wrong place shows.
fn content(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..300_000).map(|_| next()).collect()
}

/// A manifest of `x`, which is at these addresses.
fn manifest(world: &World, urls: &[String], more: &str) {
    let text = format!("[x]\nfile = \"x.bin\"\nurls = {urls:?}\n{more}");
    fs::write(world.path("m.toml"), text).unwrap();
}

/// What disturbs the environment of a test.
const VARIABLES: [&str; 9] = [
    "FEWSTEP_OFFLINE",
    "FEWSTEP_MANIFEST",
    "SSL_CERT_FILE",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

fn command(world: &World, more: &str) -> assert_cmd::Command {
    let line = format!("fetch x --manifest m.toml {more}");
    let mut command = world.run(&line);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command
}

/// Runs it, wants `status`, and returns what it said.
fn fetch(world: &World, more: &str, status: i32) -> String {
    said(&command(world, more).output().unwrap(), status)
}

fn said(output: &Output, status: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// The names of the files in the folder.
fn files(world: &World) -> Vec<String> {
    let Ok(entries) = fs::read_dir(world.path("weights")) else {
        return Vec::new();
    };
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

const DONE: [&str; 2] = ["x.bin", "x.bin.fetch.toml"];
const HALF: [&str; 2] = ["x.bin.part", "x.bin.part.toml"];

/// A site that cuts its answers after 100,000 bytes, the first `times` times.
fn cutting(site: Site, mut times: usize) -> Server {
    Server::start(move |request| {
        let cut = (times > 0).then_some(100_000);
        times = times.saturating_sub(1);
        Site {
            cut,
            ..site.clone()
        }
        .answer(request)
    })
}

/// A world in which the first 100,000 bytes of `site` have come from `server`.
fn half(server: &Server, more: &str) -> World {
    let world = World::new();
    manifest(&world, &[server.file("x")], more);
    let text = fetch(&world, "--retries 0", 1);
    let url = server.file("x");
    for word in [
        &url,
        "cut off after 100.0 kB of 300.0 kB",
        "are kept in",
        PART,
        FILE,
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(
        text.trim_end()
            .lines()
            .last()
            .unwrap()
            .matches("error: ")
            .count(),
        1
    );
    assert_eq!(world.bytes(PART).len(), 100_000);
    assert_eq!(files(&world), HALF);
    assert_eq!(server.asked().len(), 1);
    world
}

#[test]
fn a_whole_file_is_recorded_and_later_ones_are_held_to_it() {
    let site = Site::of(&content(1));
    let other = Site::of(&content(2));
    let mut sites = vec![other.clone(), other, site.clone(), site];
    let server = Server::start(move |request| sites.pop().unwrap().answer(request));
    let world = World::new();
    manifest(&world, &[server.file("x?y=z")], "");
    let output = command(&world, "").output().unwrap();
    let text = said(&output, 0);
    assert_eq!(output.stdout, b"weights/x.bin\n");
    assert!(world.bytes(FILE) == content(1));
    assert_eq!(files(&world), DONE);
    let hash = hash_bytes(&content(1));
    assert!(text.contains(&hash) && text.contains("recorded"), "{text}");
    let record = String::from_utf8(world.bytes(RECORD)).unwrap();
    for word in [&hash, "300000", &server.file("x?y=z")] {
        assert!(record.contains(word), "{word}: {record}");
    }
    let asked = server.asked();
    assert_eq!((asked.len(), asked[0].path.as_str()), (1, "/x?y=z"));
    assert_eq!(asked[0].header("range"), None);
    // It is there: no server is asked.
    let text = fetch(&world, "", 0);
    assert!(text.contains("as it should be"), "{text}");
    assert_eq!(server.asked().len(), 0);
    // Again, and the same.
    fs::remove_file(world.path(FILE)).unwrap();
    let text = fetch(&world, "", 0);
    assert!(text.contains("as it should be"), "{text}");
    // Again, and another file of the same size.
    fs::remove_file(world.path(FILE)).unwrap();
    let text = fetch(&world, "--retries 0", 1);
    assert!(
        text.contains(&hash) && text.contains("first download"),
        "{text}"
    );
    assert_eq!(files(&world), ["x.bin.fetch.toml"]);
    fetch(&world, "--overwrite", 0);
    assert!(world.bytes(FILE) == content(2));
    // Somebody changes what is there.
    fs::write(world.path(FILE), content(3)).unwrap();
    let text = fetch(&world, "", 1);
    for word in ["not what it should be", "--overwrite", &server.file("x")] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(world.bytes(FILE) == content(3));
}

#[test]
fn a_file_that_is_there_already_is_recorded() {
    let world = World::new();
    manifest(&world, &["https://nowhere.invalid/x".into()], "");
    fs::create_dir(world.path("weights")).unwrap();
    fs::write(world.path(FILE), content(1)).unwrap();
    let text = fetch(&world, "", 0);
    assert!(text.contains("now recorded"), "{text}");
    fs::write(world.path(FILE), content(2)).unwrap();
    assert!(fetch(&world, "--offline", 1).contains("first download"));
    // What the manifest says comes first.
    let more = format!(
        "size = 300000\nsha256 = {:?}",
        hash_bytes(&content(2)).to_uppercase()
    );
    manifest(&world, &["https://nowhere.invalid/x".into()], &more);
    assert!(fetch(&world, "--offline", 0).contains("as it should be"));
}

#[test]
fn offline_asks_nobody() {
    let server = Server::of(Site::of(&content(1)));
    let world = World::new();
    manifest(&world, &[server.file("x")], "");
    let text = fetch(&world, "--offline", 1);
    for word in ["--offline", FILE, &server.file("x")] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let output = command(&world, "").env("FEWSTEP_OFFLINE", "1").output();
    said(&output.unwrap(), 1);
    assert!(server.asked().is_empty() && files(&world).is_empty());
    fetch(&world, "", 0);
    server.asked();
    let output = command(&world, "--offline").output().unwrap();
    said(&output, 0);
    assert_eq!(output.stdout, b"weights/x.bin\n");
    assert!(server.asked().is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_shows_before_the_download() {
    let server = Server::of(Site::of(&content(1)));
    let world = World::new();
    manifest(&world, &[server.file("x")], "");
    let text = fetch(&world, "--out m.toml/weights", 1);
    assert!(text.contains("m.toml/weights"), "{text}");
    assert!(server.asked().is_empty());
    fs::create_dir_all(world.path(PART)).unwrap();
    let text = fetch(&world, "", 1);
    assert!(text.contains(PART), "{text}");
    assert!(server.asked().is_empty());
}

#[test]
fn what_was_typed_wrong_is_named() {
    let world = World::new();
    manifest(&world, &["http://127.0.0.1:1/x".into()], "");
    world.says("fetch edm-cifar", 2, "edm-cifar10, ");
    world.says("fetch x", 2, "no weights `x`");
    world.says("fetch x --manifest none.toml", 2, "none.toml");
    world.says("fetch x --manifest teacher.toml", 2, "teacher.toml, line");
    fs::write(
        world.path("bad.toml"),
        "[x]\nfile = '../x'\nurls = ['http://a/b']",
    )
    .unwrap();
    world.says("fetch x --manifest bad.toml", 2, "plain name");
    assert!(world.fails("fetch", 2).contains("NAME"));
    world.fails("fetch x --offline --overwrite", 2);
    assert!(!world.path("weights").exists());
    let hint = "`fewstep fetch edm-cifar10` gets it, as weights/edm-cifar10-32x32-uncond-vp.pkl";
    for verb in [
        "sample edm-cifar10 --seeds 0",
        "inspect edm-cifar10-32x32-uncond-vp.pkl",
        "distill --recipe cifar10-nfe2 --teacher weights/edm-cifar10-32x32-uncond-vp.pkl",
    ] {
        world.says(verb, 2, hint);
    }
}

#[test]
fn the_manifest_can_be_printed_and_edited() {
    let world = World::new();
    let list = world.prints("fetch --list");
    for word in [
        "edm-cifar10 ",
        "https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/edm-imagenet-64x64-cond-adm.pkl",
        "weights/edm-ffhq-64x64-uncond-vp.pkl is not there",
    ] {
        assert!(list.contains(word), "{word}: {list}");
    }
    let printed = world.prints("fetch --print-manifest");
    fs::write(world.path("mirrors.toml"), &printed).unwrap();
    assert_eq!(world.prints("fetch --list --manifest mirrors.toml"), list);
    // One entry replaces one, and the others stay.
    let server = Server::of(Site::of(&content(1)));
    let text = format!(
        "[edm-ffhq]\nfile = \"ffhq.pkl\"\nurls = [{:?}]",
        server.file("f")
    );
    fs::write(world.path("mirrors.toml"), text).unwrap();
    let mut command = world.run("fetch edm-ffhq --out here");
    for name in VARIABLES {
        command.env_remove(name);
    }
    let output = command
        .env("FEWSTEP_MANIFEST", "mirrors.toml")
        .output()
        .unwrap();
    said(&output, 0);
    assert_eq!(output.stdout, b"here/ffhq.pkl\n");
    let list = world.prints("fetch --list --manifest mirrors.toml --out here");
    assert!(
        list.contains("here/ffhq.pkl is there") && list.contains("edm-afhqv2"),
        "{list}"
    );
}
