//! The tool with latent models of the published sizes and random weights in half precision: a picture, and a round of
//! distillation that takes the memory which its dry run forecast. Minutes and gigabytes, so each is run by hand, alone:
//!
//! ```text
//! cargo test --release --workspace --test full_size_tool -- --ignored --nocapture --exact lsun_bedroom
//! ```
//!
//! Stable Diffusion needs CLIP's vocabulary, `bpe_simple_vocab_16e6.txt`, in `FEWSTEP_CLIP_VOCABULARY`.

#![cfg(target_os = "linux")]

#[path = "support/formula.rs"]
mod formula;
#[path = "support/latent.rs"]
mod latent;
#[path = "support/peak.rs"]
mod peak;
mod support;

use burn::tensor::DType;
use fewstep::autoencoder::AutoencoderConfig;
use fewstep::network::{LatentUNetConfig, NetworkConfig};
use fewstep::text::TextEncoderConfig;
use fewstep::workload::Preset;
use latent::{betas, diffusers_as, tensors_as, unet_as, write};
use peak::{forecast, run};
use support::World;

const PICTURE: f64 = 8e9;
const ROUND: f64 = 20e9;
/// Of a student of adapters.
const ADAPTERS: f64 = 6e9;
/// Of Stable Diffusion XL.
const PICTURE_XL: f64 = 12e9;
const ADAPTERS_XL: f64 = 16e9;
/// What loading a file may take, in times of its size.
const LOADING: f64 = 1.3;

/// A picture in four steps.
fn picture(world: &World, what: &str, arguments: &[&str], most: f64) {
    let fixed = ["--seeds", "0", "--steps", "4", "--out", "pictures"];
    let took = run(&world.path(""), &[&["sample"], arguments, &fixed].concat());
    println!("{what}: {:.0} s, {:.2e} bytes", took.seconds, took.memory);
    let pictures = world.path("pictures").read_dir().unwrap().count();
    assert!(pictures > 0);
    assert!(took.memory <= most);
}

/// A round of two trajectories, one after the other.
fn round(world: &World, what: &str, arguments: &[&str], most: f64) {
    let fixed = [
        "--set",
        "batch=2",
        "--set",
        "trajectories=2",
        "--set",
        "micro-batch=1",
        "--set",
        "gradient-checkpointing=true",
        "--set",
        "teacher-precision=\"f16\"",
    ];
    let all = [&["distill"], arguments, &fixed].concat();
    let dry = run(&world.path(""), &[&all[..], &["--dry-run"]].concat());
    let wanted = forecast(&dry.said);
    println!(
        "{what}, dry run: {:.0} s, forecast {wanted:.3e} bytes",
        dry.seconds
    );
    let took = run(&world.path(""), &[&all[..], &["--out", "run"]].concat());
    println!(
        "{what}, one round: {:.0} s, {:.3e} bytes",
        took.seconds, took.memory
    );
    assert!((wanted / took.memory - 1.0).abs() < 0.15);
    assert!(took.memory <= most);
}

fn stable_diffusion_folder(world: &World) {
    let network = Preset::StableDiffusion.network();
    let text = TextEncoderConfig::clip_vit_l14();
    diffusers_as(
        world,
        DType::F16,
        &network,
        &AutoencoderConfig::kl_f8(),
        &text,
    );
}

const PROMPT: &str = "a lighthouse in a storm";

#[test]
#[ignore = "minutes and gigabytes; see the top of the file"]
fn stable_diffusion_diffusers_picture() {
    let world = World::new();
    stable_diffusion_folder(&world);
    picture(
        &world,
        "Stable Diffusion 1.5, diffusers folder",
        &["sd", "--prompt", PROMPT, "--guidance", "7.5"],
        PICTURE,
    );
}

#[test]
#[ignore = "minutes and gigabytes; see the top of the file"]
fn stable_diffusion_compvis_picture() {
    let world = World::new();
    let mut all = unet_as(DType::F16, &Preset::StableDiffusion.network());
    all.insert("betas".into(), betas(0.00085, 0.012));
    let keys = AutoencoderConfig::kl_f8().keys().unwrap();
    all.extend(tensors_as(DType::F16, "first_stage_model.", &keys));
    let keys = TextEncoderConfig::clip_vit_l14().keys().unwrap();
    all.extend(tensors_as(
        DType::F16,
        "cond_stage_model.transformer.",
        &keys,
    ));
    write(&world.path("sd.safetensors"), all);
    picture(
        &world,
        "Stable Diffusion 1.5, CompVis file",
        &["sd.safetensors", "--prompt", PROMPT, "--guidance", "7.5"],
        PICTURE,
    );
}

#[test]
#[ignore = "minutes and 18 GB; see the top of the file"]
fn stable_diffusion_round() {
    let world = World::new();
    stable_diffusion_folder(&world);
    std::fs::write(world.path("prompts.txt"), "a cat\na dog\n").unwrap();
    // Fewer substeps than the paper's 4, for time: they change no memory.
    let settings = [
        "sd15-nfe2",
        "--teacher",
        "sd",
        "--prompts",
        "prompts.txt",
        "--set",
        "substeps=1",
    ];
    round(&world, "Stable Diffusion 1.5", &settings, ROUND);
}

#[test]
#[ignore = "minutes and 6 GB; see the top of the file"]
fn stable_diffusion_adapters() {
    let world = World::new();
    stable_diffusion_folder(&world);
    // No previews: they take more time than the round, and less memory.
    std::fs::remove_dir_all(world.path("sd/vae")).unwrap();
    std::fs::write(world.path("prompts.txt"), "a cat\na dog\n").unwrap();
    let settings = [
        "sd15-nfe2-lora",
        "--teacher",
        "sd",
        "--prompts",
        "prompts.txt",
        "--set",
        "substeps=1",
    ];
    round(
        &world,
        "Stable Diffusion 1.5, adapters",
        &settings,
        ADAPTERS,
    );
}

/// `xl.safetensors`, all parts under the original names in half precision, 6.9 GB. Numbers of a short cycle: drawing as many takes
/// minutes, and no time or memory depends on them.
fn xl(world: &World) -> f64 {
    let config = LatentUNetConfig::stable_diffusion_xl();
    let keys = NetworkConfig::LatentUnet(config).keys();
    let mut all: Vec<(String, Vec<usize>)> = Vec::new();
    all.extend(keys.into_iter().map(|key| (key.name, key.shape)));
    let mut add = |start: &str, keys: Vec<(String, Vec<usize>)>| {
        all.extend(
            keys.into_iter()
                .map(|(name, shape)| (format!("{start}{name}"), shape)),
        );
    };
    add(
        "first_stage_model.",
        AutoencoderConfig::kl_f8().keys().unwrap(),
    );
    let first = TextEncoderConfig::clip_vit_l14();
    add(
        "conditioner.embedders.0.transformer.",
        first.keys().unwrap(),
    );
    let second = TextEncoderConfig {
        width: 1280,
        inner_width: 5120,
        layers: 32,
        heads: 20,
        ..first
    };
    add(
        "conditioner.embedders.1.model.",
        second.keys_with(Some(1280)).unwrap(),
    );
    let path = world.path("xl.safetensors");
    formula::write(&path, &all);
    path.metadata().unwrap().len() as f64
}

#[test]
#[ignore = "minutes, 9 GB of memory and 7 of disk; see the top of the file"]
fn stable_diffusion_xl_loading() {
    let world = World::new();
    let size = xl(&world);
    // A call of the network on the smallest picture takes next to nothing besides.
    let arguments = [
        "--prompt",
        PROMPT,
        "--seeds",
        "0",
        "--steps",
        "1",
        "--guidance",
        "1",
    ];
    let small = ["--size", "64x64", "--latents", "--out", "latents"];
    let all = [&["sample", "xl.safetensors"], &arguments[..], &small].concat();
    let took = run(&world.path(""), &all);
    let ratio = took.memory / size;
    println!(
        "Stable Diffusion XL, single file of {size:.3e} bytes: {:.0} s, {:.3e} bytes, {ratio:.2} of the file",
        took.seconds, took.memory
    );
    assert!(ratio <= LOADING, "{ratio}");
}

#[test]
#[ignore = "an hour, 12 GB of memory and 7 of disk; see the top of the file"]
fn stable_diffusion_xl_picture() {
    let world = World::new();
    xl(&world);
    picture(
        &world,
        "Stable Diffusion XL, single file, 1024 x 1024",
        &["xl.safetensors", "--prompt", PROMPT],
        PICTURE_XL,
    );
}

#[test]
#[ignore = "an hour, 16 GB of memory and 7 of disk; see the top of the file"]
fn stable_diffusion_xl_adapters() {
    let world = World::new();
    xl(&world);
    std::fs::write(world.path("prompts.txt"), "a cat\na dog\n").unwrap();
    let settings = [
        "sdxl-nfe2-lora",
        "--teacher",
        "xl.safetensors",
        "--prompts",
        "prompts.txt",
        "--set",
        "substeps=1",
    ];
    round(
        &world,
        "Stable Diffusion XL, adapters",
        &settings,
        ADAPTERS_XL,
    );
}

#[test]
#[ignore = "minutes and gigabytes; see the top of the file"]
fn lsun_bedroom() {
    let world = World::new();
    let mut all = unet_as(DType::F16, &Preset::LsunBedroom.network());
    all.insert("betas".into(), betas(0.0015, 0.0195));
    let keys = AutoencoderConfig::vq_f4().keys().unwrap();
    all.extend(tensors_as(DType::F16, "first_stage_model.", &keys));
    write(&world.path("ldm.safetensors"), all);
    let what = "LSUN Bedroom, CompVis file";
    picture(&world, what, &["ldm.safetensors"], PICTURE);
    round(
        &world,
        "LSUN Bedroom",
        &["ldm-bedroom-nfe2", "--teacher", "ldm.safetensors"],
        ROUND,
    );
}
