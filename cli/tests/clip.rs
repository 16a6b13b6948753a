//! `evaluate --metrics clip`, with the small CLIP models of the golden cases.

#[path = "support/latent.rs"]
mod latent;
mod support;

use image::{ImageBuffer, Luma, Rgb, Rgba};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use support::World;

/// The folder of golden cases, if it is there.
fn golden(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared")
        .join(name);
    if path.is_dir() {
        return Some(path);
    }
    let on_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!on_ci, "the golden cases are missing: {}", path.display());
    eprintln!("skipped: no golden cases at {}", path.display());
    None
}

/// A world with `clip`, a folder as transformers writes it, `openclip.safetensors`, `tokenizer`, and pictures of several sizes.
fn world() -> Option<World> {
    let (modern, latent) = (golden("golden-modern")?, golden("golden-latent")?);
    let world = World::new();
    for folder in ["clip", "tokenizer", "pictures"] {
        fs::create_dir(world.path(folder)).unwrap();
    }
    for (from, to) in [
        ("weights_clip_joint.safetensors", "clip/model.safetensors"),
        ("weights_openclip_joint.safetensors", "openclip.safetensors"),
    ] {
        fs::copy(modern.join(from), world.path(to)).unwrap();
    }
    let half = r#"{"num_attention_heads": 4, "hidden_act": "quick_gelu"}"#;
    let config = format!(r#"{{"text_config": {half}, "vision_config": {half}}}"#);
    fs::write(world.path("clip/config.json"), config).unwrap();
    let open = r#"{"model_cfg": {"quick_gelu": true, "vision_cfg": {"width": 48, "head_width": 12}, "text_cfg": {"heads": 4}}}"#;
    fs::write(world.path("open_clip_config.json"), open).unwrap();
    for name in ["vocab.json", "merges.txt"] {
        for folder in ["clip", "tokenizer"] {
            let to = world.path(folder).join(name);
            fs::copy(latent.join("diffusers_sd/tokenizer").join(name), to).unwrap();
        }
    }
    for i in 0..7u32 {
        let rgb = ImageBuffer::from_fn(20 + 9 * i, 40, |x, y| {
            Rgb([x * 3 + i, y * 5, x * y % 200].map(|level| level as u8))
        });
        rgb.save(world.path(format!("pictures/{i:06}.png")))
            .unwrap();
    }
    fs::write(
        world.path("prompts.txt"),
        "a cat\nthe old house\na red car at night\n",
    )
    .unwrap();
    Some(world)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn pictures_are_compared_with_their_prompts() {
    let Some(world) = world() else { return };
    let evaluate = "evaluate pictures --metrics clip --prompts prompts.txt --clip clip";
    let facts = json(&world.prints(&format!("{evaluate} --json")));
    assert_eq!(
        (&facts["images"], &facts["clip"]["images"]),
        (&7.into(), &7.into())
    );
    let mean = facts["clip"]["mean"].as_f64().unwrap();
    let error = facts["clip"]["error"].as_f64().unwrap();
    assert!(
        mean.abs() <= 100.0 && error > 0.0 && error < 100.0,
        "{facts}"
    );
    assert_eq!(facts["clip"]["sha256"].as_str().unwrap().len(), 64);
    assert!(facts.get("features").is_none(), "{facts}");
    let text = world.prints(evaluate);
    let line = format!(
        "CLIP score        {mean:.4} +- {error:.4} over 7 images (100 x cosine, a CLIP model of width 48"
    );
    assert!(text.contains(&line) && text.contains("of clip)"), "{text}");
    // Names that are numbers are seeds: 3 shows the first prompt again. The mean is that of the pictures one by one.
    let prompts = ["a cat", "the old house", "a red car at night"];
    let mut sum = 0.0;
    for i in 0..7 {
        let one = world.path("one");
        fs::create_dir(&one).unwrap();
        let name = format!("{i:06}.png");
        fs::copy(world.path("pictures").join(&name), one.join("x.png")).unwrap();
        fs::write(world.path("one.txt"), prompts[i % 3]).unwrap();
        let single = "evaluate one --metrics clip --prompts one.txt --clip clip --json";
        let single = json(&world.prints(single));
        assert!(single["clip"]["error"].is_null());
        sum += single["clip"]["mean"].as_f64().unwrap();
        fs::remove_dir_all(one).unwrap();
    }
    assert!(
        (sum / 7.0 - mean).abs() < 1e-4 * (1.0 + mean.abs()),
        "{sum} {mean}"
    );
    // The same weights under OpenCLIP's names are another file, but nearly the same model: its centre is cut otherwise.
    let open = format!(
        "{} --vocabulary tokenizer --json",
        evaluate.replace("--clip clip", "--clip openclip.safetensors")
    );
    let open = json(&world.prints(&open));
    assert_ne!(open["clip"]["sha256"], facts["clip"]["sha256"]);

    // Grey is three equal channels; alpha and 16 bits are refused.
    let grey = ImageBuffer::from_fn(31, 31, |x, y| Luma([(x * 7 + y) as u8]));
    let same = ImageBuffer::from_fn(31, 31, |x, y| Rgb([(x * 7 + y) as u8; 3]));
    let mut means = Vec::new();
    for picture in [image::DynamicImage::from(grey), same.into()] {
        fs::create_dir(world.path("g")).unwrap();
        picture.save(world.path("g/0.png")).unwrap();
        let text = world.prints(
            "evaluate g --metrics clip --prompt a --clip clip --json"
                .replace('\'', "")
                .as_str(),
        );
        means.push(json(&text)["clip"]["mean"].clone());
        fs::remove_dir_all(world.path("g")).unwrap();
    }
    assert_eq!(means[0], means[1]);
    let clear = ImageBuffer::from_pixel(9, 9, Rgba([1u8, 2, 3, 4]));
    clear.save(world.path("pictures/000007.png")).unwrap();
    world.says(evaluate, 2, "alpha channel");
    fs::remove_file(world.path("pictures/000007.png")).unwrap();

    // What is missing is said, with what to do.
    fs::write(world.path("two.txt"), "a\nb\n").unwrap();
    fs::rename(
        world.path("pictures/000000.png"),
        world.path("pictures/first.png"),
    )
    .unwrap();
    for (typed, word) in [
        ("evaluate pictures --metrics clip --clip clip", "--prompts"),
        (
            "evaluate pictures --metrics clip --prompts two.txt",
            "fewstep fetch clip",
        ),
        (
            "evaluate pictures --metrics clip --prompts two.txt --clip clip",
            "holds 7 pictures, and there are 2 prompts",
        ),
        (
            "evaluate pictures --metrics clip --prompts two.txt --clip openclip.safetensors",
            "--vocabulary",
        ),
        (
            "evaluate pictures --metrics frechet,clip --prompts two.txt --clip clip",
            "--reference",
        ),
        (
            "evaluate pictures --write-statistics x.npz --prompts two.txt",
            "--metrics clip",
        ),
    ] {
        world.says(typed, 2, word);
    }
}

#[test]
fn a_text_models_images_are_compared_with_what_it_was_told() {
    let Some(world) = world() else { return };
    latent::diffusers(&world);
    let draw = "--prompts prompts.txt --steps 2 --solver euler --guidance 1";
    let evaluate = format!("evaluate sd --metrics clip {draw} --images 5 --clip clip --json");
    let facts = json(&world.prints(&evaluate));
    assert_eq!(
        (&facts["clip"]["images"], &facts["images"]),
        (&5.into(), &5.into())
    );
    // The same as files.
    world.prints(&format!(
        "sample sd {draw} --seeds 0-4 --batch 1 --out drawn"
    ));
    let files = "evaluate drawn --metrics clip --prompts prompts.txt --clip clip --json";
    let files = json(&world.prints(files));
    let of = |facts: &Value| facts["clip"]["mean"].as_f64().unwrap();
    assert!((of(&facts) - of(&files)).abs() < 1e-3, "{facts} {files}");
    // Beside its teacher in the same pass: neither figure changes the other.
    let paired = json(&world.prints(&format!("{evaluate} --paired sd")));
    assert_eq!(paired["clip"], facts["clip"]);
    let alone = format!("evaluate sd {draw} --images 5 --paired sd --json");
    assert_eq!(json(&world.prints(&alone))["paired"], paired["paired"]);
    assert!(paired["paired"]["latents"]["rms"].as_f64().unwrap() > 0.0);
    let warned = world.fails(&format!("{evaluate} --reference pictures"), 0);
    assert!(
        warned.contains("--reference pictures is not used"),
        "{warned}"
    );
}
