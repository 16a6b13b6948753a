//! A page that samples, in a browser: the same pictures as `fewstep sample`, and nothing from elsewhere.
//!
//! Needs the npm package onnxruntime-web 1.30.0 (`FEWSTEP_ONNXRUNTIME_WEB` names its .tgz; `.ci/run` gets it) and a browser; says so
//! and passes where one is missing.

#[path = "support/browser.rs"]
mod browser;
mod support;
#[path = "support/web.rs"]
mod web;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use browser::{browser, of_the_browser, opened};
use std::fs;
use std::path::{Path, PathBuf};
use support::World;
use web::{Reply, Server};

/// The runtime.
fn runtime() -> Option<PathBuf> {
    let named = std::env::var("FEWSTEP_ONNXRUNTIME_WEB").unwrap_or_default();
    let path = PathBuf::from(named);
    if path.is_file() {
        return Some(path);
    }
    println!("skipped: FEWSTEP_ONNXRUNTIME_WEB names no package of onnxruntime-web");
    None
}

/// A server of the files of a folder, and of nothing else.
fn serve(folder: PathBuf) -> Server {
    Server::start(move |request| {
        let path = request.path.split(['?', '#']).next().unwrap();
        let name = match path.trim_start_matches('/') {
            "" => "index.html",
            name => name,
        };
        let Ok(body) = fs::read(folder.join(name)) else {
            return Reply::of("404 Not Found");
        };
        let kind = match Path::new(name)
            .extension()
            .and_then(|ending| ending.to_str())
        {
            Some("html") => "text/html; charset=utf-8",
            Some("js" | "mjs") => "text/javascript",
            Some("wasm") => "application/wasm",
            _ => "application/octet-stream",
        };
        let length = body.len().to_string();
        Reply {
            status: "200 OK",
            body,
            ..Reply::default()
        }
        .with("Content-Type", kind)
        .with("Content-Length", length)
    })
}

/// The pictures on a page, in their order, and what is said of each.
fn pictures(page: &str) -> Vec<(String, Vec<u8>)> {
    let figures = page.split("<figure").skip(1);
    let shown = figures.filter(|figure| !figure.split('>').next().unwrap().contains("hidden"));
    let of = |figure: &str| {
        let between = |start: &str, end: &str| {
            let rest = figure
                .split(start)
                .nth(1)
                .unwrap_or_else(|| panic!("{figure}"));
            rest.split(end).next().unwrap().to_string()
        };
        let png = STANDARD
            .decode(between("data:image/png;base64,", "\""))
            .unwrap();
        let image = image::load_from_memory(&png).unwrap().to_luma8();
        (between("<b>", "</b>"), image.into_raw())
    };
    shown.map(of).collect()
}

/// At most one grey level apart, and not all alike.
fn same(found: &[u8], world: &World, drawn: &str) {
    let wanted = image::open(world.path(drawn))
        .unwrap()
        .to_luma8()
        .into_raw();
    assert_eq!(found.len(), wanted.len());
    assert!(
        wanted.iter().any(|pixel| *pixel != wanted[0]),
        "a blank image proves nothing"
    );
    let pairs = found.iter().zip(&wanted);
    let off = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(off <= 1, "{drawn}: {off} grey levels");
}

#[test]
fn a_page_draws_what_the_tool_draws() {
    let (Some(runtime), Some(browser)) = (runtime(), browser()) else {
        return;
    };
    let world = World::with_teacher();
    world.prints("distill several.toml --teacher teacher.safetensors --out s");
    let made = format!(
        "page s/student.safetensors --teacher teacher.safetensors --runtime {} --out site",
        runtime.display()
    );
    assert_eq!(world.prints(&made), "site/index.html\n");
    world.says(&made, 2, "--overwrite");
    let server = serve(world.path("site"));
    let log = world.path("net.json");
    let net = format!("--log-net-log={}", log.display());
    let dump = ["--dump-dom", "--virtual-time-budget=60000", &net];
    for (asked, more) in [
        ("seed=5&class=1&calls=3", "--seeds 5 --class 1 --nfe 3"),
        (
            "seed=12345678901234567890&calls=2",
            "--seeds 12345678901234567890 --nfe 2",
        ),
    ] {
        let address = format!("{}/#{asked}", server.url);
        let (page, said) = opened(&browser, &address, &dump, &world.path(""));
        assert!(!said.contains("CONSOLE"), "{said}");
        assert!(page.contains("data-state=\"done\""), "{page}");
        let shown = pictures(&page);
        let titles: Vec<&str> = shown.iter().map(|(title, _)| title.as_str()).collect();
        let nfe = more.split(' ').next_back().unwrap();
        let student = format!("Student, {nfe} network calls");
        let plain = format!("Teacher, not distilled, {nfe} network calls");
        assert_eq!(titles, [&student, &plain, "Teacher, 12 network calls"]);
        let seed = more.split(' ').nth(1).unwrap();
        let drawn = |out: &str, file: &str, more: &str| {
            world.prints(&format!("sample {file} {more} --out {out} --overwrite"));
            let name = format!("{out}/{:0>6}.png", seed);
            assert!(world.path(&name).is_file(), "{name}");
            name
        };
        same(
            &shown[0].1,
            &world,
            &drawn("a", "s/student.safetensors", more),
        );
        same(
            &shown[1].1,
            &world,
            &drawn("b", "teacher.safetensors", more),
        );
        let own = more.split(" --nfe").next().unwrap();
        same(&shown[2].1, &world, &drawn("c", "teacher.safetensors", own));
    }
    // The demo's student, of a shorter run.
    let teacher =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/fashion-mnist-teacher.safetensors");
    let teacher = teacher.display();
    world.prints(&format!(
        "distill demo --teacher {teacher} --set trajectories=32 --out d"
    ));
    let (file, runtime) = ("d/student.safetensors", runtime.display());
    world.prints(&format!(
        "page {file} --dtype f16 --runtime {runtime} --out demo"
    ));
    world.prints(&format!("convert {file} half.safetensors --dtype f16"));
    let address = format!("{}/#seed=7&class=8", serve(world.path("demo")).url);
    let (page, said) = opened(&browser, &address, &dump[..2], &world.path(""));
    assert!(!said.contains("CONSOLE"), "{said}");
    let shown = pictures(&page);
    assert_eq!(shown.len(), 1);
    world.prints("sample half.safetensors --seeds 7 --class 8 --out half");
    same(&shown[0].1, &world, "half/000007.png");
    // What the browser asked for, by its own log and by the server's.
    let asked = fs::read_to_string(&log).unwrap();
    let asked = asked.split("\"url\":\"").skip(1);
    let asked = asked.map(|rest| rest.split('"').next().unwrap());
    let outside = asked.filter(|url| url.starts_with("http") && !of_the_browser(url));
    let outside: Vec<_> = outside
        .filter(|url| !url.starts_with(&server.url))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
    let paths: Vec<String> = server
        .asked()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert!(
        paths.iter().any(|path| path == "/teacher.onnx"),
        "{paths:?}"
    );
    let shot = format!("--screenshot={}", world.path("page.png").display());
    let size = [
        "--window-size=1280,900",
        "--virtual-time-budget=60000",
        &shot,
    ];
    opened(&browser, &server.url, &size, &world.path(""));
    let shown = image::open(world.path("page.png")).unwrap().to_rgb8();
    let colours: std::collections::BTreeSet<_> = shown.pixels().map(|pixel| pixel.0).collect();
    assert!(colours.len() > 50, "{} colours", colours.len());
    // From the disk it says what to do instead.
    let file = format!("file://{}", world.path("site/index.html").display());
    let (page, _) = opened(&browser, &file, &["--dump-dom"], &world.path(""));
    assert!(page.contains("python3 -m http.server"), "{page}");
}

#[test]
fn what_a_page_cannot_show_is_said() {
    let world = World::with_teacher();
    let page = "page teacher.safetensors --out site";
    world.says(page, 2, "fewstep fetch onnxruntime-web");
    world.says(&format!("{page} --runtime data"), 2, "ort.wasm.min.mjs");
    world.says(
        &format!("{page} --runtime teacher.toml"),
        1,
        "teacher.toml is no package",
    );
    assert!(!world.path("site").exists());
}
