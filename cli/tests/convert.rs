//! `convert`, `inspect` and the other verbs on files from elsewhere.

#[path = "../../tests/support/foreign.rs"]
mod foreign;
mod support;

use fewstep::network::{NetworkConfig, SongUNetConfig};
use serde_json::Value;
use std::fs;
use std::path::Path;
use support::{World, facts};

/// A network of a few thousand weights, 8 x 8 grey images.
fn network() -> NetworkConfig {
    NetworkConfig::SongUnet(SongUNetConfig {
        resolution: 8,
        channels: 1,
        classes: 3,
        model_channels: 8,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        augment_labels: 9,
        dropout: 0.1,
        step_branch: false,
        ..SongUNetConfig::default()
    })
}

/// A world with `edm.pkl`.
fn world() -> World {
    let world = World::new();
    let mut bytes = Vec::new();
    foreign::edm_pickle(&mut bytes, &network(), &mut foreign::values).unwrap();
    fs::write(world.path("edm.pkl"), bytes).unwrap();
    world
}

/// The pixels of an image that was drawn.
fn pixels(world: &World, path: &str) -> Vec<u8> {
    image::open(world.path(path)).unwrap().into_bytes()
}

#[test]
fn there_and_back_with_the_same_images() {
    let world = world();
    let settings = "--seeds 3 --solver euler --steps 3";
    assert_eq!(
        world.prints("convert edm.pkl ours.safetensors"),
        "ours.safetensors\n"
    );
    world.prints("convert ours.safetensors official.safetensors --to pytorch");
    world.says(
        "convert ours.safetensors official.pt --to pytorch",
        2,
        ".safetensors",
    );
    world.prints("convert official.safetensors back.safetensors");
    assert!(world.bytes("ours.safetensors") == world.bytes("back.safetensors"));
    for (file, out) in [
        ("edm.pkl", "a"),
        ("ours.safetensors", "b"),
        ("official.safetensors", "c"),
    ] {
        world.prints(&format!("sample {file} {settings} --out {out}"));
    }
    let image = pixels(&world, "a/000003.png");
    assert!(
        image.iter().any(|p| *p != image[0]),
        "a blank image proves nothing"
    );
    assert!(image == pixels(&world, "b/000003.png") && image == pixels(&world, "c/000003.png"));
    // A file without a card is known by its names.
    world.prints("convert official.safetensors bare.safetensors --to tensors");
    world.prints(&format!("sample bare.safetensors {settings} --out d"));
    assert!(image == pixels(&world, "d/000003.png"));
}

#[test]
fn a_foreign_teacher_is_distilled_without_converting_it() {
    let world = world();
    world.prints("distill student.toml --teacher edm.pkl --set trajectories=16 --out run");
    let student = facts(&world, "run/student.safetensors");
    assert_eq!(student["kind"], "student");
    assert_eq!(student["parent"], facts(&world, "edm.pkl")["sha256"]);
    world.prints("train features.toml --data data --out features --set epochs=1");
    let features = "--features features/features.safetensors";
    world.prints(&format!(
        "evaluate edm.pkl --paired run/student.safetensors --images 2 {features}"
    ));
}

#[test]
fn files_say_what_they_are() {
    let world = world();
    let edm = facts(&world, "edm.pkl");
    assert_eq!(edm["kind"], "EDM pickle");
    assert_eq!(
        (&edm["root"], &edm["classes"]),
        (&"ema".into(), &"EDMPrecond, SongUNet".into())
    );
    assert_eq!(edm["network"]["dropout"], 0.1);
    assert_eq!(edm["sigma-range"], serde_json::json!([0.002, 80.0]));
    assert_eq!(edm["attributes"]["sigma_max"], "inf");
    let globals = edm["globals"].to_string();
    assert!(globals.contains("torch_utils.persistence._reconstruct_persistent_obj (byte "));
    assert!(globals.contains("torch.FloatStorage") && !globals.contains("NOT NEEDED"));
    let count: usize = network()
        .keys()
        .iter()
        .filter(|key| !key.buffer)
        .map(|key| key.shape.iter().product::<usize>())
        .sum();
    assert_eq!(edm["parameters"], count);
    let text = world.prints("inspect edm.pkl");
    assert!(
        text.contains("f32 (") && !text.contains("SystemError"),
        "{text}"
    );
    // What was imported is still known after the conversion.
    world.prints("convert edm.pkl half.safetensors --dtype bf16");
    let half = facts(&world, "half.safetensors");
    assert_eq!(half["recipe"]["sha256"], edm["sha256"]);
    assert_eq!(half["kind"], "teacher");
    assert!(half["dtype"].as_str().unwrap().starts_with("bf16 ("));
    let sizes = ["edm.pkl", "half.safetensors"].map(|name| world.bytes(name).len());
    assert!(sizes[1] * 3 < sizes[0] * 2, "{sizes:?}");
}

/// What `inspect` says of every file that holds a model, whatever wrote it.
fn says_everything(world: &World, file: &str, settings: &str) -> Value {
    let facts = facts(world, file);
    for key in [
        "kind",
        "network",
        "parameters",
        "dtype",
        "sigma-range",
        "sampling",
        "card",
        "card-from",
        "globals",
        "sha256",
        settings,
    ] {
        assert!(
            facts.get(key).is_some_and(|v| !v.is_null()),
            "{file}: {key}: {facts}"
        );
    }
    assert_eq!(facts["card"]["network"], facts["network"], "{file}");
    assert_eq!(facts["card"]["sampling"], facts["sampling"], "{file}");
    let text = world.prints(&format!("inspect {file}"));
    for line in [
        "kind ",
        "network ",
        "parameters ",
        "dtype ",
        "sigma-range ",
        "card-from ",
        "globals ",
        settings,
    ] {
        assert!(
            text.lines().any(|l| l.starts_with(line)),
            "{file}: {line}: {text}"
        );
    }
    assert!(!text.lines().any(|l| l.starts_with("card ")), "{text}");
    facts
}

#[test]
fn every_kind_of_model_file_is_described_in_full() {
    let world = world();
    world.prints("convert edm.pkl ours.safetensors");
    world.prints("convert edm.pkl official.safetensors --to pytorch");
    world.prints("convert official.safetensors bare.safetensors --to tensors");
    world.prints("distill student.toml --teacher edm.pkl --set trajectories=16 --out run");
    let edm = says_everything(&world, "edm.pkl", "init-kwargs");
    assert!(
        edm["card-from"]
            .as_str()
            .unwrap()
            .starts_with("none in the file")
    );
    for (file, settings) in [
        ("ours.safetensors", "recipe"),
        ("official.safetensors", "recipe"),
        ("bare.safetensors", "sampling"),
        ("run/student.safetensors", "recipe"),
    ] {
        let facts = says_everything(&world, file, settings);
        assert_eq!(facts["parameters"], edm["parameters"], "{file}");
        assert_eq!(facts["globals"], serde_json::json!([]), "{file}");
        let own = file != "bare.safetensors";
        assert_eq!(facts["card-from"] == "in the file", own, "{file}");
        assert_eq!(facts.get("version").is_some(), own, "{file}");
    }
    assert!(
        world
            .prints("inspect ours.safetensors")
            .contains("globals         none")
    );
    // A state holds the same weights, and moments besides.
    let state = facts(&world, "run/state.safetensors");
    assert_eq!(state["kind"], "training state");
    assert_eq!(state["parameters"], edm["parameters"]);
    assert_eq!(state["sigma-range"], serde_json::json!([0.006, 80.0]));
    // No model, and it says why.
    world.prints("train features.toml --data data --out features --set epochs=1");
    world.prints("convert features/features.safetensors other.safetensors --to tensors");
    let other = facts(&world, "other.safetensors");
    assert!(
        other["not-loadable"]
            .as_str()
            .unwrap()
            .contains("names of its tensors"),
        "{other}"
    );
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden");
    if !golden.is_dir() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "the golden cases are missing"
        );
        eprintln!("skipped: no golden cases at {}", golden.display());
        return;
    }
    for (name, settings) in [
        ("pickle_edm_adm.pkl", "init-kwargs"),
        ("pickle_edm_song.pkl", "init-kwargs"),
        ("pickle_sfd_song.pkl", "training-kwargs"),
        ("ckpt_zip_f16.ckpt", "sampling"),
    ] {
        let path = golden.join(name);
        let facts = says_everything(&world, path.to_str().unwrap(), settings);
        assert!(!facts["globals"].as_array().unwrap().is_empty(), "{name}");
    }
}

#[test]
fn code_is_shown_and_never_run() {
    let world = World::new();
    let marker = world.path("marker");
    let mut bytes = b"\x80\x04}X\x03\0\0\0emacposix\nsystem\nX".to_vec();
    let command = format!("touch {}", marker.display());
    bytes.extend((command.len() as u32).to_le_bytes());
    bytes.extend(command.as_bytes());
    bytes.extend(b"\x85Rs.");
    fs::write(world.path("evil.pkl"), bytes).unwrap();
    for verb in [
        "sample evil.pkl --seeds 0",
        "convert evil.pkl x.safetensors",
        "distill student.toml --teacher evil.pkl",
    ] {
        world.says(verb, 2, "`posix.system` at byte 11");
    }
    let text = world.prints("inspect evil.pkl");
    assert!(
        text.contains("posix.system (byte 11") && text.contains("NOT NEEDED"),
        "{text}"
    );
    assert!(!marker.exists() && !world.path("x.safetensors").exists());
}

#[test]
fn mistakes() {
    let world = world();
    world.prints("convert edm.pkl ours.safetensors");
    let before = world.bytes("ours.safetensors");
    world.says("convert edm.pkl ours.safetensors", 2, "--overwrite");
    world.says("convert edm.pkl x.safetensors --step-branch", 2, "pytorch");
    world.says(
        "convert edm.pkl x.safetensors --dropout 0.5",
        2,
        "says itself that it is 0.1",
    );
    world.says("convert nowhere.pkl x.safetensors", 2, "No such file");
    assert!(
        world
            .fails("convert edm.pkl x --dtype f64", 2)
            .contains("f64")
    );
    fs::write(world.path("page.pkl"), "<html>404</html>").unwrap();
    world.says("convert page.pkl x.safetensors", 2, "error page");
    let whole = world.bytes("edm.pkl");
    fs::write(world.path("half.pkl"), &whole[..whole.len() / 2]).unwrap();
    world.says("convert half.pkl x.safetensors", 2, "half.pkl");
    // Features are no model.
    world.prints("train features.toml --data data --out features --set epochs=1");
    world.says(
        "convert features/features.safetensors x.safetensors",
        2,
        "card",
    );
    assert!(!world.path("x.safetensors").exists());
    world.prints("convert edm.pkl ours.safetensors --overwrite --to pytorch --step-branch");
    assert!(world.bytes("ours.safetensors").len() > before.len());
    let text = world.prints("inspect ours.safetensors");
    assert!(text.contains("teacher"), "{text}");
    // The branch of zeros is a part of the network, and changes nothing.
    world.prints("convert edm.pkl plain.safetensors --overwrite");
    for name in ["ours", "plain"] {
        world.prints(&format!(
            "sample {name}.safetensors --seeds 0-1 --steps 3 --out images-{name}"
        ));
    }
    assert_eq!(
        world.pictures("images-ours"),
        world.pictures("images-plain")
    );
}

#[test]
fn golden_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden");
    if !folder.is_dir() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "the golden cases are missing"
        );
        eprintln!("skipped: no golden cases at {}", folder.display());
        return;
    }
    let world = World::new();
    let mut converted = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if name.ends_with(".safetensors") || name.ends_with(".md") {
            continue;
        }
        let path = path.display();
        world.prints(&format!(
            "convert {path} {name}.tensors.safetensors --to tensors"
        ));
        converted += 1;
        // The others hold a part of a network, or odd tensors.
        if ![
            "pickle_edm_adm.pkl",
            "pickle_edm_song.pkl",
            "pickle_sfd_song.pkl",
            "ckpt_zip_f16.ckpt",
        ]
        .contains(&name.as_str())
        {
            continue;
        }
        world.prints(&format!("convert {path} {name}.safetensors"));
        for (file, out) in [
            (path.to_string(), "a"),
            (format!("{name}.safetensors"), "b"),
        ] {
            world.prints(&format!("sample {file} --seeds 5 --out {name}-{out}"));
        }
        let images = ["a", "b"].map(|out| pixels(&world, &format!("{name}-{out}/000005.png")));
        assert!(images[0] == images[1], "{name}");
    }
    assert_eq!(converted, 9);
}
