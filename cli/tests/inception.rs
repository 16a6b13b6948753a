//! `evaluate --features inception`, with weights that are made up.

mod support;

use fewstep::feature::inception::{formula, layers};
use fewstep::model::File;
use image::{ImageBuffer, Luma, Rgb};
use serde_json::Value;
use std::path::Path;
use support::World;

/// All tensors under the names of the published file.
fn weights(path: &Path) {
    let mut file = File::default();
    let mut put = |name: String, dims: Vec<usize>| {
        let data = burn::tensor::TensorData::new(formula(&name, &dims), dims);
        file.tensors.insert(name, data);
    };
    for layer in layers() {
        put(format!("{}.conv.weight", layer.name), layer.dims());
        for part in ["weight", "bias", "running_mean", "running_var"] {
            put(format!("{}.bn.{part}", layer.name), vec![layer.output]);
        }
    }
    put("fc.weight".into(), vec![1008, 2048]);
    put("fc.bias".into(), vec![1008]);
    file.write(path).unwrap();
}

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
            "a --reference b --metrics inception-score --resize",
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
    // Pictures are read as everywhere (docs/pictures.md): of 16 bits the upper byte; what is damaged is an error.
    let deep = ImageBuffer::from_pixel(4, 4, Luma([1000u16]));
    deep.save(world.path("a/deep.png")).unwrap();
    let more = evaluate("a --reference b.npz");
    assert_eq!(more["images"], 6);
    std::fs::write(world.path("a/broken.png"), b"\x89PNG\r\n\x1a\nno picture").unwrap();
    let refused = world.fails(&format!("evaluate a --reference b.npz {network}"), 2);
    assert!(refused.contains("broken.png"), "{refused}");
    let skipped = evaluate("a --reference b.npz --skip-unreadable");
    assert_eq!(number(&skipped, "frechet"), number(&more, "frechet"));
}
