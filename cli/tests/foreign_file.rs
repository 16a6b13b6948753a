//! Files that are no model, given wherever the tool takes one: a line that says what they are, and status 2.

#[path = "support/latent.rs"]
mod latent;
mod support;

use latent::{diffusers, ours};
use std::fs;
use support::World;

#[test]
fn what_is_given_in_place_of_a_model_is_named() {
    let world = World::new();
    ours(&world);
    diffusers(&world);
    fs::write(world.path("ldm.toml"), latent::LDM).unwrap();
    fs::write(world.path("prompts.txt"), "a cat\n").unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4265380512\n";
    fs::write(world.path("pointer.safetensors"), pointer).unwrap();
    fs::write(world.path("page.ckpt"), "<!DOCTYPE html><html>404</html>").unwrap();
    for (file, word) in [
        ("pointer.safetensors", "git lfs pull"),
        ("page.ckpt", "error page"),
    ] {
        for command in [
            format!("sample {file} --seeds 0"),
            format!("distill ldm.toml --teacher {file} --out run"),
            format!("schedule {file} --steps 3"),
            format!("convert {file} out.safetensors"),
            format!("evaluate {file} --paired teacher.safetensors"),
            format!("bench {file}"),
            format!("sample teacher.safetensors --autoencoder {file} --seeds 0"),
            format!("sample sd --prompt cat --text-encoder {file} --seeds 0"),
        ] {
            let said = world.fails(&command, 2);
            assert!(
                said.contains(word) && said.contains(file),
                "{command}: {said}"
            );
        }
    }
    // Settings that are not acted on, in any part of the folder.
    for (file, key) in [
        ("unet/config.json", "class_embed_type"),
        ("vae/config.json", "latents_mean"),
        ("text_encoder/config.json", "a_new_thing"),
    ] {
        let path = world.path(format!("sd/{file}"));
        let before = fs::read_to_string(&path).unwrap();
        let after = before.replacen('{', &format!("{{\"{key}\": 7,"), 1);
        fs::write(&path, after).unwrap();
        let said = world.fails("sample sd --prompt cat --seeds 0 --steps 2", 2);
        assert!(
            said.contains(&format!("{key} = 7")) && said.contains(file),
            "{said}"
        );
        fs::write(&path, before).unwrap();
    }
    world.prints("sample sd --prompt cat --seeds 0 --steps 2 --out fine");
}
