//! Places that cannot be written to: from the start, or from the middle on.
//!
//! All of it works as any user. What nobody can write into is below a file, or in /proc; a full disk is a limit on the size of
//! files (`ulimit -f`) whose signal is ignored; a disk that fills up is a folder that a file takes the place of.

#![cfg(target_os = "linux")]

#[path = "support/latent.rs"]
mod latent;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{PROGRAM, World};

/// Longer than any verb needs to find out, and far shorter than the work that it is given here.
const SOON: Duration = Duration::from_secs(60);

/// Runs the program with files limited to so many blocks of 512 bytes.
fn limited(world: &World, arguments: &str, blocks: u64) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let child = Command::new("sh")
        .args(["-c", &script, "sh", PROGRAM])
        .args(arguments.split_whitespace())
        .current_dir(world.path(""))
        .env("FEWSTEP_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    soon(child, arguments)
}

/// What came of a process that must not work for long.
fn soon(mut child: Child, arguments: &str) -> Output {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > SOON {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{arguments}: it works");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// The one line of an error, and nothing of any work before it.
fn refused(output: &Output, arguments: &str, word: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments}: {said}");
    assert!(said.starts_with("error: "), "{arguments}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{arguments}: {said}");
    assert!(said.contains(word), "{arguments}: {said}");
    assert!(output.stdout.is_empty(), "{arguments}");
}

/// Work that would take hours, of every verb that writes: `OUT` stands for a folder, or a file.
const WORK: &[&str] = &[
    "train teacher.toml --data data --set images=900000000 --out OUT",
    "train features.toml --data data --set epochs=1000 --out OUT",
    "distill student.toml --teacher teacher.safetensors --set trajectories=900000000 --out OUT",
    "distill student.toml --teacher teacher.safetensors --set trajectories=900000000 --out good --cache OUT",
    "distill sd.toml --teacher sd --prompts prompts.txt --set trajectories=900000000 --out OUT",
    "distill sd.toml --teacher sd --prompts prompts.txt --set trajectories=900000000 --out good --embeddings OUT",
    "sample teacher.safetensors --seeds 0-9999999 --out OUT",
    "sample ldm.safetensors --seeds 0-9999 --out OUT",
    "sample ldm.safetensors --seeds 0-9999 --latents --out OUT",
    "sample sd --prompts prompts.txt --seeds 0-9999 --out good --embeddings OUT",
    "schedule teacher.safetensors --steps 5 --trajectories 9000000 --out OUT",
    "schedule teacher.safetensors --steps 5 --trajectories 9000000 --picture OUT.png",
    "sweep sweep.toml --out OUT",
    "sweep sweep.toml --out good --cache OUT",
    "evaluate teacher.safetensors --images 9000000 --features net.safetensors --write-statistics OUT",
    "bench teacher.safetensors --write-model OUT",
    "bench teacher.safetensors --write-results OUT --batch 60000",
    "convert teacher.safetensors OUT",
    "convert sd OUT --to diffusers",
    "demo --out OUT",
    "fetch edm-cifar10 --out OUT",
];

/// A world with everything that the work above needs.
fn world() -> World {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net --set epochs=1");
    fs::rename(
        world.path("net/features.safetensors"),
        world.path("net.safetensors"),
    )
    .unwrap();
    latent::diffusers(&world);
    latent::write(&world.path("ldm.safetensors"), latent::ldm());
    fs::write(world.path("sd.toml"), latent::SD).unwrap();
    fs::write(world.path("prompts.txt"), "a cat\na dog\n").unwrap();
    let sweep = "title = 'x'\nrecipe = 'student.toml'\nteacher = 'teacher.safetensors'\n[[run]]\nname = 'one'\n";
    fs::write(world.path("sweep.toml"), sweep).unwrap();
    world
}

#[test]
fn no_work_is_done_where_nothing_can_be_written() {
    let world = world();
    let before = names(&world.path(""));
    for work in WORK {
        let verb = work.split(' ').next().unwrap();
        for place in ["teacher.toml/below", "teacher.toml/a/b", "/proc/fewstep/x"] {
            let arguments = work.replace("OUT", place);
            let mut command = Command::new(PROGRAM);
            command
                .args(arguments.split_whitespace())
                .current_dir(world.path(""))
                .env("FEWSTEP_THREADS", "1")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let output = soon(command.spawn().unwrap(), &arguments);
            let named = place.rsplit_once('/').unwrap().0;
            refused(&output, &arguments, named);
        }
        // A full disk.
        let arguments = work.replace("OUT", "new/deep");
        let first = if work.contains("good") { "good" } else { "new" };
        refused(&limited(&world, &arguments, 0), &arguments, first);
        assert_eq!(names(&world.path("")), before, "{verb}");
    }
}

#[test]
fn devices_and_folders_are_no_files() {
    let world = world();
    for (work, word) in [
        (
            "evaluate data --features net.safetensors --write-statistics /dev/full",
            "device",
        ),
        (
            "schedule teacher.safetensors --steps 5 --out /dev/stdout",
            "name a file",
        ),
        (
            "bench teacher.safetensors --write-model data",
            "data is a folder",
        ),
        (
            "convert teacher.safetensors data --overwrite",
            "data is a folder",
        ),
    ] {
        world.says(work, 2, word);
    }
}

/// All paths below a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() && !path.is_symlink() {
            found.extend(names(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn what_was_found_is_printed_before_it_is_written() {
    let world = world();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    symlink(assets.canonicalize().unwrap(), world.path("assets")).unwrap();
    // 64 features: a file of more than 32 kB, where 20 have room.
    let evaluate = "evaluate data --reference data --write-statistics statistics.safetensors";
    for (arguments, word) in [
        (evaluate.to_string(), "Frechet distance"),
        (format!("{evaluate} --json"), "\"frechet\""),
    ] {
        let output = limited(&world, &arguments, 40);
        let said = String::from_utf8_lossy(&output.stderr);
        let found = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("statistics.safetensors"), "{said}");
        assert!(found.contains(word), "{found}");
        assert!(!world.path("statistics.safetensors").exists());
    }
    // What was there before is whole.
    let teacher = world.bytes("teacher.safetensors");
    fs::write(world.path("copy.safetensors"), &teacher).unwrap();
    for work in [
        "convert sd copy.safetensors --overwrite",
        "bench bench64 --write-model copy.safetensors",
    ] {
        let output = limited(&world, work, 40);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("copy.safetensors"), "{said}");
        assert!(world.bytes("copy.safetensors") == teacher);
    }
    // A checkpoint that has no room is told before the first round.
    for work in [WORK[0], WORK[2]] {
        let work = work.replace("OUT", "run");
        let output = limited(&world, &work, 40);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("run/state.safetensors"), "{said}");
        fs::remove_dir_all(world.path("run")).unwrap();
    }
}

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

#[test]
fn a_limit_that_cannot_suffice_is_said_before_the_start() {
    let world = World::new();
    // Seven million weights: 140 MB for a teacher, a student, its moments and gradients.
    world.prints("bench bench64 --write-model large.safetensors");
    let run = |flags: &str| {
        let work =
            "distill student.toml --teacher large.safetensors --set trajectories=8 --out run";
        let child = Command::new("sh")
            .args(["-c", "ulimit -v 190000; exec \"$@\"", "sh", PROGRAM, "-q"])
            .args(work.split(' ').chain(flags.split_whitespace()))
            .current_dir(world.path(""))
            .env("FEWSTEP_THREADS", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = soon(child, work);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let (status, said) = run("");
    assert_eq!(status, Some(2), "{said}");
    for word in [
        "for weights alone",
        "ulimit -v",
        "MB",
        "micro-batch",
        "--ignore-memory",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(!world.path("run").exists());
    let (status, said) = run("--ignore-memory");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("warning: this needs more than"), "{said}");
    assert!(said.contains("error: out of memory"), "{said}");
}

#[test]
fn without_memory_there_is_a_line_and_no_abort() {
    let world = World::with_teacher();
    for (work, word) in [
        (
            "sample teacher.safetensors --seeds 0-299999 --batch 300000",
            "--batch",
        ),
        (
            "distill student.toml --teacher teacher.safetensors --set batch=300000 --set micro-batch=300000 --set trajectories=600000",
            "micro-batch",
        ),
        (
            "train teacher.toml --data data --set batch=300000 --set images=600000",
            "micro-batch",
        ),
    ] {
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 1500000; exec \"$@\"", "sh", PROGRAM, "-q"])
            .args(work.split_whitespace())
            .current_dir(world.path(""))
            .env("FEWSTEP_THREADS", "1")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{work}: {said}");
        // That it might come so was said before the start.
        let [warning, error] = said.lines().collect::<Vec<_>>()[..] else {
            panic!("{work}: {said}");
        };
        assert!(
            warning.starts_with("warning: this may need about "),
            "{work}: {said}"
        );
        assert!(warning.contains("ulimit -v"), "{work}: {said}");
        assert!(
            error.starts_with("error: out of memory: "),
            "{work}: {said}"
        );
        assert!(
            error.contains("GB") || error.contains("MB"),
            "{work}: {said}"
        );
        assert!(error.contains(word), "{work}: {said}");
    }
}
