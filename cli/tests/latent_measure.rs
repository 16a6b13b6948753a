//! Whether a student of a latent model is good: how far its latents and pictures are from the teacher's, by `evaluate`, `sweep` and
//! `tune`. (CLIP scores: `clip.rs`.)

#[path = "support/latent.rs"]
mod latent;
mod support;

use burn::tensor::{Device, Tensor, TensorData};
use fewstep::import::AutoencoderFile;
use fewstep::model::File;
use latent::{LDM, SD, diffusers, ours};
use serde_json::Value;
use std::fs;
use support::World;

fn world() -> World {
    let world = World::new();
    diffusers(&world);
    fs::write(world.path("sd.toml"), SD).unwrap();
    fs::write(world.path("prompts.txt"), "a cat\ntwo, three\n").unwrap();
    world
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Root mean square and mean absolute difference of what lies in two folders, file by file.
fn differences(all: &[(Vec<f64>, Vec<f64>)]) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for (a, b) in all {
        assert_eq!(a.len(), b.len());
        let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        let squares: f64 = apart.clone().map(|d| d * d).sum();
        sums[0] += (squares / a.len() as f64).sqrt();
        sums[1] += apart.sum::<f64>() / a.len() as f64;
    }
    sums.map(|sum| sum / all.len() as f64)
}

#[test]
fn latents_and_pictures_are_compared_seed_by_seed() {
    let world = world();
    let prompts = "--prompts prompts.txt";
    world.prints(&format!("distill sd.toml --teacher sd {prompts} --out run"));
    let evaluate = format!("evaluate run/student.safetensors --paired sd {prompts} --images 3");
    let text = world.prints(&evaluate);
    assert!(text.contains("(pixels, to sd/unet") && text.contains("(latents, to sd/unet"));
    let facts = json(&world.prints(&format!("{evaluate} --json")));
    let paired = &facts["paired"];
    // The same by hand, from the files that both make: each follows its text as its card says.
    let [ours, theirs] =
        [("ours", "run/student.safetensors"), ("theirs", "sd")].map(|(out, model)| {
            world.prints(&format!(
                "sample {model} {prompts} --seeds 0-2 --latents --out {out}"
            ));
            out
        });
    let latents = |folder: &str, seed: u32| -> Vec<f64> {
        let file = File::read(&world.path(format!("{folder}/{seed:06}.safetensors"))).unwrap();
        file.tensors["latents"]
            .iter::<f32>()
            .map(f64::from)
            .collect()
    };
    let pairs: Vec<_> = (0..3)
        .map(|seed| (latents(ours, seed), latents(theirs, seed)))
        .collect();
    let [rms, l1] = differences(&pairs);
    let said = |of: &Value, key: &str| of[key].as_f64().unwrap();
    assert!(rms > 0.01, "{rms}");
    assert!(
        (said(&paired["latents"], "rms") - rms).abs() < 1e-6 * rms,
        "{paired} {rms}"
    );
    assert!(
        (said(&paired["latents"], "l1") - l1).abs() < 1e-6 * l1,
        "{paired} {l1}"
    );
    // And what the autoencoder makes of them: pixels as they are, not cut off at the ends as in files.
    let device = Device::flex();
    let autoencoder = AutoencoderFile::open(&world.path("sd")).unwrap();
    let autoencoder = autoencoder.load(&device).unwrap();
    let decoded = |values: &Vec<f64>| -> Vec<f64> {
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        let latents = Tensor::<4>::from_data(TensorData::new(values, [1, 4, 8, 8]), &device);
        let pixels = autoencoder.decode(latents).unwrap().into_data();
        pixels.iter::<f32>().map(f64::from).collect()
    };
    let pictures: Vec<_> = pairs
        .iter()
        .map(|(a, b)| (decoded(a), decoded(b)))
        .collect();
    let [rms, l1] = differences(&pictures);
    assert!(
        (said(paired, "rms") - rms).abs() < 1e-5 * rms,
        "{paired} {rms}"
    );
    assert!((said(paired, "l1") - l1).abs() < 1e-5 * l1, "{paired} {l1}");
    let itself = format!("evaluate sd --paired sd {prompts} --images 2 --json");
    let itself = json(&world.prints(&itself));
    for of in [&itself["paired"], &itself["paired"]["latents"]] {
        assert_eq!((&of["rms"], &of["l1"]), (&0.0.into(), &0.0.into()));
    }

    // Latents alone need no autoencoder.
    fs::rename(world.path("sd/vae"), world.path("vae")).unwrap();
    // The run has noted where one was; the teacher itself knows of none.
    let teacher = format!("evaluate sd --steps 2 --paired sd {prompts} --images 3");
    world.says(&teacher, 2, "or compare latents alone with --latents");
    let alone = json(&world.prints(&format!("{evaluate} --latents --json")));
    assert_eq!(alone["paired"]["latents"], paired["latents"]);
    assert!(alone["paired"].get("rms").is_none(), "{alone}");
    let text = world.prints(&format!("{evaluate} --latents"));
    assert!(!text.contains("pixels"), "{text}");
    let refused = world.fails(&format!("{evaluate} --latents --metrics clip"), 2);
    assert!(refused.contains("--metrics"), "{refused}");
    fs::write(world.path("plain.safetensors"), support::teacher()).unwrap();
    let plain = "evaluate plain.safetensors --paired plain.safetensors --latents";
    world.says(plain, 2, "--latents is for latent models");
}

#[test]
fn an_evaluation_of_latents_goes_on_where_it_was_stopped() {
    let world = world();
    let evaluate = "evaluate sd --steps 2 --paired sd --prompts prompts.txt --images 4 --json";
    let whole = world.prints(evaluate);
    let kept = format!("{evaluate} --state kept");
    // Cut off in the middle of both parts: the other's latents, and what is compared with them.
    let mut child = world.spawn(&kept);
    let files = || fs::read_dir(world.path("kept")).map_or(0, |files| files.count());
    support::wait_for(&mut child, "both parts", || files() == 2);
    support::send(&child, "KILL");
    child.wait().unwrap();
    for file in fs::read_dir(world.path("kept")).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - bytes.len() / 3]).unwrap();
    }
    let said = world.fails(&format!("{kept} --resume"), 0);
    assert!(said.contains("batches are measured already"), "{said}");
    let again = world.prints(&format!("{kept} --resume"));
    assert_eq!(again, whole);
    assert_eq!(files(), 0);
}

/// The cells of a table, row by row.
fn rows(table: &str) -> Vec<Vec<String>> {
    let lines = table.lines().filter(|line| line.starts_with("| "));
    let cells = |line: &str| {
        line.split('|')
            .map(|cell| cell.trim().to_string())
            .collect()
    };
    lines.map(cells).collect()
}

#[test]
fn a_sweep_of_a_text_model_is_ranked_by_latents() {
    let world = world();
    let sweep = "title = 'x'\nrecipe = 'sd.toml'\nteacher = 'sd'\nprompts = 'prompts.txt'\nembeddings = 'texts'\npairs = 3\n\
                 seeds = [0, 1]\n[grid]\nlearning-rate = [1e-5, 1e-3]\n\
                 [[sampler]]\nname = 'Euler'\nsolver = 'euler'\nsteps = [3, 12]\n\
                 [[sampler]]\nname = 'the teacher'\nsteps = [12]\n";
    fs::write(world.path("sweep.toml"), sweep).unwrap();
    let plan = world.prints("sweep sweep.toml --out sweeps --dry-run");
    assert!(plan.contains("2 runs, 12 trajectories"), "{plan}");
    let said = world.prints("sweep sweep.toml --out sweeps");
    let table = rows(&said);
    assert_eq!(table[0][1..6], ["rank", "run", "NFE", "latents", "pixels"]);
    assert_eq!(table.len(), 2 + 5, "{said}");
    let of = |name: &str, nfe: &str| {
        let found = table.iter().find(|row| row[2] == name && row[3] == nfe);
        found.unwrap_or_else(|| panic!("{name}: {said}")).clone()
    };
    // The teacher as its card says is as near to itself as can be, and followed as closely as students are.
    assert_eq!(of("the teacher", "12")[4..6], ["0", "0"]);
    let mean =
        |row: &[String], at: usize| -> f64 { row[at].split(' ').next().unwrap().parse().unwrap() };
    assert!(mean(&of("Euler", "12"), 4) < mean(&of("Euler", "3"), 4));
    assert!(of("learning-rate = 0.001", "1")[4].contains("+-"));
    // A run's own figure is that of `evaluate`.
    let student = "sweeps/sweep/learning-rate-0.001/seed-1/student.safetensors";
    let own =
        "--paired sd --vocabulary sd --autoencoder sd --prompts prompts.txt --images 3 --json";
    let own = json(&world.prints(&format!("evaluate {student} {own}")));
    let results = fs::read_to_string(world.path("sweeps/results.jsonl")).unwrap();
    let found = results.lines().map(json).find(|line| {
        let work = &line["identity"]["work"];
        work["seed"] == 1 && work["recipe"]["learning-rate"] == 1e-3
    });
    let found = found.unwrap();
    assert_eq!(
        found["samples"][0]["paired"],
        own["paired"]["latents"]["rms"]
    );
    assert_eq!(found["samples"][0]["pixels"], own["paired"]["rms"]);
    assert!(found["samples"][0].get("frechet").is_none());
    // Nothing is done again, and the pages say what it is.
    let again = world.prints("sweep sweep.toml --out sweeps --dry-run");
    assert!(
        again.contains("learning-rate = 0.001: measured already"),
        "{again}"
    );
    let page = fs::read_to_string(world.path("sweeps/sweep/report.html")).unwrap();
    assert!(page.contains("least distance to the teacher's latents"));
    // Other texts, or no pictures, are other figures.
    fs::write(world.path("sweep.toml"), format!("pixels = false\n{sweep}")).unwrap();
    let said = world.prints("sweep sweep.toml --out sweeps");
    assert_eq!(rows(&said)[0][4..6], ["latents", "seeds"]);
    for (from, to, word) in [
        ("prompts = 'prompts.txt'\n", "", "prompts = \"FILE\""),
        (
            "pairs = 3",
            "pairs = 3\nimages = 9",
            "`images` is for Frechet distances",
        ),
        ("pairs = 3", "pairs = 3\ndirections = 2", "`directions`"),
        (
            "pairs = 3",
            "pairs = 3\nclip = 'none'\npixels = false",
            "leave out pixels = false",
        ),
        (
            "[grid]\n",
            "[grid]\nguidance = [1.0, 7.5]\n",
            "a sweep for each",
        ),
        ("teacher = 'sd'\n", "", "`prompts` is for latent teachers"),
    ] {
        fs::write(world.path("bad.toml"), sweep.replace(from, to)).unwrap();
        world.says("sweep bad.toml --out bad", 2, word);
    }
}

#[test]
fn a_sweep_of_a_latent_model_without_texts() {
    let world = World::new();
    ours(&world);
    fs::write(world.path("ldm.toml"), LDM).unwrap();
    let sweep = "title = 'x'\nrecipe = 'ldm.toml'\nteacher = 'teacher.safetensors'\npairs = 4\n[grid]\nsubsteps = [1, 2]\n";
    fs::write(world.path("sweep.toml"), sweep).unwrap();
    let said = world.prints("sweep sweep.toml --out sweeps");
    // Nothing says where its autoencoder is: latents alone.
    assert_eq!(rows(&said)[0][4..6], ["latents", "seeds"], "{said}");
    let decoded = format!("autoencoder = 'ldm.safetensors'\n{sweep}");
    fs::write(world.path("sweep.toml"), decoded).unwrap();
    let said = world.prints("sweep sweep.toml --out sweeps");
    assert_eq!(rows(&said)[0][4..6], ["latents", "pixels"], "{said}");
    let wanted = format!("pixels = true\n{sweep}");
    fs::write(world.path("sweep.toml"), wanted).unwrap();
    world.says(
        "sweep sweep.toml --out sweeps",
        2,
        "text-encoder and vocabulary",
    );
}

#[test]
fn a_recipe_of_a_text_model_is_found_by_latents() {
    let world = world();
    let tune = "tune --teacher sd --nfe 2 --recipe sd.toml --prompts prompts.txt --budget 600 --images 2 --candidates 2 --out tune";
    let said = world.prints(tune);
    assert!(said.contains("paired distance of latents"), "{said}");
    let student = "evaluate tune/student.safetensors --paired sd --prompts prompts.txt --seeds 1000000 --images 2 --latents --json";
    let found = json(&world.prints(&format!("{student} --vocabulary sd --text-encoder sd")));
    let rms = found["paired"]["latents"]["rms"].as_f64().unwrap();
    let recipe = fs::read_to_string(world.path("tune/recipe.toml")).unwrap();
    let first = recipe.lines().next().unwrap();
    let figure: f64 = first.split(' ').nth(5).unwrap().parse().unwrap();
    assert!((figure - rms).abs() < 0.006 * rms, "{first}: {rms}");
    // A student that is not guided is compared with a teacher that is not: as near as an undistilled one is to itself.
    let plain = tune.replace("--out tune", "--set guidance=1 --out plain");
    world.prints(&plain);
}
