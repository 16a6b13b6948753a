//! Pages: one file that asks for nothing, with what the runs say; looked at in a browser where there is one.

#[path = "support/browser.rs"]
mod browser;
mod support;

use browser::{browser, of_the_browser, opened};
use std::fs;
use support::World;

/// A teacher, a student for several numbers of calls, what is measured of it, and a student alone.
fn world() -> World {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net");
    world.prints("train teacher.toml --data data --tick 5 --out t");
    world.prints("distill several.toml --teacher t/teacher.safetensors --tick 2 --out s");
    let measure = "evaluate s/student.safetensors --features net/features.safetensors --reference data --images 60";
    let json = world.prints(&format!(
        "{measure} --metrics frechet,kernel --paired t/teacher.safetensors --json"
    ));
    fs::write(world.path("s/measured.json"), json).unwrap();
    world
}

fn page(world: &World, name: &str) -> String {
    String::from_utf8(world.bytes(name)).unwrap()
}

/// Nothing in it makes a browser ask anybody for anything.
fn asks_for_nothing(page: &str) {
    for word in [
        "http://",
        "https://",
        "//cdn",
        "@import",
        "url(",
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "<iframe",
        "<base",
        "ping=",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    for attribute in ["src=\"", "href=\""] {
        for (at, _) in page.match_indices(attribute) {
            let address: String = page[at + attribute.len()..].chars().take(11).collect();
            let inside = ["data:image/", "data:,\">", "#part-"]
                .iter()
                .any(|own| address.starts_with(own));
            assert!(inside, "{attribute}{address}");
        }
    }
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
    assert!(page.len() < 10_000_000, "{}", page.len());
}

#[test]
fn a_page_says_what_a_run_is_and_asks_for_nothing() {
    let world = world();
    let said = world.prints("report s --teacher t/teacher.safetensors");
    assert_eq!(said.trim(), "s/report.html");
    let one = page(&world, "s/report.html");
    asks_for_nothing(&one);
    let hash = |file: &str| {
        let facts: serde_json::Value =
            serde_json::from_str(&world.prints(&format!("inspect {file} --json"))).unwrap();
        facts["sha256"].as_str().unwrap().to_string()
    };
    for file in ["s/student.safetensors", "t/teacher.safetensors"] {
        assert!(one.contains(&hash(file)), "{file}");
    }
    let measured: serde_json::Value =
        serde_json::from_slice(&world.bytes("s/measured.json")).unwrap();
    let frechet = measured["frechet"].as_f64().unwrap();
    let frechet = if frechet >= 10.0 {
        format!("{frechet:.1}")
    } else {
        format!("{frechet:.2}")
    };
    for word in [
        "variable-steps = [",
        "Teacher, 12 network calls",
        "Teacher, 3 network calls, not distilled",
        "Student, 5 network calls",
        "data-tab=\"2 network calls\"",
        "Learning rate",
        "kernel distance",
        "SHA-256",
        "fewstep distill s/recipe.toml --teacher FILE",
        &frechet,
    ] {
        assert!(one.contains(word), "{word}");
    }
    // A preview for each tick, four numbers of calls of three rows, and curves.
    assert_eq!(one.matches("data-frame=\"").count(), 8);
    assert_eq!(one.matches("<figcaption>Student, ").count(), 4);
    assert!(one.matches("<svg viewBox=\"0 0 720").count() >= 3);
    // The same from the same.
    world.prints("report s --teacher t/teacher.safetensors --overwrite");
    assert!(page(&world, "s/report.html") == one);
    // What was measured of an earlier file of that name is shown, but is not this one's quality.
    let other = measured
        .to_string()
        .replace(&hash("s/student.safetensors"), &"0".repeat(64));
    fs::write(world.path("s/measured.json"), other).unwrap();
    world.prints("report s --teacher t/teacher.safetensors --out earlier.html");
    let earlier = page(&world, "earlier.html");
    let tile = "<span>Frechet distance</span>";
    assert!(one.contains(tile) && !earlier.contains(tile) && earlier.contains("kernel distance"));
    // Without the teacher the previews are what there is to see.
    world.prints("report s --out alone.html");
    let alone = page(&world, "alone.html");
    assert!(!alone.contains("not distilled") && alone.contains("data-frame"));
}

#[test]
fn several_stand_beside_each_other() {
    let world = world();
    world.prints("evaluate t/teacher.safetensors --features net/features.safetensors --reference data --images 60 --report m.html");
    asks_for_nothing(&page(&world, "m.html"));
    assert!(page(&world, "m.html").contains("Frechet distance"));
    fs::create_dir(world.path("elsewhere")).unwrap();
    fs::rename(
        world.path("s/measured.json"),
        world.path("elsewhere/measured.json"),
    )
    .unwrap();
    // The measurement is found to be the student's, and the teacher is among the runs.
    world.prints("report t s net elsewhere/measured.json --out all.html");
    let all = page(&world, "all.html");
    asks_for_nothing(&all);
    assert_eq!(all.matches("<article").count(), 3);
    for word in [
        "Cost against quality",
        "Loss",
        "A classifier",
        "href=\"#part-2\"",
        "not distilled",
    ] {
        // One point is no comparison.
        assert_eq!(all.contains(word), word != "Cost against quality", "{word}");
    }
    let json = world.prints("evaluate t/teacher.safetensors --features net/features.safetensors --reference data --images 60 --json");
    fs::write(world.path("t/measured.json"), json).unwrap();
    world.prints("report t s elsewhere/measured.json --out all.html --overwrite");
    assert!(page(&world, "all.html").contains("Cost against quality"));
}

#[test]
fn sweeps_and_searches_have_pages() {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net");
    world.prints(
        "evaluate data --features net/features.safetensors --write-statistics st.safetensors",
    );
    let sweep = "title = 'Rates & <others>'\nrecipe = 'student.toml'\nteacher = 'teacher.safetensors'\n\
                 features = 'net/features.safetensors'\nreference = 'st.safetensors'\nimages = 20\npairs = 4\nseeds = [0, 1]\n\
                 [grid]\nsubsteps = [1, 2]\n[[sampler]]\nname = 'Heun'\nsolver = 'heun'\nsteps = [2, 3]\n";
    fs::write(world.path("rates.toml"), sweep).unwrap();
    world.prints("sweep rates.toml --out sweeps");
    let own = page(&world, "sweeps/rates/report.html");
    asks_for_nothing(&own);
    for word in [
        "Rates &amp; &lt;others&gt;",
        "substeps = 2",
        "Cost against quality",
        " ± ",
    ] {
        assert!(own.contains(word), "{word}");
    }
    // The folder of all sweeps is as good.
    world.prints("report sweeps --out sweeps.html");
    assert!(page(&world, "sweeps.html") == own);
    world.prints("tune --teacher teacher.safetensors --nfe 2 --budget 800 --images 8 --set batch=4 --out tune");
    let search = page(&world, "tune/report.html");
    asks_for_nothing(&search);
    for word in [
        "A search for the recipe",
        "Candidates",
        "The recipe that it found",
    ] {
        assert!(search.contains(word), "{word}");
    }
}

#[test]
fn mistakes_are_named() {
    let world = World::with_teacher();
    world.prints("distill student.toml --teacher teacher.safetensors --out s");
    fs::create_dir(world.path("empty")).unwrap();
    fs::write(world.path("text.json"), "no json").unwrap();
    fs::write(world.path("other.json"), "{\"a\": 1}").unwrap();
    fs::write(world.path("there.html"), "kept").unwrap();
    let other = World::new();
    other.prints("train teacher.toml --data data --set seed=9 --out o");
    fs::write(
        world.path("other.safetensors"),
        other.bytes("o/teacher.safetensors"),
    )
    .unwrap();
    for (typed, word) in [
        ("report nowhere", "there is no nowhere"),
        ("report empty", "empty holds no run"),
        ("report text.json --out x.html", "text.json is no JSON"),
        (
            "report other.json --out x.html",
            "other.json is no result of `fewstep evaluate --json`",
        ),
        ("report s s --out there.html", "add --overwrite"),
        ("report s empty", "--out report.html"),
        ("report s --out page.pdf", "name it .html"),
        (
            "report s --teacher other.safetensors --out x.html",
            "no student of these runs was distilled from it",
        ),
        ("report s --seeds 0-64 --out x.html", "at most 64"),
    ] {
        world.says(typed, 2, word);
    }
    assert_eq!(world.bytes("there.html"), b"kept");
    let metrics = world.path("s/metrics.jsonl");
    let lines = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, format!("no line\n{lines}")).unwrap();
    world.says("report s --out x.html", 2, "s/metrics.jsonl: line 1");
    assert!(!world.path("x.html").exists());
}

#[test]
fn large_previews_leave_the_page_small() {
    let world = World::with_teacher();
    world.prints("distill student.toml --teacher teacher.safetensors --tick 10 --out s");
    // Photographs of noise, which nothing makes smaller but fewer pixels.
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let pixels: Vec<u8> = (0..900 * 700 * 3).map(|_| noise()).collect();
    for round in 100..112 {
        let path = world.path(format!("s/preview-{round:07}.png"));
        image::save_buffer(path, &pixels, 900, 700, image::ColorType::Rgb8).unwrap();
    }
    world.prints("report s");
    asks_for_nothing(&page(&world, "s/report.html"));
}

#[test]
fn a_browser_shows_the_page_and_finds_nothing_wrong() {
    let Some(browser) = browser() else {
        return;
    };
    let world = world();
    world.prints("report t s --out page.html");
    let at = |name: &str| format!("file://{}", world.path(name).display());
    // What the log of the network holds is what the browser asked for.
    let log = world.path("net.json");
    let net = format!("--log-net-log={}", log.display());
    let (found, said) = opened(
        &browser,
        &at("page.html"),
        &["--dump-dom", &net],
        &world.path(""),
    );
    assert!(!said.contains("CONSOLE"), "{said}");
    // The script has made tabs of the sheets, and shows one preview of each run.
    assert!(
        found.contains("role=\"tablist\"") && found.contains("aria-selected=\"true\""),
        "{found}"
    );
    assert!(found.contains("aria-valuetext=\"round "), "no slider");
    let asked = fs::read_to_string(&log).unwrap();
    let asked: Vec<&str> = asked
        .split("\"url\":\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    let outside: Vec<_> = asked
        .iter()
        .filter(|url| url.starts_with("http") && !of_the_browser(url))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
    // That a page which asks is noticed, by both.
    fs::write(
        world.path("bad.html"),
        "<img src='http://example.invalid/x.png'><script>console.error('here')</script>",
    )
    .unwrap();
    let (_, said) = opened(
        &browser,
        &at("bad.html"),
        &["--dump-dom", &net],
        &world.path(""),
    );
    assert!(said.contains("CONSOLE") && said.contains("here"), "{said}");
    assert!(
        fs::read_to_string(&log)
            .unwrap()
            .contains("example.invalid")
    );
    for (name, size) in [("desktop", "1280,1600"), ("phone", "500,1600")] {
        let picture = world.path(format!("{name}.png"));
        let size = format!("--window-size={size}");
        let shot = format!("--screenshot={}", picture.display());
        opened(&browser, &at("page.html"), &[&size, &shot], &world.path(""));
        let shown = image::open(&picture).unwrap().to_rgb8();
        let colours: std::collections::BTreeSet<_> = shown.pixels().map(|pixel| pixel.0).collect();
        assert!(colours.len() > 50, "{name}: {} colours", colours.len());
    }
}

#[test]
fn the_page_of_the_demo_opens_in_a_browser() {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net");
    let features = "--features net/features.safetensors";
    world.prints(&format!(
        "evaluate data {features} --write-statistics statistics.safetensors"
    ));
    world.prints(&format!(
        "demo --teacher teacher.safetensors {features} --reference statistics.safetensors --images 60 --trajectories 64"
    ));
    let text = page(&world, "runs/demo/report.html");
    asks_for_nothing(&text);
    for said in [
        "A student of",
        "not distilled",
        "Frechet distance",
        "recipe.toml",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let Some(browser) = browser() else {
        return;
    };
    let address = format!("file://{}", world.path("runs/demo/report.html").display());
    let picture = world.path("demo.png");
    let shot = format!("--screenshot={}", picture.display());
    let arguments = ["--window-size=1280,1600", &shot];
    let (_, said) = opened(&browser, &address, &arguments, &world.path(""));
    assert!(!said.contains("CONSOLE"), "{said}");
    let shown = image::open(&picture).unwrap().to_rgb8();
    let colours: std::collections::BTreeSet<_> = shown.pixels().map(|pixel| pixel.0).collect();
    assert!(colours.len() > 50, "{} colours", colours.len());
}
