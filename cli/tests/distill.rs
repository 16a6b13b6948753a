//! `distill` and what its students are used for, on a world of 8 x 8 images.

mod support;

use std::fs;
use support::World;

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
    let said = world.fails(&format!("{sample} --steps 4 --override --out rough"), 0);
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
    let [file, list, rule] = ["file", "list", "rule"].map(|out| world.pictures(out));
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
            world.pictures(format!("n{nfe}")),
            world.pictures(format!("p{nfe}")),
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
    // Twelve times enlarged.
    assert_eq!(picture.width(), 12 * (16 * 10 + 2));
    assert!(world.path("runs/demo/student.safetensors").exists());
    world.prints(&format!("{demo} --out mine"));
    world.says(&format!("{demo} --out mine"), 2, "--overwrite");
}

#[test]
fn trajectories_are_kept_between_runs() {
    let world = World::with_teacher();
    let distill = "distill student.toml --teacher teacher.safetensors";
    world.prints(&format!("{distill} --out plain"));
    let dry = world.prints(&format!("{distill} --cache cache --dry-run"));
    assert!(
        dry.contains("# trajectory cache: 0 of 20 batches are there; 122.9 kB for all of them"),
        "{dry}"
    );
    assert!(!world.path("cache").exists());
    let first = world.fails(&format!("{distill} --cache cache --out first"), 0);
    assert!(first.contains("0 batches read, 20 written"), "{first}");
    let second = world.fails(&format!("{distill} --cache cache --out second"), 0);
    assert!(
        second.contains("20 of 20 batches are there in "),
        "{second}"
    );
    assert!(
        second.contains("trajectory cache: 20 batches read"),
        "{second}"
    );
    let student = |run: &str| world.bytes(format!("{run}/student.safetensors"));
    assert!(student("plain") == student("first") && student("first") == student("second"));
}
