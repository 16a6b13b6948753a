//! `sample`, and what all verbs have, on a world of 8 x 8 images.

mod support;

use support::World;

#[test]
fn an_image_depends_on_its_seed_only() {
    let world = World::with_teacher();
    let sample = "sample teacher.safetensors --seeds 0-63";
    world.prints(&format!("{sample} --out all --batch 64"));
    let all = world.pictures("all");
    assert_eq!(all.len(), 64);
    for (out, flags) in [
        ("sevens", "--batch 7"),
        ("singles", "--batch 1"),
        ("threads", "--batch 64 --threads 2"),
    ] {
        world.prints(&format!("{sample} --out {out} {flags}"));
        let others = world.pictures(out);
        assert!(all.keys().eq(others.keys()));
        for (name, pixels) in &all {
            let mut pairs = pixels.iter().zip(&others[name]);
            // Rounding may take a sum that is 1e-7 away to the next byte.
            assert!(pairs.all(|(a, b)| a.abs_diff(*b) <= 1), "{out}/{name}");
        }
    }
    world.prints("sample teacher.safetensors --seeds 62,5 --out some");
    let some = world.pictures("some");
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
    // Twelve times enlarged, and a line of labels.
    assert_eq!((grid.width(), grid.height()), (22 * 12, 12 * 12 + 11));
    // What an earlier call has left there is not passed over.
    let said = world.fails(
        "sample teacher.safetensors --seeds 7 --class 2 --out images",
        0,
    );
    assert!(said.contains("2 files of earlier calls"), "{said}");
    // Another class, another image.
    world.prints("sample teacher.safetensors --seeds 7-8 --class 1 --out others");
    assert!(world.bytes("images/000007.png") != world.bytes("others/000007.png"));
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
        let (ours, theirs) = (world.pictures("ours"), world.pictures(source));
        let again = world.pictures(format!("again-{source}"));
        for (name, pixels) in &theirs {
            assert_ne!(pixels, &ours[name]);
            // The batch is another one: rounding, as above.
            let mut pairs = pixels.iter().zip(&again[name]);
            assert!(pairs.all(|(a, b)| a.abs_diff(*b) <= 1), "{source}/{name}");
        }
        let text = world.bytes(format!("{source}/000000.png"));
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains(&format!("noise\x00{source}")));
        let said = world.fails(&format!("{sample} --noise {source} --out said-{source}"), 0);
        assert!(said.contains(&format!("noise {source}")), "{said}");
    }
    let text = world.fails(&format!("{sample} --noise cuda"), 2);
    assert!(text.contains("torch-cuda"), "{text}");
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
        "report",
        "watch",
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

#[test]
fn a_teacher_can_start_from_anothers_weights() {
    let world = World::with_teacher();
    let train = "train teacher.toml --data data --set images=40 --from teacher.safetensors";
    // With hardly any learning the weights stay what they were.
    world.prints(&format!("{train} --set learning-rate=1e-30 --out still"));
    world.prints(&format!("{train} --out moved"));
    let pictures = |file: &str, out: &str| {
        world.prints(&format!("sample {file} --seeds 0-3 --out {out}"));
        world.pictures(out)
    };
    let before = pictures("teacher.safetensors", "before");
    assert_eq!(before, pictures("still/teacher.safetensors", "after"));
    assert_ne!(before, pictures("moved/teacher.safetensors", "other"));
    let [parent, itself] = ["moved/teacher.safetensors", "teacher.safetensors"].map(|file| {
        let facts = world.prints(&format!("inspect {file} --json"));
        serde_json::from_str::<serde_json::Value>(&facts).unwrap()
    });
    assert_eq!(parent["parent"], itself["sha256"]);
    world.says(
        &format!("{train} --set network.model-channels=16 --out x"),
        2,
        "inspect",
    );
    // A run that goes on keeps its own beginning.
    world.prints(&format!("{train} --stop-after 1 --out whole"));
    let resume = "train teacher.toml --data data --set images=40 --out whole --resume";
    world.says(
        &format!("{resume} --from moved/teacher.safetensors"),
        2,
        "--from",
    );
    world.prints(resume);
    assert!(world.bytes("whole/teacher.safetensors") == world.bytes("moved/teacher.safetensors"));
}

#[test]
fn a_reader_that_has_seen_enough_stops_nothing() {
    let world = World::with_teacher();
    let mut child = std::process::Command::new(support::PROGRAM)
        .current_dir(world.path(""))
        .args(["inspect", "teacher.safetensors"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.is_empty(), "{said}");
}
