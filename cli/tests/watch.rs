//! A run in a browser: the page and its pictures, for this machine alone.

#![cfg(unix)]

#[path = "support/browser.rs"]
mod browser;
mod support;

use browser::{browser, opened};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use support::{World, send};

/// A process that serves, and its address.
struct Watch {
    child: Child,
    at: String,
}

impl Watch {
    fn start(world: &World, arguments: &str) -> Self {
        let mut child = Command::new(support::PROGRAM)
            .current_dir(world.path(""))
            .args(arguments.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let at = line
            .trim()
            .strip_prefix("http://")
            .unwrap()
            .strip_suffix('/')
            .unwrap();
        Self {
            child,
            at: at.into(),
        }
    }

    /// The answer to a request for a path, by its head and body.
    fn ask(&self, path: &str) -> (String, Vec<u8>) {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.at))
    }

    fn say(&self, request: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.at).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        (
            String::from_utf8(bytes[..end].to_vec()).unwrap(),
            bytes[end + 4..].to_vec(),
        )
    }

    fn port(&self) -> u16 {
        self.at.rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ok(head: &str) -> bool {
    head.starts_with("HTTP/1.1 200 OK\r\n")
}

#[test]
fn the_page_and_its_pictures_are_those_of_the_run() {
    let world = World::with_teacher();
    let distill = "distill student.toml --teacher teacher.safetensors --tick 10 --out s";
    world.prints(&format!("{distill} --stop-after 10"));
    let before = std::fs::read_dir(world.path("s")).unwrap().count();
    let watch = Watch::start(&world, "watch s");
    let (head, page) = watch.ask("/");
    let page = String::from_utf8(page).unwrap();
    assert!(ok(&head) && head.contains("text/html"), "{head}");
    assert!(
        page.contains("Round 10 of 20 so far") && page.contains("preview-0000010.png"),
        "{page}"
    );
    let (head, picture) = watch.ask("/preview-0000010.png");
    assert!(
        ok(&head) && head.contains("image/png") && picture == world.bytes("s/preview-0000010.png")
    );
    let (_, version) = watch.ask("/version");
    assert_eq!(watch.ask("/version").1, version);
    // It goes on, and the page knows.
    world.prints(&format!("{distill} --resume"));
    assert_ne!(watch.ask("/version").1, version);
    let (_, page) = watch.ask("/");
    assert!(
        String::from_utf8(page)
            .unwrap()
            .contains("preview-0000020.png")
    );
    assert!(ok(&watch.ask("/preview-0000020.png").0));
    // Reading changes nothing: the only new files are the run's.
    let new = ["preview-0000020.png", "student.safetensors"];
    assert_eq!(
        std::fs::read_dir(world.path("s")).unwrap().count(),
        before + new.len()
    );
}

#[test]
fn nobody_else_is_answered_and_nothing_else_is_given() {
    let world = World::with_teacher();
    world.prints("distill student.toml --teacher teacher.safetensors --stop-after 2 --out s");
    std::fs::write(world.path("secret.png"), "secret").unwrap();
    let watch = Watch::start(&world, "watch s");
    for path in [
        "/state.safetensors",
        "/../secret.png",
        "/..%2fsecret.png",
        "/%2e%2e/secret.png",
        "/./preview-0000002.png",
        "//etc/passwd",
        "/preview-0000002.png/../state.safetensors",
        "/preview-0000009.png",
    ] {
        let (head, body) = watch.ask(path);
        assert!(head.starts_with("HTTP/1.1 404"), "{path}: {head}");
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
    let at = &watch.at;
    for (request, status) in [
        (format!("POST / HTTP/1.1\r\nHost: {at}\r\n\r\n"), "405"),
        ("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".into(), "403"),
        ("GET / HTTP/1.1\r\n\r\n".into(), "403"),
        ("nonsense\r\n\r\n".into(), "400"),
        (format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000)), "400"),
    ] {
        let (head, _) = watch.say(&request);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {head}"
        );
    }
    let (head, body) = watch.say(&format!("HEAD / HTTP/1.1\r\nHost: {at}\r\n\r\n"));
    assert!(ok(&head) && body.is_empty());
    // It listens at the loopback address and at no other: the same port is free there.
    assert!(at.starts_with("127.0.0.1:"), "{at}");
    let port = watch.port();
    let listening = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let bound = format!(":{port:04X} ");
    let places: Vec<&str> = listening
        .lines()
        .filter(|line| line.contains(" 0A "))
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter(|place| format!("{place} ").ends_with(&bound))
        .collect();
    assert!(
        listening.is_empty() || places == [format!("0100007F:{port:04X}")],
        "{places:?}"
    );
    // Elsewhere there may be no second address of the machine itself.
    assert!(!cfg!(target_os = "linux") || TcpListener::bind(("127.0.0.2", port)).is_ok());
    // One that has been named and is taken is said.
    world.says(
        &format!("watch s --port {port}"),
        2,
        &format!("--port {port}"),
    );
    world.says("watch secret.png", 2, "secret.png");
    world.says("watch nowhere", 2, "nowhere");
}

#[test]
fn ctrl_c_ends_it() {
    let world = World::with_teacher();
    world.prints("distill student.toml --teacher teacher.safetensors --stop-after 2 --out s");
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let mut watch = Watch::start(&world, "watch s");
        assert!(ok(&watch.ask("/").0));
        send(&watch.child, signal);
        let mut said = String::new();
        watch
            .child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert_eq!(watch.child.wait().unwrap().code(), Some(status));
        assert!(
            said.contains("stopped watching") && !said.contains("panicked"),
            "{said}"
        );
        // The port is free again.
        drop(TcpListener::bind(&watch.at).unwrap());
    }
}

#[test]
fn a_run_shows_itself_only_when_it_is_told_to() {
    let world = World::with_teacher();
    let run =
        "distill student.toml --teacher teacher.safetensors --set trajectories=100000 --tick 5";
    let mut child = world.spawn(&format!("{run} --live --out s"));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = lines.find_map(|line| line.unwrap().strip_prefix("watch it at ").map(String::from));
    let at = said.unwrap();
    let at = at
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix('/')
        .unwrap()
        .to_string();
    let watch = Watch { child, at };
    while !ok(&watch.ask("/").0) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (_, page) = watch.ask("/");
    assert!(String::from_utf8(page).unwrap().contains("of 12"));
    drop(watch);
    let output = world
        .run("distill student.toml --teacher teacher.safetensors --out silent")
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("http"));
}

#[test]
fn a_browser_finds_nothing_wrong() {
    let Some(browser) = browser() else {
        return;
    };
    let world = World::with_teacher();
    world.prints("distill student.toml --teacher teacher.safetensors --tick 5 --out s");
    let watch = Watch::start(&world, "watch s");
    let address = format!("http://{}/", watch.at);
    // Long enough for it to have asked whether there is something new.
    let (found, said) = opened(
        &browser,
        &address,
        &["--dump-dom", "--virtual-time-budget=5000"],
        &world.path(""),
    );
    assert!(!said.contains("CONSOLE"), "{said}");
    assert!(
        found.contains("aria-valuetext=\"round 20 of 20\""),
        "{found}"
    );
    assert!(found.contains("<title>s</title>"), "{found}");
    // A picture by itself.
    let (alone, _) = opened(
        &browser,
        &format!("{address}preview-0000020.png"),
        &["--dump-dom"],
        &world.path(""),
    );
    assert!(alone.contains("<img"), "{alone}");
}
