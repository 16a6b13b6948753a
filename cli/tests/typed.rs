//! What people type: numbers out of range, texts that begin with a dash, empty variables, files of other kinds.

#[path = "support/latent.rs"]
mod latent;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use support::World;

#[test]
fn a_negative_number_is_answered_with_the_range() {
    let world = World::with_teacher();
    for (arguments, word) in [
        (
            "sample teacher.safetensors --seeds -1",
            "seeds are whole numbers, 0 to",
        ),
        ("sample teacher.safetensors --class -1", "--class"),
        (
            "sample teacher.safetensors --guidance -3",
            "a number, 0 to 1000",
        ),
        (
            "evaluate data --images -5 --write-statistics x",
            "a whole number, 1 to",
        ),
        ("bench --repeats 0", "a whole number, 1 to"),
        (
            "schedule teacher.safetensors --steps 3 --gamma -1",
            "a number, 0.001 to",
        ),
    ] {
        world.says(arguments, 2, word);
    }
}

/// All variables that there are: a new one has to be added here.
const VARIABLES: [&str; 6] = [
    "FEWSTEP_CLIP_VOCABULARY",
    "FEWSTEP_DEVICE",
    "FEWSTEP_MANIFEST",
    "FEWSTEP_OFFLINE",
    "FEWSTEP_SIMD",
    "FEWSTEP_THREADS",
];

fn named_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named_in(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(path).unwrap();
            for rest in text.split("\"FEWSTEP_").skip(1) {
                let name = rest.split('"').next().unwrap();
                found.insert(format!("FEWSTEP_{name}"));
            }
        }
    }
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for folder in ["src", "../src", "../kernels/src"] {
        named_in(&root.join(folder), &mut found);
    }
    assert!(found.iter().eq(VARIABLES), "{found:?}");
    let world = World::with_teacher();
    latent::diffusers(&world);
    for arguments in [
        "sample teacher.safetensors --seeds 0 --out a",
        "sample sd --prompt cat --seeds 0 --latents --steps 2 --out b",
        "fetch --list",
        "verify --help",
    ] {
        let mut command = world.run(arguments);
        for name in VARIABLES {
            command.env(name, "");
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {said}");
    }
    // One that is set still counts.
    let output = world
        .run("fetch --list")
        .env("FEWSTEP_THREADS", "none")
        .output();
    assert_eq!(output.unwrap().status.code(), Some(2));
}

#[test]
fn prompts_begin_with_a_dash_and_weights_are_warned_of_once() {
    let world = World::new();
    latent::diffusers(&world);
    let sample = |words: &[&str]| {
        let mut command = world.run("sample sd --latents --steps 2 --overwrite --out latents");
        let output = command.args(words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{words:?}: {said}");
        said
    };
    let said = sample(&["--prompt", "-1 dog", "--seeds", "0"]);
    assert!(!said.contains("warning"), "{said}");
    let list = "[\"a (red:1.3) cat\", {\"caption\": \"cat\"}, \"((cat))\", \"a cat <lora:x:1>\"]";
    fs::write(world.path("p.json"), list).unwrap();
    let said = sample(&[
        "--prompts",
        "p.json",
        "--guidance",
        "2",
        "--negative",
        "[dog]",
    ]);
    let warnings: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("warning"))
        .collect();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(
        warnings[0].contains("`(red:1.3)` in prompt 1 and in 3 more is read as plain text"),
        "{said}"
    );
    // Four prompts, four seeds, and each in its file.
    let first = fs::read(world.path("latents/000001.safetensors"));
    let first = first.unwrap_or_else(|_| {
        panic!(
            "{:?}",
            fs::read_dir(world.path("latents"))
                .unwrap()
                .collect::<Vec<_>>()
        )
    });
    assert!(String::from_utf8_lossy(&first).contains("cat"));
    fs::write(world.path("broken.json"), "{\"images\": []}").unwrap();
    world.says(
        "sample sd --prompts broken.json",
        2,
        "write an array of texts",
    );
}

#[test]
fn what_is_no_data_set_is_called_by_its_name() {
    let world = World::with_teacher();
    let zip = |names: &[&str]| {
        // Enough of an archive for its names: stored files of no bytes.
        let (mut bytes, mut table) = (Vec::new(), Vec::new());
        for name in names {
            let at = bytes.len() as u32;
            let rest = [&[0; 22][..], &(name.len() as u16).to_le_bytes()[..]].concat();
            bytes.extend([b"PK\x03\x04", &rest[..]].concat());
            bytes.extend([0, 0]);
            bytes.extend(name.as_bytes());
            let rest = [
                &[0; 24][..],
                &(name.len() as u16).to_le_bytes()[..],
                &[0; 12][..],
                &at.to_le_bytes()[..],
            ];
            table.extend([b"PK\x01\x02", &rest.concat()[..]].concat());
            table.extend(name.as_bytes());
        }
        let (at, size, count) = (bytes.len() as u32, table.len() as u32, names.len() as u16);
        bytes.extend(table);
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
        bytes.extend([size.to_le_bytes(), at.to_le_bytes()].concat());
        bytes.extend([0, 0]);
        bytes
    };
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    for (name, bytes, word) in [
        ("x.npz", zip(&["mu.npy", "sigma.npy"]), "`mu` and `sigma`"),
        ("y.npz", zip(&["images.npy"]), "arrays of NumPy"),
        ("x.npy", b"\x93NUMPY\x01\0".to_vec(), "an array of NumPy"),
        ("x.parquet", b"PAR1".to_vec(), "a Parquet file"),
        ("x.tar", tar, "a tar archive"),
        ("x.png", b"\x89PNG\r\n\x1a\n".to_vec(), "a single picture"),
        ("x.txt", b"cats/1.png 0\n".to_vec(), "a text file"),
        ("x.html", b"<!doctype html>".to_vec(), "a page of the web"),
        (
            "x.bin",
            b"version https://git-lfs.github.com/spec/v1\noid".to_vec(),
            "git lfs pull",
        ),
        ("x.zip", Vec::new(), "an empty file"),
        ("x.dat", b"\x80\x04\x95".to_vec(), "a pickle"),
    ] {
        fs::write(world.path(name), bytes).unwrap();
        let reference = format!("evaluate data --reference {name} --images 2");
        // Statistics of others are read; in these there is nothing.
        let (reference, damaged) = match name.ends_with(".npz") {
            true => (None, Some(reference)),
            false => (Some(reference), None),
        };
        if let Some(command) = damaged {
            let said = format!("{name} is not a valid numpy archive");
            world.says(&command, 2, &said);
        }
        for command in reference.into_iter().chain([
            format!("evaluate {name} --write-statistics s.safetensors"),
            format!("train teacher.toml --data {name}"),
            format!("train features.toml --data {name}"),
        ]) {
            world.says(&command, 2, word);
            world.says(
                &command,
                2,
                &format!("{name} is not a valid image data set"),
            );
            world.says(&command, 2, "Images are read from IDX files");
        }
    }
    // A sweep asks for statistics.
    for (name, word) in [
        ("x.npz", "`mu` and `sigma`"),
        ("x.txt", "a text file"),
        ("data", "a folder"),
    ] {
        let sweep = format!("title = 'x'\nrecipe = 'demo'\nreference = '{name}'\nseeds = [0]\n");
        fs::write(world.path("x.toml"), sweep + "[grid]\nbatch = [8]\n").unwrap();
        world.says("sweep x.toml", 2, word);
        world.says("sweep x.toml", 2, "made of images here");
    }
    fs::write(
        world.path("z.safetensors"),
        b"version https://git-lfs.github.com/spec/v1\noid",
    )
    .unwrap();
    let command = "evaluate data --reference z.safetensors --images 2";
    world.says(command, 2, "git lfs pull");
    world.says(command, 2, "z.safetensors is not a valid statistics file");
}
