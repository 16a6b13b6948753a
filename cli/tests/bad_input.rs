//! Bad input: a clear message, the right exit status, nothing lost.

mod support;

use fewstep::model::File;
use std::fs;
use support::World;

#[test]
fn model_files() {
    let world = World::with_teacher();
    let whole = world.bytes("teacher.safetensors");
    fs::write(world.path("half.safetensors"), &whole[..whole.len() / 2]).unwrap();
    fs::write(world.path("stub.safetensors"), &whole[..5]).unwrap();
    fs::write(world.path("empty.safetensors"), b"").unwrap();
    fs::write(
        world.path("text.safetensors"),
        "not a model, but a letter to somebody",
    )
    .unwrap();
    let read = || File::read(&world.path("teacher.safetensors")).unwrap();
    let write = |name: &str, file: File| file.write(&world.path(name)).unwrap();
    // Without a card the names must tell which network it is, and one of those that tell is missing.
    let mut cardless = File {
        json: None,
        ..read()
    };
    cardless.tensors.remove("model.map_layer0.weight");
    write("cardless.safetensors", cardless);
    let json = read()
        .json
        .map(|j| j.replace("\"format\":1", "\"format\":9"));
    write("future.safetensors", File { json, ..read() });
    let json = Some("{\"format\":1}".into());
    write("odd.safetensors", File { json, ..read() });
    for (name, card) in [
        (
            "features.safetensors",
            r#"{"format":1,"kind":"features","size":8}"#,
        ),
        ("moments.safetensors", r#"{"format":1,"kind":"moments"}"#),
        ("state.safetensors", r#"{"round":3,"recipe":{}}"#),
    ] {
        let json = Some(card.into());
        write(name, File { json, ..read() });
    }
    fs::create_dir(world.path("run")).unwrap();
    fs::copy(
        world.path("teacher.safetensors"),
        world.path("run/teacher.safetensors"),
    )
    .unwrap();
    let json = read()
        .json
        .map(|j| j.replace("\"model-channels\":8", "\"model-channels\":12"));
    write("shape.safetensors", File { json, ..read() });
    let mut short = read();
    let name = short.tensors.keys().next().unwrap().clone();
    short.tensors.remove(&name);
    write("short.safetensors", short);
    for (file, word) in [
        ("nowhere.safetensors", "No such file"),
        ("half.safetensors", "not a valid safetensors file"),
        ("stub.safetensors", "not a valid safetensors file"),
        ("empty.safetensors", "it is empty"),
        ("text.safetensors", "not a valid safetensors file"),
        ("cardless.safetensors", "names of its tensors"),
        ("future.safetensors", "format is 9"),
        ("odd.safetensors", "card"),
        ("features.safetensors", "that of features"),
        ("moments.safetensors", "that of statistics"),
        ("state.safetensors", "that of training state"),
        ("run", "run/teacher.safetensors"),
        ("shape.safetensors", "of another shape"),
        ("short.safetensors", &format!("missing: {name}")),
        ("data", "directory"),
    ] {
        world.says(&format!("sample {file} --seeds 0"), 2, word);
        world.says(&format!("sample {file} --seeds 0"), 2, file);
        world.says(&format!("distill student.toml --teacher {file}"), 2, word);
        assert!(!world.path("images").exists() && !world.path("runs").exists());
    }
    world.says("inspect half.safetensors", 2, "half.safetensors");
    assert!(
        world
            .prints("inspect cardless.safetensors")
            .contains("without a card")
    );
}

#[test]
fn recipes() {
    let world = World::with_teacher();
    let distill = "distill student.toml --teacher teacher.safetensors --set";
    for (set, word) in [
        ("bach=3", "bach"),
        ("batch=0", "batch"),
        ("batch=-1", "batch"),
        ("batch='many'", "batch"),
        ("learning-rate=nan", "learning-rate"),
        ("teacher-solver.order=4", "1 to 3"),
        ("steps=1", "analytic-first-step"),
        ("sigma-min=80.0", "sigma"),
        ("sigma-min=90", "sigma"),
        ("distance=l3", "l3"),
        ("variable-steps=[4,6]", "variable-steps"),
        ("reuse=0", "reuse"),
        ("step-weights=[1.0]", "3 numbers"),
        ("perceptual.size=64", "l1-lpips"),
        ("learning-rate-schedule=linear", "linear"),
        ("steps", "key=value"),
    ] {
        world.says(&format!("{distill} {set}"), 2, word);
    }
    let train = "train teacher.toml --data data --set";
    for (set, word) in [
        ("network.resolution=9", "resolution"),
        ("network.resolutoin=8", "resolutoin"),
        ("network.classes=10", "classes"),
        ("network.resolution=4", "pixels"),
        ("sampling.sigma-min=100", "sigma"),
        ("decay-from=100000", "decay-from"),
    ] {
        world.says(&format!("{train} {set}"), 2, word);
    }
    fs::write(world.path("broken.toml"), "kind = 'teacher'\nseed = = 3").unwrap();
    fs::write(world.path("kindless.toml"), "seed = 3").unwrap();
    fs::write(world.path("bare.toml"), "kind = 'teacher'").unwrap();
    for (recipe, word) in [
        ("nowhere.toml", "no recipe file"),
        ("no-such-name", "demo"),
        ("broken.toml", "line 2"),
        ("kindless.toml", "kind"),
        ("bare.toml", "images"),
        ("student.toml", "distill"),
        ("data", "data"),
    ] {
        world.says(&format!("train {recipe} --data data"), 2, word);
    }
    world.says(
        "distill teacher.toml --teacher teacher.safetensors",
        2,
        "train",
    );
    assert!(!world.path("runs").exists());
}

#[test]
fn images() {
    let world = World::new();
    let folder = world.path("pictures");
    fs::create_dir(&folder).unwrap();
    for i in 0..12u8 {
        let image =
            image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * 20 + y * 5) as u8 + i]));
        image.save(folder.join(format!("{i}.png"))).unwrap();
    }
    fs::write(
        folder.join("broken.png"),
        b"\x89PNG\r\n\x1a\nand then nothing",
    )
    .unwrap();
    let train = "train teacher.toml --set network.classes=0 --set images=16 --data";
    world.says(&format!("{train} pictures"), 2, "broken.png");
    assert!(!world.path("runs").exists());
    let text = world.fails(&format!("{train} pictures --skip-unreadable"), 0);
    assert!(
        text.contains("left out") && text.contains("broken.png"),
        "{text}"
    );
    assert!(world.path("runs/teacher/teacher.safetensors").exists());
    world.says(&format!("{train} nowhere"), 2, "nowhere");
    world.says(&format!("{train} teacher.toml"), 2, "teacher.toml");
    let half = world.bytes("data/train-images-idx3-ubyte");
    fs::create_dir(world.path("half")).unwrap();
    fs::write(
        world.path("half/train-images-idx3-ubyte"),
        &half[..half.len() / 2],
    )
    .unwrap();
    world.says(&format!("{train} half"), 2, "train-images-idx3-ubyte");
}

#[test]
fn folders() {
    let world = World::with_teacher();
    let train = "train teacher.toml --data data --set images=16";
    // A file where a folder is wanted cannot be written to, whoever we are.
    world.says(
        &format!("{train} --out teacher.toml/run"),
        1,
        "teacher.toml",
    );
    world.says(
        "sample teacher.safetensors --seeds 0 --out teacher.toml/run",
        1,
        "teacher.toml",
    );
    world.prints(&format!("{train} --out run"));
    let before = world.bytes("run/state.safetensors");
    world.says(&format!("{train} --out run"), 2, "--resume");
    let other = "train teacher.toml --data data --set images=16 --set seed=9 --out run --resume";
    world.says(other, 2, "`seed` = 1");
    let deep = format!("{train} --set sampling.solver.order=2 --out run --resume");
    world.says(&deep, 2, "`sampling.solver.order` = 3");
    let confused = "distill student.toml --teacher teacher.safetensors --out run --resume";
    world.says(confused, 2, "started with");
    assert!(world.bytes("run/state.safetensors") == before);
    fs::write(world.path("run/state.safetensors"), &before[..1000]).unwrap();
    world.says(
        &format!("{train} --out run --resume"),
        2,
        "state.safetensors",
    );
    world.prints(&format!("{train} --out run --overwrite"));
    assert!(world.bytes("run/state.safetensors") == before);
}

#[test]
fn another_teacher_is_refused_on_resume() {
    let world = World::with_teacher();
    world.prints("distill student.toml --teacher teacher.safetensors --out run --stop-after 2");
    world.prints("train teacher.toml --data data --set images=16 --out other");
    let other = "distill student.toml --teacher other/teacher.safetensors --out run --resume";
    world.says(other, 2, "the file that the run was started with");
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint() {
    let world = World::with_teacher();
    for (verb, word) in [
        (
            "train teacher.toml --data data --set learning-rate=1e30",
            "round 1, step 0",
        ),
        (
            "distill student.toml --teacher teacher.safetensors --set learning-rate=1e30",
            "step 2",
        ),
    ] {
        let out = verb.split_whitespace().next().unwrap();
        let text = world.fails(&format!("-q {verb} --tick 1 --out {out}"), 1);
        assert!(text.contains("not finite") && text.contains(word), "{text}");
        assert!(text.contains("last good checkpoint"), "{text}");
        let state = world.prints(&format!("inspect {out}/state.safetensors"));
        assert!(state.contains("training state"), "{state}");
    }
}

#[test]
fn flags() {
    let world = World::with_teacher();
    for (arguments, word) in [
        ("sample teacher.safetensors --seeds 3-1", "backwards"),
        ("sample teacher.safetensors --seeds x", "not a seed"),
        ("sample teacher.safetensors --batch 0", "--batch"),
        ("sample", "FILE"),
        ("paint", "paint"),
        ("train teacher.toml --data data --tick 5h", "5h"),
        (
            "train teacher.toml --data data --resume --overwrite",
            "--overwrite",
        ),
        ("evaluate teacher.safetensors", "--reference"),
        ("--threads 0 inspect teacher.safetensors", "--threads"),
    ] {
        let text = world.fails(arguments, 2);
        assert!(text.contains(word), "{arguments}: {text}");
    }
    world.says("sample teacher.safetensors --class 3", 2, "classes 0 to 2");
    world.says("sample teacher.safetensors --solver rk4", 2, "rk4");
    world.says(
        "sample teacher.safetensors --solver dpm-solver-pp:4",
        2,
        "1 to 3",
    );
    world.says("sample teacher.safetensors --steps 0", 2, "steps");
    world.says(
        "sample teacher.safetensors --steps 1 --analytic-first-step true",
        2,
        "steps",
    );
    world.says("--device abacus inspect teacher.safetensors", 2, "cpu");
}
