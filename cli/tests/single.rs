//! Students as single files: every part under the name that it has in a published one, and the same pictures from there. That
//! diffusers reads them is in `tests/python/folder.py`.

#[path = "support/family.rs"]
mod family;
#[path = "support/latent.rs"]
mod latent;
mod support;

use family::Family;
use fewstep::import::Checkpoint;
use fewstep::model::File;
use std::fs;
use support::World;

fn distilled(world: &World, teacher: &str) {
    fs::write(world.path("prompts.txt"), "a cat\ntwo\n").unwrap();
    let recipe = latent::SD.replace("guidance = 7.5", "guidance = 3");
    fs::write(world.path("recipe.toml"), recipe).unwrap();
    world.prints(&format!(
        "distill recipe.toml --teacher {teacher} --prompts prompts.txt --out run"
    ));
}

fn weights(world: &World, file: &str) -> latent::Tensors {
    File::read(&world.path(file)).unwrap().tensors
}

const CONVERT: &str = "convert run/student.safetensors one.safetensors --to single-file";

/// The parts of the folder become those of the file that was made of the same numbers under the official names.
#[test]
fn parts_have_their_official_names() {
    for family in [Family::Second, Family::Xl] {
        let world = World::new();
        family::both(&world, family);
        distilled(&world, "folder");
        let said = world.fails(&format!("{CONVERT} --dtype f32"), 0);
        for word in [
            "Euler, 2 steps, the first of which",
            "sigmas 14.6",
            "guidance (CFG) 3",
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
        let (one, published) = (
            weights(&world, "one.safetensors"),
            weights(&world, "single.safetensors"),
        );
        let mut unused = 0;
        for (name, wanted) in &published {
            if name.starts_with("model.diffusion_model.") {
                assert!(one.contains_key(name), "{name}");
                continue;
            }
            let got = one
                .get(name)
                .unwrap_or_else(|| panic!("{family:?} lacks {name}"));
            // Of the second model's text encoder the folder lacks a layer and a projection, which nobody uses.
            if family == Family::Second
                && (name.contains("resblocks.2.") || name.ends_with("text_projection"))
            {
                unused += 1;
                continue;
            }
            assert!(got == wanted, "{family:?} {name}");
        }
        assert_eq!(unused, if family == Family::Second { 13 } else { 0 });
        assert_eq!(one.len(), published.len(), "{family:?}");
        // From there the same pictures; the base may be the single file as well.
        let sample = "--prompt cat --seeds 0-2 --out";
        world.prints(&format!("sample run/student.safetensors {sample} own"));
        world.prints(&format!(
            "sample one.safetensors --vocabulary folder {sample} one"
        ));
        assert_eq!(world.pictures("own"), world.pictures("one"), "{family:?}");
        let other = CONVERT.replace("one.", "other.");
        world.prints(&format!("{other} --dtype f32 --base single.safetensors"));
        assert!(weights(&world, "other.safetensors") == one, "{family:?}");
        let header = Checkpoint::read(&world.path("one.safetensors"))
            .unwrap()
            .metadata;
        let (architecture, prediction) = match family {
            Family::Second => ("stable-diffusion-v2-768-v", "v"),
            Family::Xl => ("stable-diffusion-xl-v1-base", "epsilon"),
        };
        assert_eq!(header["modelspec.architecture"], architecture);
        assert_eq!(header["modelspec.prediction_type"], prediction);
        assert_eq!(header["fewstep.sigmas"].split(", ").count(), 3);
    }
}

#[test]
fn the_first_stable_diffusion_is_a_file_of_half_the_size() {
    let world = World::new();
    latent::diffusers(&world);
    distilled(&world, "sd");
    world.prints(CONVERT);
    let one = weights(&world, "one.safetensors");
    let official = latent::sd(latent::SYMBOLS);
    for (name, data) in &official {
        if name == "betas" {
            continue;
        }
        let got = one.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(got.shape(), data.shape(), "{name}");
        assert_eq!(got.dtype(), burn::tensor::DType::F16, "{name}");
    }
    assert_eq!(one.len(), official.len() - 1);
    world.says(CONVERT, 2, "exists already");
    // Without the note nothing says where the other parts are.
    fs::remove_file(world.path("run/parts.toml")).unwrap();
    let other = CONVERT.replace("one.", "other.");
    world.says(&other, 2, "--base");
    world.prints(&format!("{other} --base sd"));
    assert!(weights(&world, "other.safetensors") == one);
    let pixels = World::with_teacher();
    pixels.prints("distill student.toml --teacher teacher.safetensors --out run");
    pixels.says(CONVERT, 2, "not Stable Diffusion's");
}
