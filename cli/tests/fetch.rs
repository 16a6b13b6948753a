//! `fetch` against a server of our own, which behaves as servers do.

mod support;
#[path = "support/web.rs"]
mod web;

use fewstep::checkpoint::hash_bytes;
use std::fs;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
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
fn what_was_cut_off_goes_on() {
    for (etag, date, condition) in [
        (
            Some("\"one\""),
            Some("Mon, 02 Jan 2023 00:00:00 GMT"),
            "\"one\"",
        ),
        (
            Some("W/\"one\""),
            Some("Mon, 02 Jan 2023 00:00:00 GMT"),
            "Mon, 02 Jan 2023 00:00:00 GMT",
        ),
    ] {
        let site = Site {
            etag,
            last_modified: date,
            ..Site::of(&content(1))
        };
        let server = cutting(site, 1);
        let world = half(&server, "");
        let text = fetch(&world, "", 0);
        assert!(text.contains("going on after 100.0 kB"), "{text}");
        let asked = server.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].header("range"), Some("bytes=100000-"));
        assert_eq!(asked[0].header("if-range"), Some(condition));
        assert!(world.bytes(FILE) == content(1));
        assert_eq!(files(&world), DONE);
    }
    // In one command: each answer brings a third, so one retry is enough for any number of them.
    let server = cutting(Site::of(&content(1)), 2);
    let world = World::new();
    manifest(&world, &[server.file("x")], "");
    let text = fetch(&world, "--retries 1", 0);
    assert_eq!(text.matches("trying again (1 of 1)").count(), 2, "{text}");
    let ranges: Vec<_> = server.asked();
    let ranges: Vec<_> = ranges.iter().map(|r| r.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-"), Some("bytes=200000-")]);
    assert!(world.bytes(FILE) == content(1));
}

#[test]
fn a_server_without_ranges_starts_anew() {
    let site = Site {
        ranges: false,
        ..Site::of(&content(1))
    };
    let server = cutting(site, 1);
    let world = half(&server, "");
    let text = fetch(&world, "", 0);
    assert!(text.contains("knows no ranges"), "{text}");
    assert!(world.bytes(FILE) == content(1));
}

#[test]
fn a_file_that_has_changed_is_not_mixed_with_the_old_one() {
    let long = [content(2), content(3)].concat();
    for (honest, etag, new, word) in [
        (true, Some("\"two\""), content(2), "it has changed"),
        // Sends its part whatever the condition; the name of the content, or its size, tells.
        (false, Some("\"two\""), content(2), "the file has changed"),
        (false, Some("\"one\""), long.clone(), "the file has changed"),
        // Smaller than what has come.
        (
            false,
            Some("\"one\""),
            content(2)[..50_000].to_vec(),
            "the file has changed",
        ),
    ] {
        let mut first = true;
        let changed = Site {
            etag,
            honest,
            ..Site::of(&new)
        };
        let server = Server::start(move |request| {
            let site = match std::mem::take(&mut first) {
                true => Site {
                    cut: Some(100_000),
                    ..Site::of(&content(1))
                },
                false => changed.clone(),
            };
            site.answer(request)
        });
        let world = half(&server, "");
        let text = fetch(&world, "", 0);
        assert!(text.contains(word), "{word}: {text}");
        assert!(world.bytes(FILE) == new, "{word}");
        assert_eq!(files(&world), DONE);
    }
}

#[test]
fn nothing_goes_on_unseen() {
    let nameless = Site {
        etag: None,
        ..Site::of(&content(1))
    };
    // Nothing would show a change: from the beginning.
    let server = cutting(nameless.clone(), 1);
    let world = half(&server, "");
    let text = fetch(&world, "", 0);
    assert!(text.contains("nothing would tell"), "{text}");
    assert_eq!(server.asked()[0].header("range"), None);
    assert!(world.bytes(FILE) == content(1));
    // The hash will: it goes on, from another mirror as well.
    let more = format!("sha256 = {:?}", hash_bytes(&content(1)));
    let server = cutting(nameless.clone(), 1);
    let mirror = Server::of(nameless.clone());
    let world = half(&server, &more);
    manifest(&world, &[mirror.file("x")], &more);
    fetch(&world, "", 0);
    let asked = mirror.asked();
    assert_eq!(asked[0].header("range"), Some("bytes=100000-"));
    assert_eq!(asked[0].header("if-range"), None);
    assert!(world.bytes(FILE) == content(1));
    // And does: the part of one file and the rest of another are refused, and nothing of them stays.
    let server = cutting(nameless.clone(), 1);
    let mirror = Server::of(Site {
        content: content(2),
        ..nameless
    });
    let world = half(&server, &more);
    manifest(&world, &[mirror.file("x")], &more);
    let text = fetch(&world, "--retries 0", 1);
    assert!(text.contains("sent another file: its SHA-256"), "{text}");
    assert_eq!(files(&world), Vec::<String>::new());
    // Without a hash, a mirror is asked for the whole file.
    let server = cutting(Site::of(&content(1)), 1);
    let mirror = Server::of(Site::of(&content(2)));
    let world = half(&server, "");
    manifest(&world, &[mirror.file("x")], "");
    fetch(&world, "", 0);
    assert_eq!(mirror.asked()[0].header("range"), None);
    assert!(world.bytes(FILE) == content(2));
}

#[test]
fn what_servers_refuse_is_said_with_the_address() {
    let html = Reply {
        status: "200 OK",
        body: b"<html>log in</html>".to_vec(),
        ..Reply::default()
    };
    let html = html
        .with("Content-Type", "text/html; charset=utf-8")
        .with("Content-Length", "19");
    let blind = Reply {
        status: "200 OK",
        body: content(1),
        ..Reply::default()
    };
    let zipped = Site::of(&content(1)).answer(&web::Request {
        path: String::new(),
        headers: Default::default(),
    });
    let zipped = zipped.with("Content-Encoding", "gzip");
    for (reply, word) in [
        (Reply::of("404 Not Found"), "answers 404 Not Found"),
        (Reply::of("403 Forbidden"), "answers 403 Forbidden"),
        (Reply::of("503 Service Unavailable"), "answers 503"),
        (Reply::of("206 Partial Content"), "answers 206"),
        (Reply::of("302 Found"), "answers 302"),
        (
            Reply::of("302 Found").with("Location", "/x"),
            "redirects more than 10 times",
        ),
        (
            Reply::of("302 Found").with("Location", "file:///etc/passwd"),
            "redirects to nowhere",
        ),
        (html, "web page"),
        (blind, "does not say how large"),
        (zipped, "encoding"),
    ] {
        let server = Server::start(move |_| reply.clone());
        let world = World::new();
        let url = server.file("x");
        manifest(&world, std::slice::from_ref(&url), "");
        let text = fetch(&world, "-q --retries 0", 1);
        assert!(text.starts_with("error: cannot fetch x: "), "{text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        for word in [word, &url, "put the file at weights/x.bin"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(files(&world), Vec::<String>::new(), "{word}");
    }
}

#[test]
fn a_wrong_size_or_hash_is_refused() {
    let server = Server::of(Site::of(&content(1)));
    let chunked = Server::start(|_| {
        let body = [b"493e0\r\n".as_slice(), &content(1), b"\r\n0\r\n\r\n"].concat();
        let reply = Reply {
            status: "200 OK",
            body,
            ..Reply::default()
        };
        reply.with("Transfer-Encoding", "chunked")
    });
    let (hash, other) = (hash_bytes(&content(1)), hash_bytes(&content(2)));
    for (server, more, word) in [
        (
            &server,
            "size = 5".into(),
            "300000 bytes, and 5 by the manifest",
        ),
        (
            &chunked,
            "size = 5".into(),
            "300000 bytes, and 5 by the manifest",
        ),
        (
            &server,
            format!("sha256 = {other:?}"),
            &*format!("{hash}, and {other}"),
        ),
        (
            &chunked,
            format!("sha256 = {other:?}"),
            &*format!("{hash}, and {other}"),
        ),
    ] {
        let world = World::new();
        manifest(&world, &[server.file("x")], &more);
        let text = fetch(&world, "--retries 0", 1);
        assert!(
            text.contains(word) && text.contains(&server.file("x")),
            "{text}"
        );
        assert_eq!(files(&world), Vec::<String>::new(), "{more}");
        // The next mirror may have it.
        let more = match more.starts_with("size") {
            true => "size = 300000".to_string(),
            false => format!("sha256 = {hash:?}"),
        };
        let wrong = Server::of(Site::of(&content(2)[..299_999]));
        manifest(&world, &[wrong.file("x"), server.file("x")], &more);
        fetch(&world, "--retries 0", 0);
        assert!(world.bytes(FILE) == content(1));
        assert_eq!(files(&world), DONE);
    }
}

#[test]
fn mirrors_are_tried_in_order() {
    let gone = Server::start(|_| Reply::of("404 Not Found"));
    let deaf = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/x", listener.local_addr().unwrap())
    };
    let good = Server::of(Site::of(&content(1)));
    let unused = Server::of(Site::of(&content(2)));
    let world = World::new();
    let urls = [
        deaf.clone(),
        gone.file("x"),
        good.file("x"),
        unused.file("x"),
    ];
    manifest(&world, &urls[..2], "");
    let text = fetch(&world, "--retries 0", 1);
    for word in [&*deaf, "cannot be reached", &gone.file("x"), "404"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    manifest(&world, &urls, "");
    fetch(&world, "--retries 0", 0);
    assert!(world.bytes(FILE) == content(1));
    assert!(unused.asked().is_empty());
    let record = String::from_utf8(world.bytes(RECORD)).unwrap();
    assert!(record.contains(&good.file("x")), "{record}");
    // A busy server is asked once more.
    let mut busy = true;
    let site = Site::of(&content(3));
    let server = Server::start(move |request| match std::mem::take(&mut busy) {
        true => Reply::of("503 Service Unavailable"),
        false => site.answer(request),
    });
    let world = World::new();
    manifest(&world, &[server.file("x")], "");
    fetch(&world, "--retries 1", 0);
    assert!(world.bytes(FILE) == content(3));
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
fn redirects_are_followed_but_not_out_of_encryption() {
    let site = Site::of(&content(1));
    let mut cut = Some(100_000);
    let server = Server::start(move |request| match request.path.as_str() {
        "/x" => Reply::of("302 Found").with("Location", "y/../z?a=b"),
        _ => Site {
            cut: cut.take(),
            ..site.clone()
        }
        .answer(request),
    });
    let world = World::new();
    manifest(&world, &[server.file("x")], "");
    fetch(&world, "--retries 1", 0);
    assert!(world.bytes(FILE) == content(1));
    let asked = server.asked();
    let asked: Vec<_> = asked
        .iter()
        .map(|r| (r.path.as_str(), r.header("range")))
        .collect();
    let rest = Some("bytes=100000-");
    let target = asked[1].0;
    assert!(target.ends_with("/z?a=b"), "{target}");
    assert_eq!(
        asked,
        [("/x", None), (target, None), ("/x", rest), (target, rest)]
    );

    let plain = Server::of(Site::of(&content(1)));
    let location = plain.file("x");
    let site = Site::of(&content(1));
    let encrypted = Server::encrypted(move |request| match request.path.as_str() {
        "/x" => site.answer(request),
        _ => Reply::of("301 Moved Permanently").with("Location", &*location),
    });
    let entrance = encrypted.file("x");
    let server =
        Server::start(move |_| Reply::of("308 Permanent Redirect").with("Location", &*entrance));
    fs::write(world.path("ca.pem"), web::PEM).unwrap();
    let trusting = |urls: &[String], status: i32| {
        let world_urls = urls.to_vec();
        manifest(&world, &world_urls, "");
        let _ = fs::remove_dir_all(world.path("weights"));
        let mut command = command(&world, "--retries 0");
        said(
            &command.env("SSL_CERT_FILE", "ca.pem").output().unwrap(),
            status,
        )
    };
    trusting(&[encrypted.file("x")], 0);
    assert!(world.bytes(FILE) == content(1));
    trusting(&[server.file("y")], 0);
    assert!(world.bytes(FILE) == content(1));
    let text = trusting(&[encrypted.file("y")], 1);
    assert!(text.contains("is not encrypted"), "{text}");
    assert!(plain.asked().is_empty());
    // Nobody else trusts that certificate.
    let text = fetch(&world, "--retries 0", 1);
    assert!(text.contains("cannot be trusted"), "{text}");
    let mut command = command(&world, "");
    let output = command.env("SSL_CERT_FILE", "m.toml").output().unwrap();
    assert!(said(&output, 2).contains("no certificate"));
}

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
