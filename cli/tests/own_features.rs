//! Features of one's own pictures: of any size and colour, with classes or without.

mod support;

use image::{ImageBuffer, Luma, Rgb};
use serde_json::Value;
use std::fs;
use std::path::Path;
use support::World;

const DATA: &str = "/usr/share/datasets/fashion-mnist";

/// Writes a file of IDX.
fn write_idx(folder: &Path, pixels: &[u8]) {
    fs::create_dir(folder).unwrap();
    let count = (pixels.len() / 784) as u32;
    let head = [0x803u32, count, 28, 28];
    let head = head.iter().flat_map(|n| n.to_be_bytes());
    let bytes: Vec<u8> = head.chain(pixels.iter().copied()).collect();
    fs::write(folder.join("train-images-idx3-ubyte"), bytes).unwrap();
}

/// Some of Fashion-MNIST's training images, if they are there.
fn clothes(count: usize) -> Option<Vec<u8>> {
    let options = fewstep::data::Options::new(28, 1);
    let Ok(data) = fewstep::data::Dataset::open(Path::new(DATA), &options) else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "no data at {DATA}"
        );
        eprintln!("skipped: no data at {DATA}");
        return None;
    };
    let pixels = (0..count).flat_map(|i| data.pixels(i).to_vec());
    Some(pixels.collect())
}

/// Each pixel the mean of its neighbourhood of 3 x 3.
fn blurred(pixels: &[u8]) -> Vec<u8> {
    let blur = |image: &[u8]| -> Vec<u8> {
        let at = |y: isize, x: isize| {
            let (y, x) = (y.clamp(0, 27) as usize, x.clamp(0, 27) as usize);
            u32::from(image[y * 28 + x])
        };
        let mean = |i: isize| {
            let (y, x) = (i / 28, i % 28);
            let rows = (y - 1)..=(y + 1);
            let sum: u32 = rows
                .flat_map(|y| ((x - 1)..=(x + 1)).map(move |x| (y, x)))
                .map(|(y, x)| at(y, x))
                .sum();
            (sum / 9) as u8
        };
        (0..784).map(mean).collect()
    };
    pixels.chunks(784).flat_map(blur).collect()
}

#[test]
fn without_classes_they_tell_clothes_from_blur_and_noise() {
    let Some(pixels) = clothes(6000) else { return };
    let world = World::new();
    write_idx(&world.path("all"), &pixels);
    let said =
        world.prints("train own-features --data all --out own --set images=24000 --set epochs=1");
    // Held out, turned in all four ways, against chance.
    let line = said.lines().next().unwrap();
    assert!(
        line.starts_with("turns told rightly of test images: "),
        "{said}"
    );
    assert!(line.ends_with(" % of 600 (chance 25.00 %)"), "{said}");
    let right: f64 = line.split(' ').nth(6).unwrap().parse().unwrap();
    assert!(right > 70.0, "{said}");
    assert!(!said.contains("hardly better than chance"), "{said}");

    let (first, second) = pixels.split_at(pixels.len() / 2);
    let noise = fewstep::noise::Stream::new(1, fewstep::noise::Domain::Test, 0)
        .normals(second.len())
        .into_iter()
        .map(|value| (127.0 + 60.0 * value) as u8);
    write_idx(&world.path("a"), first);
    write_idx(&world.path("b"), second);
    write_idx(&world.path("blur"), &blurred(second));
    write_idx(&world.path("noise"), &noise.collect::<Vec<_>>());
    let distance = |what: &str| {
        let features = "--features own/features.safetensors --json";
        let text = world.prints(&format!("evaluate {what} --reference a {features}"));
        let facts: Value = serde_json::from_str(&text).unwrap();
        facts["frechet"].as_f64().unwrap()
    };
    let (halves, blur, noise) = (distance("b"), distance("blur"), distance("noise"));
    println!("halves {halves}, blurred {blur}, noise {noise}");
    assert!(
        5.0 * halves < blur && 5.0 * blur < noise,
        "{halves} {blur} {noise}"
    );
}

/// Pictures of several sizes, brighter at the top; in two folders if `classes`.
fn photos(world: &World, folder: &str, classes: bool, colour: bool) {
    for i in 0..48u32 {
        let inside = match (classes, i % 2) {
            (false, _) => world.path(folder),
            (true, 0) => world.path(folder).join("red"),
            (true, _) => world.path(folder).join("blue"),
        };
        fs::create_dir_all(&inside).unwrap();
        let (width, height) = (20 + i % 7, 24 + i % 5);
        let path = inside.join(format!("{i}.png"));
        let level = |x: u32, y: u32| (230 - y * 8 + (x * 37 + y * 11 + i * 5) % 23) as u8;
        if colour {
            let pick = |x, y| match i % 2 {
                0 => Rgb([level(x, y), 40, 30]),
                _ => Rgb([30, 40, level(x, y)]),
            };
            ImageBuffer::from_fn(width, height, pick)
                .save(path)
                .unwrap();
        } else {
            let pick = |x, y| Luma([level(x, y)]);
            ImageBuffer::from_fn(width, height, pick)
                .save(path)
                .unwrap();
        }
    }
}

#[test]
fn pictures_of_any_size_and_colour_have_a_measure_at_once() {
    let world = World::new();
    photos(&world, "photos", false, true);
    photos(&world, "classes", true, true);
    photos(&world, "grey", false, false);
    // Without weights at hand it says what can be done.
    let said = world.fails("-q evaluate photos --reference photos --resize", 2);
    for word in [
        "have colour",
        "fewstep train own-features --data PICTURES",
        "fewstep fetch inception",
        "--paired",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let large = ImageBuffer::from_pixel(50, 60, Luma([9u8]));
    fs::create_dir(world.path("large")).unwrap();
    large.save(world.path("large/1.png")).unwrap();
    world.says("evaluate large --reference large", 2, "train own-features");
    world.fails("evaluate large --reference large --resize", 2);

    let train = "--set images=1024 --set batch=16 --set learning-rate=0.005";
    for (data, task) in [
        ("photos", "turns told rightly"),
        ("classes", "accuracy"),
        ("grey", "turns"),
    ] {
        let out = format!("of-{data}");
        let said = world.prints(&format!(
            "train own-features --data {data} --out {out} {train}"
        ));
        assert!(
            said.starts_with(task) && said.contains("(chance "),
            "{said}"
        );
        let features = format!("--features {out}/features.safetensors");
        // Of any size, and a picture against the same set is near.
        let text = world.prints(&format!(
            "evaluate {data} --reference {data} {features} --json"
        ));
        let facts: Value = serde_json::from_str(&text).unwrap();
        assert!(facts["frechet"].as_f64().unwrap() < 1e-6, "{facts}");
        assert_eq!(facts["images"], 48);
        let recipe = fs::read_to_string(world.path(&out).join("recipe.toml")).unwrap();
        let channels = if data == "grey" { 1 } else { 3 };
        assert!(
            recipe.contains("size = 24") && recipe.contains(&format!("channels = {channels}")),
            "{recipe}"
        );
    }
    // Colour and grey go together where the features know colour, and only there.
    let coloured =
        "evaluate grey --reference photos --features of-photos/features.safetensors --json";
    let facts: Value = serde_json::from_str(&world.prints(coloured)).unwrap();
    assert!(facts["frechet"].as_f64().unwrap() > 0.0);
    world.says(
        "evaluate photos --reference grey --features of-grey/features.safetensors",
        2,
        "a picture with colour",
    );
    // A model's images of another size, too.
    world.prints("train teacher.toml --data data --out small");
    let drawn = "evaluate small/teacher.safetensors --images 30 --reference grey --features of-grey/features.safetensors --json";
    let facts: Value = serde_json::from_str(&world.prints(drawn)).unwrap();
    assert_eq!(facts["images"], 30);

    // What is hardly learnt is said: the pictures of one colour have no upside.
    fs::create_dir(world.path("plain")).unwrap();
    for i in 0..40u8 {
        let plain = ImageBuffer::from_pixel(16, 16, Luma([6 * i]));
        plain
            .save(world.path("plain").join(format!("{i}.png")))
            .unwrap();
    }
    let said =
        world.prints("train own-features --data plain --out p --set images=64 --set batch=16");
    assert!(said.contains("hardly better than chance"), "{said}");
}
