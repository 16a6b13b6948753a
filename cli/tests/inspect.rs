//! What `inspect` prints for people, line by line.

#[path = "support/latent.rs"]
mod latent;
mod support;

use support::World;

const TEACHER: &str = "\
kind            teacher
network         DDPM++ (song-unet)
  images        32 x 32, 1 channel
  channels      16 at 32, 32 at 16, 32 at 8
  blocks        2 a resolution
  attention     at 8
  classes       10
  text          none
  step branch   no
  dropout       0
multiply-adds   104,955,904 an image
sigma-data      0.5
sigma-range     80 to 0.006
evaluations     12
sampling        12 steps of DPM-Solver++(3M)
  levels        80, 51.16, 31.73, 19, 10.93, 5.994, 3.107, 1.505, 0.6699, 0.2683, 0.09361, 0.0271, 0.006
  guidance      none
  spacing       kind = polynomial, rho = 7
class-names     none in the file; `sample --class` takes a number, 0 to 9
trained-on      400,000 images
recipe
  adam.beta1        0.9
  adam.beta2        0.999
  adam.epsilon      1e-8
  average-half-life 10000
  batch             64
  decay-from        200000
  flip              false
  images            400000
  learning-rate     0.002
  level-deviation   1.4
  level-mean        -0.4
  seed              1
  warmup            6400
version         0.1.0
format          1
card-from       in the file
tensors         274
parameters      441,473
dtype           f32 (274)
globals         none
bytes           1,794,244
";

/// What is printed, without the hash.
fn inspected(world: &World, file: &str) -> String {
    let text = world.prints(&format!("inspect {file}"));
    assert!(!text.contains(['{', '}', '"']), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with("sha256 "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_model_is_described_in_a_table() {
    let world = World::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap();
    let asset = root.join("assets/fashion-mnist-teacher.safetensors");
    std::fs::copy(asset, world.path("t.safetensors")).unwrap();
    let text = inspected(&world, "t.safetensors");
    assert_eq!(text, TEACHER, "{text}");
    // The machine's form holds everything.
    let json = world.prints("inspect t.safetensors --json");
    let facts: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(facts["network"]["kind"], "song-unet");
    assert_eq!(facts["network"], facts["card"]["network"]);
}

#[test]
fn latent_models_and_states_are_described_in_tables() {
    let world = World::new();
    latent::diffusers(&world);
    let text = inspected(&world, "sd");
    for line in [
        "network         Stable Diffusion's U-Net (latent-unet)",
        "  latents       8 x 8, 4 channels",
        "  channels      32 at 8, 64 at 4",
        "  attention     at 4, 8 heads, 1 deep",
        "  text          tokens 64 wide",
        "  levels        ",
        "autoencoder",
        "text-encoder",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    world.prints("train teacher.toml --data data --out run --set images=16");
    let text = inspected(&world, "run/state.safetensors");
    for line in [
        "kind            training state",
        "network         DDPM++ (song-unet)",
        "  images        8 x 8, 1 channel\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}
