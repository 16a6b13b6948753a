//! `evaluate`, on a world of 8 x 8 images.

mod support;

use support::World;

#[test]
fn images_are_measured() {
    let world = World::with_teacher();
    let trained = world.prints("train features.toml --data data --out net");
    assert!(trained.contains("net/features.safetensors"), "{trained}");
    let evaluate = |what: &str| {
        let text = world.prints(&format!(
            "evaluate {what} --features net/features.safetensors --json"
        ));
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    evaluate("data --write-statistics statistics.safetensors");
    let itself = evaluate("data --reference statistics.safetensors");
    assert!(itself["frechet"].as_f64().unwrap().abs() < 1e-6, "{itself}");
    assert_eq!(itself["images"], 120);
    let noisy = "teacher.safetensors --reference statistics.safetensors --images 60";
    let teacher = evaluate(&format!("{noisy} --paired teacher.safetensors"));
    assert!(teacher["frechet"].as_f64().unwrap() > 0.0, "{teacher}");
    assert_eq!(teacher["nfe"], 12);
    assert_eq!(teacher["paired"]["rms"], 0.0);
    let rough = evaluate(&format!(
        "{noisy} --solver euler --steps 2 --paired teacher.safetensors"
    ));
    assert_eq!(rough["nfe"], 2);
    assert!(rough["paired"]["rms"].as_f64().unwrap() > 0.0);
    // The same images as files have the same distance.
    world.prints("sample teacher.safetensors --seeds 0-59 --out images --batch 50");
    let files = evaluate("images --reference data");
    let difference = files["frechet"].as_f64().unwrap() - teacher["frechet"].as_f64().unwrap();
    assert!(difference.abs() < 1e-6, "{files} {teacher}");
    let few = world.fails(
        &format!("evaluate {noisy} --features net/features.safetensors"),
        0,
    );
    assert!(
        few.contains("warning") && few.contains("60 images are few"),
        "{few}"
    );
    world.says(
        "evaluate data --reference data --features teacher.safetensors",
        2,
        "feature",
    );
    assert!(
        world
            .prints("inspect net/features.safetensors")
            .contains("features")
    );
    assert!(
        world
            .prints("inspect statistics.safetensors")
            .contains("statistics")
    );
}

#[test]
fn pixels_are_compared_without_features() {
    let world = World::with_teacher();
    let colour = "train teacher.toml --data data --set network.channels=3 --set images=16 --out";
    world.prints(&format!("{colour} colour"));
    world.prints(&format!("{colour} other --set seed=9"));
    let model = "colour/teacher.safetensors";
    let paired = format!("evaluate {model} --paired other/teacher.safetensors --images 8");
    let text = world.prints(&paired);
    assert!(!text.contains("features"), "{text}");
    assert!(text.contains("paired distance   rms "), "{text}");
    assert!(
        text.contains("(pixels, to other/teacher.safetensors)"),
        "{text}"
    );
    let json = world.prints(&format!("{paired} --json"));
    let facts: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(facts["paired"]["rms"].as_f64().unwrap() > 0.0, "{facts}");
    assert_eq!(facts["paired"]["to"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!((&facts["images"], &facts["nfe"]), (&8.into(), &12.into()));
    // A time is no result.
    assert!(facts.get("images_per_second").is_none(), "{facts}");
    let said = world.fails(&paired, 0);
    assert!(said.contains("images a second"), "{said}");
    assert!(facts.get("features").is_none(), "{facts}");
    // A network for features that nothing needs is not even opened.
    let said = world.fails(&format!("{paired} --features nowhere.safetensors"), 0);
    assert!(said.contains("is not used"), "{said}");
    world.says(
        "evaluate data --paired teacher.safetensors",
        2,
        "a data set has no seeds",
    );
}

#[test]
fn figures_say_by_which_features_they_are() {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net");
    let evaluate = "evaluate teacher.safetensors --images 30 --features net/features.safetensors";
    let text = world.prints(&format!(
        "{evaluate} --reference data --metrics frechet,kernel"
    ));
    let first = text.lines().next().unwrap();
    let json = world.prints(&format!("{evaluate} --reference data --json"));
    let facts: serde_json::Value = serde_json::from_str(&json).unwrap();
    let hash = facts["features"].as_str().unwrap();
    assert_eq!(
        first,
        format!("features          net/features.safetensors (SHA-256 {hash})")
    );
    assert_eq!(facts["features_file"], "net/features.safetensors");
    // Nor do features of grey pictures say anything of the colour in others.
    std::fs::create_dir(world.path("colours")).unwrap();
    for i in 0..30u8 {
        let red = |x: u32, y: u32| image::Rgb([(x * 30) as u8, (y * 30) as u8, i]);
        let picture = image::RgbImage::from_fn(8, 8, red);
        picture
            .save(world.path(format!("colours/{i}.png")))
            .unwrap();
    }
    let features = "--features net/features.safetensors";
    let word =
        "error: colours: 30 of 30 images have colour, and these features were made for grey ones";
    for sets in ["colours --reference data", "data --reference colours"] {
        let said = world.fails(&format!("evaluate {sets} {features}"), 2);
        assert!(said.contains(word) && said.contains("--features"), "{said}");
    }
    let said = world.fails("evaluate colours --reference colours", 2);
    assert!(said.contains(word), "{said}");
    // Of pictures of another shape there are none.
    world.prints(
        "train teacher.toml --data data --set network.channels=3 --set images=16 --out colour",
    );
    let colour = "evaluate colour/teacher.safetensors --images 9000000 --reference data";
    world.says(
        &format!("{colour} {features}"),
        2,
        "are 3 x 8 x 8, and the features of net/features.safetensors were made for 1 x 8 x 8",
    );
    world.says(
        colour,
        2,
        "fashion-mnist-features.safetensors, bundled were made for 1 x 32 x 32",
    );
    let statistics = "evaluate colour/teacher.safetensors --write-statistics x.safetensors";
    world.says(&format!("{statistics} {features}"), 2, "--features");
    assert!(!world.path("x.safetensors").exists());
}

#[test]
fn images_are_measured_in_every_way() {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net");
    let evaluate = |what: &str| {
        let text = world.prints(&format!(
            "evaluate {what} --features net/features.safetensors --json"
        ));
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let all = "--metrics prdc,frechet,kernel";
    let number = |facts: &serde_json::Value, key: &str| {
        let number = facts[key].as_f64();
        number.unwrap_or_else(|| panic!("{key}: {facts}"))
    };
    // A set against itself.
    let itself = evaluate(&format!("data --reference data {all}"));
    assert!(number(&itself, "frechet").abs() < 1e-6);
    // The unbiased estimate leaves pairs of a vector with itself out, so it is below zero here.
    assert!(number(&itself, "kernel") < 0.0);
    for key in ["precision", "recall", "coverage"] {
        assert_eq!(number(&itself, key), 1.0, "{key}");
    }
    assert_eq!(itself["reference_images"], 120);
    assert_eq!(itself["blocks"]["count"], 5);
    assert_eq!(itself["blocks"]["images"], 24);
    for key in [
        "frechet",
        "kernel",
        "precision",
        "recall",
        "density",
        "coverage",
    ] {
        let values = itself["blocks"][key]["values"].as_array().unwrap();
        assert_eq!(values.len(), 5, "{key}");
        assert!(number(&itself["blocks"][key], "deviation") >= 0.0, "{key}");
    }
    // A model, whose figures do not depend on what else is measured, nor on the threads.
    let model = "teacher.safetensors --images 60 --blocks 3";
    let whole = evaluate(&format!("{model} --reference data {all}"));
    let threads = evaluate(&format!("{model} --reference data {all} --threads 2"));
    assert_eq!(whole["blocks"]["count"], 3);
    assert_eq!(whole["noise"], "ours");
    for key in [
        "frechet",
        "kernel",
        "precision",
        "recall",
        "density",
        "coverage",
    ] {
        let difference = number(&whole, key) - number(&threads, key);
        // The images of other threads may differ in a rounding.
        assert!(
            difference.abs() < 1e-3 * (1.0 + number(&whole, key).abs()),
            "{key}"
        );
    }
    let alone = evaluate(&format!("{model} --reference data --metrics kernel"));
    assert_eq!(alone["kernel"], whole["kernel"]);
    assert!(alone.get("frechet").is_none() && alone.get("recall").is_none());
    // A folder of images as reference: those of the same seeds.
    world.prints("sample teacher.safetensors --seeds 0-59 --out images --batch 50");
    let same = evaluate(&format!(
        "{model} --reference images --metrics prdc --nearest 3"
    ));
    assert_eq!(
        (number(&same, "precision"), number(&same, "recall")),
        (1.0, 1.0)
    );
    assert_eq!(same["nearest"], 3);
    let text = world.prints(&format!(
        "evaluate {model} --features net/features.safetensors --reference data {all}"
    ));
    for word in [
        "Frechet distance",
        "kernel distance",
        "coverage",
        "3 blocks of 20",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    // Moments are not enough, and that shows before anything is drawn.
    let features = "--features net/features.safetensors";
    world.prints(&format!(
        "evaluate data {features} --write-statistics statistics.safetensors"
    ));
    let statistics = "--reference statistics.safetensors";
    for metrics in ["kernel", "prdc", "frechet,prdc"] {
        let typed = format!("evaluate {model} {features} {statistics} --metrics {metrics}");
        world.says(&typed, 2, "holds only the mean and covariance");
    }
    let few = format!("evaluate data {features} --reference data --images 5 --metrics prdc");
    world.says(&few, 2, "more than 5");
    world.fails(
        &format!("evaluate {model} --metrics kernel --paired teacher.safetensors"),
        2,
    );
}

#[test]
fn some_images_of_a_data_set_are_measured() {
    let world = World::new();
    world.prints("train features.toml --data data --out net");
    let features = "--features net/features.safetensors";
    let evaluate = |what: &str| {
        let text = world.prints(&format!("evaluate {what} {features} --json"));
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let some = evaluate("data --reference data --images 50");
    assert_eq!(
        (&some["images"], &some["reference_images"]),
        (&50.into(), &120.into())
    );
    assert_eq!(some, evaluate("data --reference data --images 50"));
    let others = evaluate("data --reference data --images 50 --seeds 1");
    assert_ne!(some["frechet"], others["frechet"]);
    assert_eq!(evaluate("data --reference data")["images"], 120);
    let both = evaluate("data --reference data --images 50 --reference-images 60");
    assert_eq!(
        (&both["images"], &both["reference_images"]),
        (&50.into(), &60.into())
    );
    assert!(both["frechet"].as_f64().unwrap() > 0.0);
    for flag in ["--images", "--reference-images"] {
        let typed = format!("evaluate data {features} --reference data {flag} 121");
        world.says(&typed, 2, "has only 120 images");
    }
}
