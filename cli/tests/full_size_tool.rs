//! The tool with latent models of the published sizes and random weights in half precision: a picture, and a round of
//! distillation that takes the memory which its dry run forecast. Minutes and gigabytes, so each is run by hand, alone:
//!
//! ```text
//! cargo test --release --workspace --test full_size_tool -- --ignored --nocapture --exact lsun_bedroom
//! ```
//!
//! Stable Diffusion needs CLIP's vocabulary, `bpe_simple_vocab_16e6.txt`, in `FEWSTEP_CLIP_VOCABULARY`.

#![cfg(target_os = "linux")]

#[path = "support/latent.rs"]
mod latent;
#[path = "support/peak.rs"]
mod peak;
mod support;

use burn::tensor::DType;
use fewstep::autoencoder::AutoencoderConfig;
use fewstep::text::TextEncoderConfig;
use fewstep::workload::Preset;
use latent::{betas, diffusers_as, tensors_as, unet_as, write};
use peak::{forecast, run};
use support::World;

const PICTURE: f64 = 8e9;
const ROUND: f64 = 20e9;
/// Of a student of adapters.
const ADAPTERS: f64 = 6e9;

/// A picture in four steps.
fn picture(world: &World, what: &str, arguments: &[&str]) {
    let fixed = ["--seeds", "0", "--steps", "4", "--out", "pictures"];
    let took = run(&world.path(""), &[&["sample"], arguments, &fixed].concat());
    println!("{what}: {:.0} s, {:.2e} bytes", took.seconds, took.memory);
    let pictures = world.path("pictures").read_dir().unwrap().count();
    assert!(pictures > 0);
    assert!(took.memory <= PICTURE);
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
        "sd15-nfe2",
        "--teacher",
        "sd",
        "--prompts",
        "prompts.txt",
        "--set",
        "substeps=1",
        "--set",
        "lora={ rank = 64, layers = \"attention\" }",
    ];
    round(
        &world,
        "Stable Diffusion 1.5, adapters",
        &settings,
        ADAPTERS,
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
    picture(&world, "LSUN Bedroom, CompVis file", &["ldm.safetensors"]);
    round(
        &world,
        "LSUN Bedroom",
        &["ldm-bedroom-nfe2", "--teacher", "ldm.safetensors"],
        ROUND,
    );
}
