//! `evaluate --features inception`, with weights that are made up.

#[path = "support/inception.rs"]
mod inception;
mod support;

use image::{ImageBuffer, Luma, Rgb, Rgba};
use inception::weights;
use serde_json::Value;
use std::path::Path;
use support::World;

/// Pictures of several sizes and kinds.
fn pictures(folder: &Path, seed: u32) {
    std::fs::create_dir(folder).unwrap();
    for i in 0..5u32 {
        let level =
            |x: u32, y: u32, c: u32| ((x * 7 + y * 13 * (seed + 1) + c * 31 + i * 53) % 256) as u8;
        let path = folder.join(format!("{i}.png"));
        if i == 3 {
            let grey = ImageBuffer::from_fn(9, 12, |x, y| Luma([level(x, y, seed)]));
            grey.save(path).unwrap();
        } else {
            let (width, height) = if i < 3 { (16, 16) } else { (20, 11) };
            let rgb =
                ImageBuffer::from_fn(width, height, |x, y| Rgb([0, 1, 2].map(|c| level(x, y, c))));
            rgb.save(path).unwrap();
        }
    }
}

#[test]
fn pictures_of_any_size_are_measured_as_published() {
    let world = World::new();
    weights(&world.path("inception.safetensors"));
    pictures(&world.path("a"), 0);
    pictures(&world.path("b"), 1);
    let network = "--features inception --inception inception.safetensors";
    let evaluate = |what: &str| -> Value {
        let text = world.prints(&format!("evaluate {what} {network} --json"));
        serde_json::from_str(&text).unwrap()
    };
    let number = |facts: &Value, key: &str| {
        let number = facts[key].as_f64();
        number.unwrap_or_else(|| panic!("{key}: {facts}"))
    };
    let all = "--metrics frechet,kernel,inception-score --write-statistics b.npz";
    let apart = evaluate(&format!("b --reference a {all}"));
    assert_eq!(apart["features_resize"], "tensorflow");
    assert_eq!(apart["images"], 5);
    let distance = number(&apart, "frechet");
    assert!(distance > 0.0);
    assert!(number(&apart["inception_score"], "mean") >= 1.0, "{apart}");
    let bilinear = evaluate("b --reference a --features-resize bilinear");
    assert!(
        (number(&bilinear, "frechet") / distance - 1.0).abs() > 1e-3,
        "{bilinear}"
    );
    assert_ne!(bilinear["features"], apart["features"]);
    // What was written is read as what others publish: it does not say whose features it is of.
    let itself = evaluate("b --reference b.npz");
    assert!(number(&itself, "frechet") < 1e-6 * distance, "{itself}");
    let again = evaluate("a --reference b.npz");
    assert!(
        (number(&again, "frechet") / distance - 1.0).abs() < 1e-6,
        "{again}"
    );

    let wrong = world.fails("evaluate a --reference b.npz --resize", 2);
    assert!(wrong.contains("2048") && wrong.contains("128"), "{wrong}");
    for (what, word) in [
        (
            "a --reference b --inception inception.safetensors",
            "--features inception",
        ),
        (
            "a --reference b --features-resize bilinear",
            "--features inception",
        ),
        (
            "a --reference b --features inception",
            "fewstep fetch inception",
        ),
        (
            "a --metrics inception-score --resize",
            "--features inception",
        ),
        (
            &format!("a --reference b --resize {network}"),
            "--features-resize",
        ),
        (
            &format!("a --reference b.npz --metrics kernel {network}"),
            "mean and covariance",
        ),
    ] {
        world.says(&format!("evaluate {what}"), 2, word);
    }
    // NVIDIA's file of the same network is a program.
    for (name, bytes) in [
        // A call of Python's, and a dictionary without weights.
        (
            "inception-v3-2015-12-05.pkl",
            &b"\x80\x04ctorch.jit._serialization\nload\n)R."[..],
        ),
        ("other.pkl", b"\x80\x04}."),
    ] {
        std::fs::write(world.path(name), bytes).unwrap();
        for network in [
            format!("--features inception --inception {name}"),
            format!("--features {name}"),
        ] {
            let typed = format!("evaluate a --reference b.npz {network}");
            world.says(
                &typed,
                2,
                "NVIDIA's inception-v3-2015-12-05.pkl is a program",
            );
            world.says(&typed, 2, "`fewstep fetch inception`");
        }
    }
    // Grey stands for three equal channels.
    let grey = ImageBuffer::from_fn(7, 6, |x, y| Luma([(x * 30 + y * 5) as u8]));
    let rgb = ImageBuffer::from_fn(7, 6, |x, y| Rgb([(x * 30 + y * 5) as u8; 3]));
    for (name, picture) in [
        ("grey", image::DynamicImage::from(grey)),
        ("rgb", rgb.into()),
    ] {
        std::fs::create_dir(world.path(name)).unwrap();
        picture.save(world.path(name).join("1.png")).unwrap();
        let first = world.path("a/1.png");
        std::fs::copy(first, world.path(name).join("2.png")).unwrap();
    }
    let frechet = |folder: &str| {
        number(
            &evaluate(&format!("{folder} --reference b.npz --blocks 0")),
            "frechet",
        )
    };
    assert_eq!(frechet("grey"), frechet("rgb"));
    // What programs read in different ways is refused, as a subject and as a reference.
    let deep = ImageBuffer::from_pixel(4, 4, Luma([1000u16]));
    let clear = ImageBuffer::from_pixel(4, 4, Rgba([9u8, 8, 7, 100]));
    for (name, picture, words) in [
        (
            "deep",
            image::DynamicImage::from(deep),
            ["deep.png: it has 16 bits", "-depth 8"],
        ),
        (
            "clear",
            clear.into(),
            ["clear.png: it has an alpha channel", "--background white"],
        ),
    ] {
        let path = world.path(format!("a/{name}.png"));
        picture.save(&path).unwrap();
        for what in ["a --reference b.npz", "b --reference a"] {
            let said = world.fails(&format!("-q evaluate {what} {network}"), 2);
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
        std::fs::remove_file(path).unwrap();
    }
    // Laid on a colour that is named.
    let clear = ImageBuffer::from_pixel(4, 4, Rgba([9u8, 8, 7, 100]));
    clear.save(world.path("a/clear.png")).unwrap();
    let more = evaluate("a --reference b.npz --background black");
    assert_eq!(more["images"], 6);
    let white = evaluate("a --reference b.npz --background white");
    assert_ne!(number(&white, "frechet"), number(&more, "frechet"));
    std::fs::remove_file(world.path("a/clear.png")).unwrap();
    // What is damaged is an error.
    std::fs::write(world.path("a/broken.png"), b"\x89PNG\r\n\x1a\nno picture").unwrap();
    let refused = world.fails(&format!("evaluate a --reference b.npz {network}"), 2);
    assert!(refused.contains("broken.png"), "{refused}");
    let skipped = evaluate("a --reference b.npz --skip-unreadable");
    assert_eq!(number(&skipped, "frechet"), number(&again, "frechet"));
}
