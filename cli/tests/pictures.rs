//! What `train`, `evaluate`, `inspect` and `sample` say of pictures and of classes.

mod support;

use image::{ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use std::fs;
use std::path::Path;
use support::World;

/// Writes a picture of one colour, of the format that the name ends in.
fn picture(path: &Path, colour: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(8, 8, Rgb(colour))
        .save_with_format(path, ImageFormat::Png)
        .unwrap();
}

/// A folder of classes with some pictures each.
fn classes(world: &World, folder: &str, names: &[&str]) {
    for (i, name) in names.iter().enumerate() {
        for k in 0..3 {
            let value = (40 * i + k) as u8;
            picture(&world.path(format!("{folder}/{name}/{k}.png")), [value; 3]);
        }
    }
}

/// What a command that goes well says on stderr.
fn said(world: &World, arguments: &str) -> String {
    let output = world.run(arguments).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments}: {text}");
    text
}

const SHORT: &str = "--set images=8 --set average-half-life=8 --set";

#[test]
fn names_of_classes_are_kept_and_can_be_typed() {
    let world = World::new();
    classes(&world, "shapes", &["circles", "squares", "stars"]);
    let said = said(
        &world,
        &format!("train teacher.toml --data shapes --out run {SHORT} seed=2"),
    );
    assert!(
        said.contains("9 images, 3 classes: 0 circles (3), 1 squares (3), 2 stars (3)"),
        "{said}"
    );
    let shown = world.prints("inspect run/teacher.safetensors");
    assert!(
        shown.contains("class-names     0 circles\n                1 squares"),
        "{shown}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&world.prints("inspect run/teacher.safetensors --json")).unwrap();
    assert_eq!(
        json["class-names"],
        serde_json::json!(["circles", "squares", "stars"])
    );
    world.prints("sample run/teacher.safetensors --seeds 1 --class squares --out a");
    world.prints("sample run/teacher.safetensors --seeds 1 --class 1 --out b");
    world.prints("sample run/teacher.safetensors --seeds 1 --class stars --out c");
    let [a, b, c] = ["a", "b", "c"].map(|folder| world.bytes(format!("{folder}/000001.png")));
    let has = |picture: &[u8], text: &str| {
        picture
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(a == b && has(&a, "class\x001") && has(&a, "class-name\x00squares"));
    assert!(has(&c, "class\x002") && has(&c, "class-name\x00stars"));
    for (typed, word) in [
        ("Circles", "circles (0), squares (1)"),
        ("3", "stars (2)"),
        ("-1", "stars (2)"),
    ] {
        world.says(
            &format!("sample run/teacher.safetensors --class {typed}"),
            2,
            word,
        );
    }
    // A student knows them from its teacher; so does a run that was interrupted, from its state.
    world.prints(
        "distill student.toml --teacher run/teacher.safetensors --out student --set trajectories=8",
    );
    let shown = world.prints("inspect student/student.safetensors");
    assert!(shown.contains("2 stars"), "{shown}");
    let state = world.bytes("run/state.safetensors");
    assert!(String::from_utf8_lossy(&state[..4096]).contains("circles"));
}

#[test]
fn numbers_that_name_classes_are_in_the_order_of_numbers() {
    let world = World::new();
    classes(&world, "numbers", &["1", "2", "10"]);
    let shown = world.prints(&format!(
        "train teacher.toml --data numbers --dry-run {SHORT} seed=1"
    ));
    assert!(
        shown.contains("# classes: 3 classes: 0 1 (3), 1 2 (3), 2 10 (3)"),
        "{shown}"
    );
    world.prints(&format!(
        "train teacher.toml --data numbers --out run {SHORT} seed=1"
    ));
    // A number is the name, not the place.
    world.prints("sample run/teacher.safetensors --class 10 --seeds 1 --out a");
    world.says(
        "sample run/teacher.safetensors --class 0",
        2,
        "1 (0), 2 (1), 10 (2)",
    );
}

#[test]
fn models_without_names_say_so() {
    let world = World::with_teacher();
    let json = world.prints("inspect teacher.safetensors --json");
    let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["class-names"], serde_json::json!(["0", "1", "2"]));
    // As files had it before there were names.
    let card = json["card"].as_object_mut().unwrap();
    card.remove("class-names").unwrap();
    let card = serde_json::to_string(&card).unwrap();
    let file = fewstep::model::File::read(&world.path("teacher.safetensors")).unwrap();
    let file = fewstep::model::File {
        json: Some(card),
        ..file
    };
    file.write(&world.path("old.safetensors")).unwrap();
    let shown = world.prints("inspect old.safetensors");
    assert!(
        shown.contains("class-names     none in the file") && shown.contains("0 to 2"),
        "{shown}"
    );
    world.prints("sample old.safetensors --class 2 --seeds 1 --out old");
    world.says("sample old.safetensors --class cat", 2, "0 to 2");
}

#[test]
fn what_is_done_to_pictures_is_said_on_a_real_run() {
    let world = World::new();
    let see_through = RgbaImage::from_pixel(8, 8, Rgba([9, 9, 9, 0]));
    fs::create_dir_all(world.path("mine/wrapper")).unwrap();
    see_through.save(world.path("mine/wrapper/a.png")).unwrap();
    picture(&world.path("mine/wrapper/b.jfif"), [200, 0, 0]);
    fs::write(
        world.path("mine/wrapper/c.heic"),
        b"\0\0\0\x18ftypheic\0\0\0\0",
    )
    .unwrap();
    fs::write(world.path("mine/wrapper/notes.txt"), "to do").unwrap();
    let train =
        format!("train teacher.toml --data mine --out run --set network.classes=0 {SHORT} seed=1");
    let said = said(&world, &train);
    for word in [
        "mine/wrapper: 2 images, without classes",
        "1 with transparent parts, laid on the colour of --background",
        "left out 1 .txt (wrapper/notes.txt)",
        "warning: mine: left out 1 HEIC (wrapper/c.heic)",
        "warning: mine: 1 of 2 images have colour",
        "`channels` = 3 keeps it",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // What lies under the transparency changes what is learned.
    let black = train.replace("--out run", "--out black --background black");
    world.prints(&black);
    assert!(world.bytes("run/teacher.safetensors") != world.bytes("black/teacher.safetensors"));
    let text = world.fails(&train.replace("--out run", "--out x --background blue"), 2);
    assert!(text.contains("#rrggbb"), "{text}");
}

#[test]
fn links_and_damage_are_told_with_the_flag_that_passes_over_them() {
    let world = World::new();
    picture(&world.path("mine/a.png"), [1; 3]);
    fs::write(world.path("mine/broken.png"), "no picture").unwrap();
    let train =
        format!("train teacher.toml --data mine --out run --set network.classes=0 {SHORT} seed=1");
    world.says(&train, 2, "--skip-unreadable");
    let said = said(&world, &format!("{train} --skip-unreadable"));
    assert!(
        said.contains("broken.png: its content is not that of a picture"),
        "{said}"
    );
}
