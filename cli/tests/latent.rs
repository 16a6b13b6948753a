//! Latent models through the tool: distilled, interrupted, sampled, decoded, measured.

#[path = "support/latent.rs"]
mod latent;
mod support;

use burn::tensor::{DType, Device, Tensor};
use fewstep::image::Picture;
use fewstep::import::AutoencoderFile;
use fewstep::model::File;
use latent::{LDM, SD, diffusers, ours};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};
use support::{World, copy_folder, facts};

/// A world with an unconditional model.
fn unconditional() -> World {
    let world = World::new();
    ours(&world);
    fs::write(world.path("ldm.toml"), LDM).unwrap();
    world
}

/// A world with a model of texts, and texts; the fourth is too long.
fn conditional() -> World {
    let world = World::new();
    diffusers(&world);
    fs::write(world.path("sd.toml"), SD).unwrap();
    let long = "cat ".repeat(90);
    let prompts = format!("id,text\n0,a cat\n1,\"two, three\"\n2,A  CAT on a\n3,{long}\n4,xyz\n");
    fs::write(world.path("prompts.csv"), prompts).unwrap();
    world
}

/// Starts a run, kills it once it has a checkpoint of its own, and goes on.
fn killed_and_resumed(world: &World, verb: &str, out: &str) {
    let command = format!("{verb} --out {out} --tick 1");
    let mut child = world.spawn(&command);
    let metrics = world.path(format!("{out}/metrics.jsonl"));
    let limit = Instant::now() + Duration::from_secs(120);
    while metrics.metadata().map_or(0, |m| m.len()) == 0 {
        assert!(Instant::now() < limit, "no metrics");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.prints(&format!("{command} --resume"));
}

/// The picture that the library makes of a file of latents.
fn decoded(world: &World, latents: &str, autoencoder: &str) -> Vec<u8> {
    let device = Device::flex();
    let file = File::read(&world.path(latents)).unwrap();
    let data = file.tensors["latents"].clone();
    let latents = Tensor::<3>::from_data(data, &device).unsqueeze::<4>();
    let file = AutoencoderFile::open(&world.path(autoencoder)).unwrap();
    let images = file.load(&device).unwrap().decode(latents).unwrap();
    assert_eq!(images.dtype(), DType::F32);
    Picture::all(images).unwrap().remove(0).pixels
}

#[test]
fn a_latent_model_is_distilled_killed_sampled_and_decoded() {
    let world = unconditional();
    let distill = "distill ldm.toml --teacher teacher.safetensors --autoencoder ldm.safetensors";
    world.prints(&format!("{distill} --out whole"));
    killed_and_resumed(&world, distill, "run");
    let student = world.bytes("whole/student.safetensors");
    assert!(student == world.bytes("run/student.safetensors"));
    let preview = image::open(world.path("whole/preview-0000004.png")).unwrap();
    // Four seeds, 16 x 16 each and six times as large, two rows with titles and the seeds.
    let size = (preview.width(), preview.height());
    assert_eq!(size, (4 * 108 + 12, 2 * (120 + 22) + 22));

    // The run has noted where the autoencoder is, and it must still be there.
    let [here, moved] = ["ldm.safetensors", "moved.safetensors"].map(|file| world.path(file));
    fs::rename(&here, &moved).unwrap();
    let said = world.fails("-q sample whole/student.safetensors --out a", 2);
    for word in [
        "whole/parts.toml",
        "name it with --autoencoder",
        "ldm.safetensors",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    fs::rename(&moved, &here).unwrap();
    world.prints("sample whole/student.safetensors --out a --grid");
    let pictures = world.pictures("a");
    assert_eq!(pictures.len(), 17);
    assert_eq!(pictures["000003.png"].len(), 3 * 16 * 16);
    let distinct: std::collections::BTreeSet<_> = pictures.values().collect();
    assert_eq!(distinct.len(), 17);
    let sample = "sample whole/student.safetensors --seeds 3";
    world.prints(&format!("{sample} --out b"));
    assert_eq!(world.pictures("b")["000003.png"], pictures["000003.png"]);
    world.prints(&format!("{sample} --latents --out latents"));
    let latents = facts(&world, "latents/000003.safetensors");
    assert_eq!(
        (&latents["kind"], &latents["seed"]),
        (&"latents".into(), &"3".into())
    );
    let by_hand = decoded(&world, "latents/000003.safetensors", "ldm.safetensors");
    assert_eq!(by_hand, pictures["000003.png"]);

    // Without the note one must say where it is, or do without pictures.
    fs::remove_file(world.path("whole/parts.toml")).unwrap();
    let said = world.fails(&format!("-q {sample} --out c"), 2);
    for word in [
        "whole/student.safetensors makes latents",
        "--autoencoder",
        "ldm-vq-f4",
        "--latents",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!world.path("c").exists());
    world.prints(&format!("{sample} --autoencoder ldm.safetensors --out d"));
    assert_eq!(world.pictures("d")["000003.png"], pictures["000003.png"]);
    world.prints(&format!("{sample} --latents --out e"));

    // Other sizes than the trained one, as far as they divide.
    let sized = format!("{sample} --autoencoder ldm.safetensors --size");
    world.prints(&format!("{sized} 24x16 --out wide"));
    assert_eq!(world.pictures("wide")["000003.png"].len(), 3 * 24 * 16);
    world.says(&format!("{sized} 18x16"), 2, "multiples of 4");
    world.says(&format!("{sized} 18x16"), 2, "20x16 would do");
}

#[test]
fn a_file_of_all_parts_needs_no_other() {
    let world = unconditional();
    let all = facts(&world, "ldm.safetensors");
    assert_eq!(all["autoencoder"]["bottleneck"]["codes"], 50);
    assert!(all["autoencoder"]["parameters"].as_u64().unwrap() > 100_000);
    let alone = facts(&world, "teacher.safetensors");
    assert!(
        alone["autoencoder"]
            .as_str()
            .unwrap()
            .contains("--autoencoder")
    );
    assert!(alone.get("text-encoder").is_none());
    let sample = "sample ldm.safetensors --seeds 0-1 --size 16x16 --steps 3";
    world.prints(&format!("{sample} --out pictures"));
    world.prints(&format!("{sample} --out latents --latents"));
    for seed in ["000000", "000001"] {
        let by_hand = decoded(
            &world,
            &format!("latents/{seed}.safetensors"),
            "ldm.safetensors",
        );
        assert_eq!(world.pictures("pictures")[&format!("{seed}.png")], by_hand);
    }
    // Pictures of a latent model are decoded before they are measured.
    world.prints("train features.toml --data data --out net --set size=16 --set channels=3");
    world.prints("sample teacher.safetensors --autoencoder ldm.safetensors --out drawn");
    let evaluate = |what: &str| -> Value {
        let features = "--features net/features.safetensors --images 16 --json";
        serde_json::from_str(&world.prints(&format!("evaluate {what} {features}"))).unwrap()
    };
    let model = "teacher.safetensors --autoencoder ldm.safetensors";
    let of_model = evaluate(&format!("{model} --reference drawn --metrics kernel"));
    let of_files = evaluate("drawn --reference drawn --metrics kernel");
    assert_eq!(of_model["kernel"], of_files["kernel"]);
    let paired = evaluate(&format!("{model} --steps 2 --paired teacher.safetensors"));
    assert!(paired["paired"]["rms"].as_f64().unwrap() > 0.0, "{paired}");
    // Pixels are compared without features, and others are not asked for.
    let pixels = format!("evaluate {model} --steps 2 --paired teacher.safetensors --images 2");
    assert!(world.prints(&pixels).contains("paired distance"));
    world.says(
        &pixels.replace("--paired teacher.safetensors", "--reference drawn"),
        2,
        "are 3 x 16 x 16",
    );
    world.says(
        "evaluate teacher.safetensors --features net/features.safetensors --paired teacher.safetensors",
        2,
        "--autoencoder",
    );
}

#[test]
fn a_stable_diffusion_is_distilled_with_prompts_and_goes_on_with_the_same_only() {
    let world = conditional();
    let distill = "distill sd.toml --teacher sd --prompts prompts.csv";
    let dry = world.prints(&format!("{distill} --dry-run"));
    assert!(
        dry.contains("# prompts: 5, embedded into runs/sd/embeddings"),
        "{dry}"
    );
    assert!(!world.path("embeddings").exists() && !world.path("runs").exists());

    let said = world.fails(&format!("{distill} --out whole"), 0);
    assert!(
        said.contains("embeddings in whole/embeddings: 0 read, 6 computed"),
        "{said}"
    );
    assert!(!world.path("embeddings").exists());
    let cut = "prompt 4 has more than 77 tokens and is cut off at character 300: ";
    assert!(said.contains(cut), "{said}");
    killed_and_resumed(&world, distill, "run");
    let student = world.bytes("whole/student.safetensors");
    assert!(student == world.bytes("run/student.safetensors"));
    assert!(world.path("whole/preview-0000004.png").exists());
    let recipe = String::from_utf8(world.bytes("whole/recipe.toml")).unwrap();
    assert!(recipe.contains("prompts = \""), "{recipe}");

    // With the text encoder's work done, and with other prompts.
    let part = format!("{distill} --out part --embeddings whole/embeddings");
    let said = world.fails(&format!("{part} --stop-after 2"), 0);
    assert!(said.contains("6 read, 0 computed"), "{said}");
    fs::write(world.path("other.txt"), "a cat\nxyz\n").unwrap();
    let other = part.replace("prompts.csv", "other.txt");
    world.says(
        &format!("{other} --resume"),
        2,
        "started with other prompts",
    );
    let said = world.fails(&format!("{part} --resume --embedding-type f16"), 2);
    assert!(said.contains("started with other prompts"), "{said}");
    world.prints(&format!("{part} --resume"));
    assert!(student == world.bytes("part/student.safetensors"));
    world.prints(&other.replace("--out part", "--out other"));
    assert!(student != world.bytes("other/student.safetensors"));
    // The recipe of a run names its prompts.
    let again = "distill whole/recipe.toml --teacher sd --out again --prompts";
    world.says(
        &format!("{again} other.txt"),
        2,
        "the prompts of the recipe",
    );
    assert!(!world.path("again/state.safetensors").exists());
    world.prints(&format!("{again} prompts.csv"));
    assert!(student == world.bytes("again/student.safetensors"));

    // A teacher that is guided needs no guidance of its student.
    let set = "--set guidance=1 --set teacher-guidance=4 --set trajectories=3";
    world.prints(&format!("{distill} {set} --out taught"));
    let sample = "sample taught/student.safetensors --prompt cat";
    let said = world.fails(&format!("{sample} --out taught/a"), 0);
    assert!(!said.contains("guidance"), "{said}");
    world.says(
        &format!("{sample} --guidance 3"),
        2,
        "distilled at guidance 4",
    );
    world.prints(&format!("{sample} --guidance 3 --override --out taught/b"));
}

#[test]
fn a_seed_shows_its_prompt() {
    let world = conditional();
    world.prints("distill sd.toml --teacher sd --prompts prompts.csv --out run");
    let sample = "sample run/student.safetensors";
    world.prints(&format!("{sample} --prompts prompts.csv --out all"));
    let all = world.pictures("all");
    assert_eq!(all.len(), 5);
    assert_eq!(all["000004.png"].len(), 3 * 16 * 16);
    // The prompt of a seed, alone: seed 9 takes the last of five, as seed 4 does.
    let alone = |prompt: &str, seed: u64, more: &str| {
        let out = format!("s{seed}{}", more.replace([' ', '.'], "-"));
        let mut command = world.run(&format!("{sample} --seeds {seed} --out {out} {more}"));
        let output = command.args(["--prompt", prompt]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}");
        (
            world
                .pictures(&out)
                .remove(&format!("{seed:06}.png"))
                .unwrap(),
            error,
        )
    };
    assert_eq!(alone("two, three", 1, "").0, all["000001.png"]);
    assert_eq!(alone("xyz", 4, "").0, all["000004.png"]);
    world.prints(&format!(
        "{sample} --prompts prompts.csv --seeds 9 --out nine"
    ));
    assert_eq!(world.pictures("nine")["000009.png"], alone("xyz", 9, "").0);
    // What is asked for counts: another text, another weight, another text to move away from.
    let (guided, said) = alone("a cat", 0, "");
    assert_eq!(guided, all["000000.png"]);
    assert!(said.contains("guidance 7.5"), "{said}");
    assert_ne!(alone("a dog", 0, "--guidance 7.5").0, guided);
    assert_ne!(alone("a cat", 0, "--guidance 2").0, guided);
    let (plain, said) = alone("a cat", 0, "--guidance 1");
    assert!(plain != guided && !said.contains("guidance"), "{said}");
    assert_ne!(alone("a cat", 0, "--negative dog").0, guided);
    let png = world.bytes("s0/000000.png");
    let png = String::from_utf8_lossy(&png);
    for word in ["prompt\0a cat", "negative\0", "guidance\x007.5"] {
        assert!(png.contains(word), "{word:?}");
    }
    // One prompt is one picture unless seeds say otherwise.
    world.prints(&format!("{sample} --prompt cat --out one"));
    assert_eq!(world.pictures("one").len(), 1);

    // Out to a folder of diffusers, and the same pictures from there.
    copy_folder(&world.path("sd"), &world.path("exported"));
    world.prints("convert run/student.safetensors exported --to diffusers --overwrite");
    world.prints("sample exported --prompts prompts.csv --out exported-pictures");
    assert_eq!(world.pictures("exported-pictures"), all);
    let folder = facts(&world, "exported");
    assert_eq!(folder["kind"], "student");
    assert_eq!(folder["autoencoder"]["latent-channels"], 4);
    assert_eq!(folder["text-encoder"]["positions"], 77);
    assert!(folder["vocabulary"].is_string());
}
