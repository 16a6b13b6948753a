//! Disks that fill up in the middle of the work: it goes on from there once there is room.
//!
//! A disk that fills up is a folder that a file takes the place of.

#![cfg(target_os = "linux")]

#[path = "support/furnished.rs"]
mod furnished;
mod support;

use furnished::world;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};
use support::World;

/// Longer than it takes until the first file comes.
const SOON: Duration = Duration::from_secs(60);

/// Starts work in the folder `out`, puts a file in its place once `enough`, and after the work has failed puts it back.
fn blocked(world: &World, arguments: &str, enough: &dyn Fn(&Path) -> bool) -> Option<String> {
    let (out, real) = (world.path("out"), world.path("real"));
    let put = |make: &dyn Fn(&Path)| {
        let new = world.path("new");
        make(&new);
        // At once: at no moment is there nothing, which would be made anew.
        fs::rename(new, &out).unwrap();
    };
    fs::create_dir_all(&real).unwrap();
    put(&|new| symlink("real", new).unwrap());
    let mut child = world.spawn(arguments);
    let started = Instant::now();
    while !enough(&real) && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < SOON, "{arguments}: nothing comes");
        std::thread::sleep(Duration::from_millis(2));
    }
    put(&|new| fs::write(new, "in the way").unwrap());
    let output = child.wait_with_output().unwrap();
    put(&|new| symlink("real", new).unwrap());
    let said = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        // It was done before the file came.
        Some(0) => None,
        Some(1) => Some(said),
        other => panic!("{arguments}: {other:?}: {said}"),
    }
}

/// All files of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    // What was being written when the folder went away is still there, under the name of what is not finished.
    let finished = |path: &Path| !path.file_name().unwrap().to_str().unwrap().starts_with('.');
    let files = paths.filter(|path| path.is_file() && finished(path));
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

fn count(folder: &Path, ending: &str) -> usize {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_str().unwrap().ends_with(ending))
        .count()
}

#[test]
fn pictures_go_on_where_the_disk_was_full() {
    let world = world();
    for (model, batch, ending) in [
        ("teacher.safetensors --seeds 0-199", "--batch 4", ".png"),
        (
            "ldm.safetensors --size 16x16 --seeds 0-29",
            "",
            ".latents.safetensors",
        ),
        ("ldm.safetensors --size 16x16 --seeds 0-29", "", ".png"),
        (
            "ldm.safetensors --seeds 0-29 --size 16x16 --latents",
            "--batch 2",
            "5.safetensors",
        ),
    ] {
        let sample = format!("sample {model} {batch} --out");
        world.prints(&format!("{sample} whole"));
        let words = format!("{sample} out");
        let arguments = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut failed = 0;
        for enough in [1, 9] {
            let said = blocked(&world, &arguments, &|folder| {
                count(folder, ending) >= enough
            });
            if let Some(said) = said {
                failed += 1;
                assert!(said.contains("; go on from there with `"), "{said}");
                assert!(said.contains(&arguments), "{said}");
            }
        }
        assert!(failed > 0, "{arguments}");
        world.prints(&arguments);
        assert!(
            files(&world.path("real")) == files(&world.path("whole")),
            "{arguments}"
        );
        for folder in ["real", "whole"] {
            fs::remove_dir_all(world.path(folder)).unwrap();
        }
    }
}

#[test]
fn runs_go_on_where_the_disk_was_full() {
    let world = world();
    for (run, product) in [
        (
            "train teacher.toml --data data --set images=320",
            "teacher.safetensors",
        ),
        (
            "distill student.toml --teacher teacher.safetensors",
            "student.safetensors",
        ),
    ] {
        world.prints(&format!("{run} --tick 1000 --out whole"));
        let arguments = format!("{run} --tick 1 --resume --out out");
        let said = blocked(&world, &arguments, &|folder| {
            let metrics = fs::metadata(folder.join("metrics.jsonl"));
            metrics.is_ok_and(|metrics| metrics.len() > 0)
        });
        let said = said.expect("it was faster");
        assert!(said.contains("error: ") && said.contains("out"), "{said}");
        world.prints(&arguments);
        let [ours, whole] = ["real", "whole"].map(|f| world.bytes(format!("{f}/{product}")));
        assert!(ours == whole, "{run}");
        for folder in ["real", "whole"] {
            fs::remove_dir_all(world.path(folder)).unwrap();
        }
    }
}

#[test]
fn trajectories_go_on_where_the_disk_was_full() {
    let world = world();
    let fill = "trajectories student.toml --teacher teacher.safetensors --set substeps=40 --cache";
    world.prints(&format!("{fill} whole"));
    let batches = |cache: &Path| {
        let entries = fs::read_dir(cache).unwrap();
        let folder = entries.map(|entry| entry.unwrap().path());
        let folder = folder.into_iter().find(|path| path.is_dir());
        let mut found = folder.map_or_else(BTreeMap::new, |folder| files(&folder));
        found.retain(|name, _| name.ends_with(".safetensors"));
        found
    };
    let said = blocked(&world, &format!("{fill} out"), &|folder| {
        batches(folder).len() >= 2
    });
    let said = said.expect("it was faster");
    for word in [
        "error: stopped with ",
        " of 20 batches there",
        "the same command goes on",
        "out",
    ] {
        assert!(said.contains(word), "{said}");
    }
    world.prints(&format!("{fill} out"));
    let whole = batches(&world.path("whole"));
    assert!(whole.len() == 20 && batches(&world.path("real")) == whole);
}

#[test]
fn sweeps_and_the_demo_go_on_where_the_disk_was_full() {
    let world = world();
    let measured = "--features net.safetensors";
    world.prints(&format!(
        "evaluate data {measured} --write-statistics st.safetensors"
    ));
    let sweep = "title = 'x'\nrecipe = 'student.toml'\nteacher = 'teacher.safetensors'\nfeatures = 'net.safetensors'\n\
                 reference = 'st.safetensors'\nimages = 20\npairs = 4\nseeds = [0, 1, 2, 3]\n[[run]]\nname = 'one'\n";
    fs::write(world.path("half.toml"), sweep).unwrap();
    let results = |folder: &str| {
        let text = String::from_utf8(world.bytes(format!("{folder}/results.jsonl"))).unwrap();
        let samples = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            (
                line["identity"]["work"].to_string(),
                line["samples"].to_string(),
            )
        };
        text.lines().map(samples).collect::<BTreeMap<_, _>>()
    };
    let student = |folder: &str| {
        let bytes = world.bytes(format!("{folder}/student.safetensors"));
        BTreeMap::from([(format!("{:?}", &bytes[..]), String::new())])
    };
    let demo = format!(
        "demo --teacher teacher.safetensors {measured} --reference st.safetensors --trajectories 400 --images 20"
    );
    let (first, second) = ("sweep half.toml".to_string(), demo);
    type Found<'a> = &'a dyn Fn(&str) -> BTreeMap<String, String>;
    let cases: [(&str, &str, &str, Found<'_>); 2] = [
        (&first, "", "results.jsonl", &results),
        (&second, "--resume", "state.safetensors", &student),
    ];
    for (run, again, sign, found) in cases {
        world.prints(&format!("{run} --out whole"));
        let said = blocked(&world, &format!("{run} --out out"), &|folder| {
            folder.join(sign).exists()
        });
        let said = said.expect("it was faster");
        assert!(said.contains("error: ") && said.contains("out"), "{said}");
        world.prints(&format!("{run} --out out {again}"));
        assert!(found("real") == found("whole"), "{run}");
        for folder in ["real", "whole"] {
            fs::remove_dir_all(world.path(folder)).unwrap();
        }
    }
}
