//! Each verb once, on a world of 8 x 8 images.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use support::World;

/// The pixels of all PNG files in a folder, by name.
fn pictures(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        (name, image::open(&path).unwrap().into_bytes())
    };
    fs::read_dir(folder).unwrap().map(read).collect()
}

#[test]
fn an_image_depends_on_its_seed_only() {
    let world = World::with_teacher();
    let sample = "sample teacher.safetensors --seeds 0-63";
    world.prints(&format!("{sample} --out all --batch 64"));
    let all = pictures(&world.path("all"));
    assert_eq!(all.len(), 64);
    for (out, flags) in [
        ("sevens", "--batch 7"),
        ("singles", "--batch 1"),
        ("threads", "--batch 64 --threads 2"),
    ] {
        world.prints(&format!("{sample} --out {out} {flags}"));
        let others = pictures(&world.path(out));
        assert!(all.keys().eq(others.keys()));
        for (name, pixels) in &all {
            let mut pairs = pixels.iter().zip(&others[name]);
            // Rounding may take a sum that is 1e-7 away to the next byte.
            assert!(pairs.all(|(a, b)| a.abs_diff(*b) <= 1), "{out}/{name}");
        }
    }
    world.prints("sample teacher.safetensors --seeds 62,5 --out some");
    let some = pictures(&world.path("some"));
    assert!(some.keys().eq(["000005.png", "000062.png"]));
    let distinct: std::collections::BTreeSet<_> = all.values().collect();
    assert_eq!(distinct.len(), 64);
}

#[test]
fn pictures_say_where_they_come_from() {
    let world = World::with_teacher();
    world.prints("sample teacher.safetensors --seeds 7-8 --class 2 --grid --out images");
    let text = String::from_utf8_lossy(&world.bytes("images/000007.png")).into_owned();
    for word in ["seed\x007", "noise\x00ours", "class\x002", "card\x00"] {
        assert!(text.contains(word), "{word:?}");
    }
    let grid = image::open(world.path("images/grid.png")).unwrap();
    assert_eq!((grid.width(), grid.height()), (2 * 10 + 2, 10 + 2));
    // Another class, another image.
    world.prints("sample teacher.safetensors --seeds 7-8 --class 1 --out others");
    assert!(world.bytes("images/000007.png") != world.bytes("others/000007.png"));
}

#[test]
fn a_student_is_sampled_as_it_was_distilled() {
    let world = World::with_teacher();
    world.prints("distill student.toml --teacher teacher.safetensors --tick 10 --out run");
    for name in [
        "recipe.toml",
        "metrics.jsonl",
        "preview-0000010.png",
        "preview-0000020.png",
    ] {
        assert!(world.path("run").join(name).exists(), "{name}");
    }
    // The resolved recipe makes the same student again.
    world.prints("distill run/recipe.toml --teacher teacher.safetensors --out again");
    let student = world.bytes("run/student.safetensors");
    assert!(student == world.bytes("again/student.safetensors"));
    let metrics = String::from_utf8(world.bytes("run/metrics.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    assert_eq!(line["round"], 10);
    assert_eq!(line["trajectories"], 80);
    assert_eq!(line["distances"].as_array().unwrap().len(), 3);
    let facts = world.prints("inspect run/student.safetensors --json");
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    assert_eq!(facts["kind"], "student");
    assert_eq!(facts["evaluations"], 2);
    assert_eq!(facts["trained-on"], 160);
    let teacher = world.prints("inspect teacher.safetensors --json");
    let teacher: serde_json::Value = serde_json::from_str(&teacher).unwrap();
    assert_eq!(facts["parent"], teacher["sha256"]);
    let sample = "sample run/student.safetensors --seeds 0";
    let said = world.fails(sample, 0);
    assert!(said.contains("2 evaluations"), "{said}");
    world.says(&format!("{sample} --steps 4"), 2, "--override");
    let said = world.fails(&format!("{sample} --steps 4 --override"), 0);
    assert!(said.contains("3 evaluations"), "{said}");
}

#[test]
fn searched_levels_serve_sampling_and_distillation() {
    let world = World::with_teacher();
    let search = "schedule teacher.safetensors --candidates 12 --trajectories 16";
    let found = world.prints(&format!(
        "{search} --steps 3 --out levels.toml --picture costs.png"
    ));
    assert_eq!(found.trim().split(',').count(), 4, "{found}");
    let picture = image::open(world.path("costs.png")).unwrap();
    assert_eq!(picture.width(), 13 * 8);
    let sample = "sample teacher.safetensors --solver unipc:2 --seeds 0-3";
    let said = world.fails(&format!("{sample} --levels levels.toml --out file"), 0);
    assert!(said.contains("3 evaluations"), "{said}");
    world.prints(&format!("{sample} --levels {} --out list", found.trim()));
    world.prints(&format!("{sample} --steps 3 --out rule"));
    let [file, list, rule] = ["file", "list", "rule"].map(|out| pictures(&world.path(out)));
    assert!(file == list && file != rule);
    let said = world.fails(&format!("{sample} --levels 3,2,x"), 2);
    assert!(said.contains("3,2,x"), "{said}");
    world.says(&format!("{search} --steps 13"), 2, "steps");
    world.says(
        &format!("{search} --steps 1 --analytic-first-step true"),
        2,
        "never be called",
    );

    // Searched before the run, kept in the recipe, the checkpoint and the card.
    let sets =
        "--set spacing.kind=searched --set spacing.candidates=12 --set spacing.trajectories=16";
    let distill = "distill student.toml --teacher teacher.safetensors";
    let dry = world.prints(&format!("{distill} {sets} --dry-run"));
    assert!(dry.contains("16 paths of 12 evaluations"), "{dry}");
    assert!(dry.contains("teacher 12, student 2"), "{dry}");
    world.prints(&format!("{distill} {sets} --out whole"));
    let whole = world.bytes("whole/student.safetensors");
    world.prints(&format!("{distill} {sets} --out parts --stop-after 7"));
    let said = world.fails(&format!("{distill} {sets} --out parts --resume"), 0);
    assert!(!said.contains("levels found"), "{said}");
    assert!(whole == world.bytes("parts/student.safetensors"));
    // The written recipe holds the levels and needs no search.
    let said = world.fails(
        "distill whole/recipe.toml --teacher teacher.safetensors --out again",
        0,
    );
    assert!(!said.contains("levels found"), "{said}");
    assert!(whole == world.bytes("again/student.safetensors"));
    let other = format!("{distill} {sets} --set spacing.gamma=1.3 --out parts --resume");
    world.says(&other, 2, "spacing.gamma");
    let facts = world.prints("inspect whole/student.safetensors --json");
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    let levels = facts["sampling"]["spacing"]["levels"].as_array().unwrap();
    assert_eq!(levels.len(), 4);
    assert_eq!(
        facts["recipe"]["spacing"]["levels"].as_array(),
        Some(levels)
    );
    let said = world.fails("sample whole/student.safetensors --seeds 0", 0);
    assert!(said.contains("2 evaluations"), "{said}");
    // The same search by hand gives the same levels.
    let found = world.prints(&format!(
        "{search} --steps 3 --analytic-first-step true --solver dpm-solver-pp"
    ));
    let found: Vec<f64> = found
        .trim()
        .split(',')
        .map(|l| l.parse().unwrap())
        .collect();
    let kept: Vec<f64> = levels.iter().map(|l| l.as_f64().unwrap()).collect();
    assert_eq!(found, kept);
}

#[test]
fn a_student_for_several_numbers_of_calls_and_one_for_a_single_call() {
    let world = World::with_teacher();
    world.prints("distill several.toml --teacher teacher.safetensors --tick 4 --out run");
    let metrics = String::from_utf8(world.bytes("run/metrics.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&line["round"], &line["trajectories"]),
        (&16.into(), &64.into())
    );
    assert_eq!(line["distances"].as_array().unwrap().len(), 1);
    let inspect = |file: &str| -> serde_json::Value {
        serde_json::from_str(&world.prints(&format!("inspect {file} --json"))).unwrap()
    };
    let student = "run/student.safetensors";
    let facts = inspect(student);
    assert_eq!(facts["evaluations"], serde_json::json!([2, 5]));
    assert_eq!(facts["sampling"]["step-range"], serde_json::json!([3, 6]));
    assert_eq!(facts["trained-on"], 64);
    let said = world.fails(&format!("sample {student} --seeds 0 --out default"), 0);
    assert!(said.contains("3 evaluations"), "{said}");
    for nfe in 2..=5 {
        let said = world.fails(
            &format!("sample {student} --nfe {nfe} --seeds 0-7 --out n{nfe}"),
            0,
        );
        assert!(said.contains(&format!("{nfe} evaluations")), "{said}");
        let plain = format!("plain{nfe}.safetensors");
        world.prints(&format!("convert {student} {plain} --nfe {nfe}"));
        let network = &inspect(&plain)["network"];
        assert_eq!(network["step-branch"], false);
        assert_eq!(inspect(&plain)["evaluations"], nfe);
        assert_eq!(inspect(&plain)["parent"], facts["sha256"]);
        world.prints(&format!("sample {plain} --seeds 0-7 --out p{nfe}"));
        let (a, b) = (
            pictures(&world.path(format!("n{nfe}"))),
            pictures(&world.path(format!("p{nfe}"))),
        );
        for (name, pixels) in &a {
            // Rounding may take a value that is 1e-6 away to the next byte.
            let mut pairs = pixels.iter().zip(&b[name]);
            assert!(pairs.all(|(a, b)| a.abs_diff(*b) <= 1), "{nfe} {name}");
        }
    }
    world.says(&format!("sample {student} --nfe 7"), 2, "2 to 5");
    world.says(&format!("sample {student} --nfe 1"), 2, "2 to 5");
    world.says(&format!("convert {student} x --nfe 6"), 2, "2 to 5");
    let again = format!("convert {student} plain3.safetensors --nfe 3");
    world.says(&again, 2, "--overwrite");
    world.prints(&format!("{again} --overwrite"));
    world.says("convert teacher.safetensors x --nfe 12", 2, "plain network");
    assert!(!world.path("x").exists());

    let second = format!("distill second.toml --teacher {student}");
    let dry = world.prints(&format!("{second} --dry-run"));
    for word in ["teacher 5, student 1", "step-condition = true", "4 updates"] {
        assert!(dry.contains(word), "{word}: {dry}");
    }
    world.prints(&format!("{second} --out one"));
    let facts = inspect("one/student.safetensors");
    assert_eq!(facts["evaluations"], 1);
    assert_eq!(facts["sampling"]["step-condition"], true);
    let said = world.fails("sample one/student.safetensors --seeds 0 --out images", 0);
    assert!(said.contains("1 evaluations"), "{said}");
    world.says(&format!("{second} --set substeps=4"), 2, "3 to 6 steps");
    world.says(&format!("{second} --set sigma-min=0.002"), 2, "sigma-min");
    world.says(
        "distill second.toml --teacher teacher.safetensors",
        2,
        "no student",
    );
    let plain = format!("distill student.toml --teacher {student}");
    world.says(&plain, 2, "second-stage = true");
    world.says(
        &format!("{second} --set distance=l1-lpips"),
        2,
        "--perceptual",
    );
    let stray = format!("{second} --perceptual {student}");
    world.says(&stray, 2, "without a perceptual distance");
    let foreign = format!("{stray} --set distance=l1-lpips");
    world.says(&foreign, 2, "features.0.weight");
}

#[test]
fn a_dry_run_predicts_and_writes_nothing() {
    let world = World::with_teacher();
    let train = world.prints("train teacher.toml --data data --dry-run --set seed=5");
    for word in [
        "seed = 5",
        "teacher 12",
        "rounds: 40",
        "peak memory",
        "time",
    ] {
        assert!(train.contains(word), "{word}: {train}");
    }
    let distill = world.prints("distill student.toml --teacher teacher.safetensors --dry-run");
    for word in [
        "steps = 3",
        "teacher 12, student 2",
        "rounds: 20 (40 updates)",
        "peak memory",
    ] {
        assert!(distill.contains(word), "{word}: {distill}");
    }
    // What it prints is a recipe.
    fs::write(world.path("printed.toml"), &distill).unwrap();
    let again = world.prints("distill printed.toml --teacher teacher.safetensors --dry-run");
    let settings = |text: &str| {
        text.lines()
            .take_while(|l| !l.starts_with('#'))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(settings(&distill), settings(&again));
    assert!(!world.path("runs").exists());
}

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

#[test]
fn seeds_can_stand_for_pytorchs_noise() {
    let world = World::with_teacher();
    let sample = "sample teacher.safetensors --seeds 0-3";
    world.prints(&format!("{sample} --out ours"));
    for source in ["torch-cpu", "torch-cuda"] {
        world.prints(&format!(
            "{sample} --noise {source} --out {source} --batch 4"
        ));
        world.prints(&format!(
            "{sample} --noise {source} --out again-{source} --batch 3"
        ));
        let (ours, theirs) = (pictures(&world.path("ours")), pictures(&world.path(source)));
        let again = pictures(&world.path(format!("again-{source}")));
        for (name, pixels) in &theirs {
            assert_ne!(pixels, &ours[name]);
            let mut pairs = pixels.iter().zip(&again[name]);
            assert!(pairs.all(|(a, b)| a.abs_diff(*b) <= 1), "{source}/{name}");
        }
        let text = world.bytes(format!("{source}/000000.png"));
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains(&format!("noise\x00{source}")));
        let said = world.fails(&format!("{sample} --noise {source}"), 0);
        assert!(said.contains(&format!("noise {source}")), "{said}");
    }
    let text = world.fails(&format!("{sample} --noise cuda"), 2);
    assert!(text.contains("torch-cuda"), "{text}");
}

#[test]
fn the_demo_compares_teacher_and_student() {
    let world = World::with_teacher();
    world.prints("train features.toml --data data --out net");
    let features = "--features net/features.safetensors";
    world.prints(&format!(
        "evaluate data {features} --write-statistics statistics.safetensors"
    ));
    let demo = format!(
        "demo --teacher teacher.safetensors {features} --reference statistics.safetensors --images 60 --trajectories 64"
    );
    // Twice: the default folder is the demo's own.
    world.prints(&demo);
    let table = world.prints(&demo);
    assert!(
        table.contains("undistilled") && table.contains("Frechet"),
        "{table}"
    );
    let summary = world.bytes("runs/demo/summary.json");
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    for (row, nfe) in [("teacher", 12), ("undistilled", 2), ("student", 2)] {
        assert_eq!(summary[row]["nfe"], nfe);
        for key in ["frechet", "paired", "images_per_second"] {
            assert!(
                summary[row][key].as_f64().is_some_and(|v| v >= 0.0),
                "{row} {key}"
            );
        }
    }
    assert_eq!(summary["teacher"]["paired"], 0.0);
    assert_eq!(summary["trajectories"], 64);
    assert!(summary["seconds"].as_f64().unwrap() > 0.0);
    let picture = image::open(world.path("runs/demo/demo.png")).unwrap();
    assert_eq!(picture.width(), 3 * (16 * 10 + 2));
    assert!(world.path("runs/demo/student.safetensors").exists());
    world.prints(&format!("{demo} --out mine"));
    world.says(&format!("{demo} --out mine"), 2, "--overwrite");
}

#[test]
fn a_network_is_timed_and_its_results_are_written() {
    let world = World::with_teacher();
    let bench = "bench teacher.safetensors --batch 2";
    let timed = world.prints(&format!("{bench} --repeats 3 --json"));
    let timed: serde_json::Value = serde_json::from_str(&timed).unwrap();
    assert_eq!((&timed["batch"], &timed["threads"]), (&2.into(), &1.into()));
    let least: Vec<f64> = ["forward", "gradient", "round"]
        .iter()
        .enumerate()
        .map(|(i, work)| {
            let row = &timed["work"][i];
            assert_eq!(row["work"], *work);
            let seconds: Vec<f64> = serde_json::from_value(row["seconds"].clone()).unwrap();
            assert_eq!(seconds.len(), 3);
            seconds.into_iter().fold(f64::INFINITY, f64::min)
        })
        .collect();
    // Twelve calls of the teacher are among a round.
    assert!(0.0 < least[0] && least[0] < least[2], "{least:?}");
    let table = world.prints(&format!("{bench} --repeats 1 --work round,forward"));
    assert!(table.contains("forward") && table.contains("round") && !table.contains("gradient"));
    world.prints(&format!(
        "{bench} --write-model copy.safetensors --write-results results.safetensors"
    ));
    assert!(world.bytes("copy.safetensors") == world.bytes("teacher.safetensors"));
    let inspect = |file: &str| -> serde_json::Value {
        let facts = world.prints(&format!("inspect {file} --json"));
        serde_json::from_str(&facts).unwrap()
    };
    let [parameters, results] = ["copy.safetensors", "results.safetensors"]
        .map(|file| inspect(file)["tensors"].as_u64().unwrap());
    // Gradient and new value of each; noise, answer, labels, direction, distances, and 4 + 3 images on the way.
    assert_eq!(results, 2 * parameters + 12);
    world.says("bench nothing", 2, "bench64");
    world.fails("bench --work backwards", 2);
    world.fails("bench --batch 0", 2);
}

#[test]
fn every_verb_has_help_with_an_example() {
    let world = World::new();
    let verbs = [
        "demo",
        "train",
        "distill",
        "sample",
        "schedule",
        "evaluate",
        "convert",
        "inspect",
        "verify",
        "bench",
        "completions",
    ];
    let all = world.prints("--help");
    for verb in verbs {
        assert!(all.contains(verb), "{verb}");
        let help = world.prints(&format!("{verb} --help"));
        assert!(
            help.contains("Example") && help.contains(&format!("fewstep {verb}")),
            "{help}"
        );
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = world.prints(&format!("completions {shell}"));
        assert!(
            script.contains("fewstep") && script.contains("distill"),
            "{shell}"
        );
    }
    assert!(world.prints("--version").starts_with("fewstep "));
    world.fails("", 2);
}
