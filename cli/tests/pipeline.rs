//! Students as folders of diffusers' pipelines: what is in them, what is not, and what is refused. That diffusers samples from them
//! what we do is in `tests/python/folder.py`.

#[path = "support/latent.rs"]
mod latent;
mod support;

use fewstep::model::File;
use latent::{SD, diffusers};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use support::{World, copy_folder};

/// A world with a teacher in the folder `sd`, as the hub has them: with other variants and formats, and settings besides.
fn world() -> World {
    let world = World::new();
    diffusers(&world);
    let put = |name: &str, text: &str| {
        let path = world.path(format!("sd/{name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let index = r#"{"_class_name": "StableDiffusionPipeline", "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "PNDMScheduler"],
        "safety_checker": [null, null], "feature_extractor": [null, null], "requires_safety_checker": false}"#;
    put("model_index.json", index);
    put(
        "scheduler/scheduler_config.json",
        r#"{"_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear",
        "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}"#,
    );
    for name in [
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.bin",
        "unet/diffusion_pytorch_model.safetensors.index.json.old",
        "unet/diffusion_flax_model.msgpack",
        "v1-5-pruned.safetensors",
        "text_encoder/flax_model.msgpack",
        "LICENSE.md",
        ".gitattributes",
    ] {
        put(name, "teacher's");
    }
    fs::write(world.path("sd.toml"), SD).unwrap();
    fs::write(world.path("prompts.txt"), "a cat\ntwo\n").unwrap();
    world
}

/// Distils it and names the student's file.
fn student(world: &World, more: &str) -> &'static str {
    world.prints(&format!(
        "distill sd.toml --teacher sd --prompts prompts.txt --out run {more}"
    ));
    "run/student.safetensors"
}

/// All files in a folder.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        match path.is_dir() {
            true => all.extend(
                files(&path)
                    .into_iter()
                    .map(|inside| format!("{name}/{inside}")),
            ),
            false => drop(all.insert(name)),
        }
    }
    all
}

fn json(world: &World, file: &str) -> Value {
    serde_json::from_slice(&world.bytes(file)).unwrap()
}

/// All types of the numbers in it.
fn dtypes(folder: &Path) -> BTreeSet<String> {
    let weights = files(folder)
        .into_iter()
        .filter(|name| name.ends_with(".safetensors"));
    let of = |name: String| {
        let file = File::read(&folder.join(name)).unwrap();
        let dtypes = file
            .tensors
            .values()
            .map(|data| format!("{:?}", data.dtype()));
        dtypes.collect::<Vec<_>>()
    };
    weights.flat_map(of).collect()
}

#[test]
fn a_student_becomes_the_whole_folder() {
    let world = world();
    let file = student(&world, "");
    let said = world.fails(&format!("convert {file} out --to diffusers"), 0);
    for word in [
        "StableDiffusionPipeline of one network call",
        "EulerDiscreteScheduler: nothing but diffusers is needed",
        "sigmas ",
        "first noise ",
        "num_inference_steps=1",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let out = world.path("out");
    let expected = [
        "LICENSE.md",
        "README.md",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/fewstep.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ];
    // Nothing of the teacher's U-Net, in no format and variant, and no file of the teacher as a whole.
    assert_eq!(files(&out), expected.map(str::to_string).into());
    let index = json(&world, "out/model_index.json");
    assert_eq!(index["scheduler"][1], "EulerDiscreteScheduler");
    assert_eq!(index["requires_safety_checker"], false);
    let scheduler = json(&world, "out/scheduler/scheduler_config.json");
    assert_eq!(scheduler["final_sigmas_type"], "sigma_min");
    assert_eq!(dtypes(&out), ["F32".to_string()].into());
    let page = String::from_utf8(world.bytes("out/README.md")).unwrap();
    assert!(page.contains("from_pretrained(\"out\")") && page.contains("guidance_scale=7.5"));
    // Large files are the base's own, small ones are not: who edits one does not edit the other.
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let links = |name: &str| world.path(name).metadata().unwrap().nlink();
        assert_eq!(links("out/text_encoder/model.safetensors"), 2);
        assert_eq!(links("out/text_encoder/config.json"), 1);
    }
    // The same again is the same, and nothing is replaced unasked.
    let convert = format!("convert {file} out --to diffusers");
    world.says(&convert, 2, "--overwrite");
    let before = world.bytes("out/unet/diffusion_pytorch_model.safetensors");
    world.prints(&format!("{convert} --overwrite"));
    assert!(before == world.bytes("out/unet/diffusion_pytorch_model.safetensors"));
    // It is the student for us as well, to the bit.
    let sample = "--prompt cat --seeds 0-2 --out";
    world.prints(&format!("sample {file} {sample} own"));
    world.prints(&format!("sample out {sample} back"));
    assert_eq!(world.pictures("own"), world.pictures("back"));
    world.prints("convert out back.safetensors");
    let tensors = |name: &str| File::read(&world.path(name)).unwrap().tensors;
    assert!(tensors("back.safetensors") == tensors(file));
    // The weights without those that say what they were are refused, and not taken for the student's.
    fs::remove_file(world.path("out/unet/fewstep.safetensors")).unwrap();
    world.says(&format!("sample out {sample} x"), 2, "fewstep.safetensors");
}

#[test]
fn all_weights_are_of_one_type() {
    let world = world();
    let file = student(&world, "");
    world.prints(&format!("convert {file} half --to diffusers --dtype f16"));
    let half = world.path("half");
    assert_eq!(dtypes(&half), ["F16".to_string()].into());
    // What is of that type already is taken from where it is, under the name that is loaded without a variant.
    fs::rename(
        world.path("half/vae/diffusion_pytorch_model.safetensors"),
        world.path("sd/vae/diffusion_pytorch_model.fp16.safetensors"),
    )
    .unwrap();
    world.prints(&format!("convert {file} again --to diffusers --dtype f16"));
    assert_eq!(files(&half).len() + 1, files(&world.path("again")).len());
    assert!(
        world.bytes("again/vae/diffusion_pytorch_model.safetensors")
            == world.bytes("sd/vae/diffusion_pytorch_model.fp16.safetensors")
    );
    assert!(
        !world
            .path("again/vae/diffusion_pytorch_model.fp16.safetensors")
            .exists()
    );
}

#[test]
fn a_copied_folder_gets_the_student() {
    let world = world();
    let file = student(&world, "");
    fs::remove_file(world.path("run/parts.toml")).unwrap();
    let convert = format!("convert {file} out --to diffusers");
    world.says(&convert, 2, "--base");
    world.says(
        &format!("{convert} --base prompts.txt"),
        2,
        "no folder of a pipeline",
    );
    fs::create_dir_all(world.path("out/unet")).unwrap();
    fs::write(world.path("out/mine.txt"), "x").unwrap();
    world.says(
        &format!("{convert} --overwrite"),
        2,
        "no folder of diffusers",
    );
    fs::remove_dir_all(world.path("out")).unwrap();
    // In the place of the teacher's U-Net; what belongs to nobody stays.
    copy_folder(&world.path("sd"), &world.path("out"));
    fs::write(world.path("out/mine.txt"), "x").unwrap();
    world.prints(&format!("{convert} --overwrite"));
    let names = files(&world.path("out"));
    let unet: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("unet/"))
        .collect();
    assert_eq!(unet.len(), 3, "{unet:?}");
    assert!(names.contains("mine.txt"));
    let said = json(&world, "out/vae/config.json");
    let unit = said["scaling_factor"].as_f64().unwrap() / 0.18215;
    assert!((0.9..1.0).contains(&unit), "{unit}");
    // Once more, the unit is not taken twice.
    world.prints(&format!("{convert} --overwrite"));
    assert_eq!(json(&world, "out/vae/config.json"), said);
    world.prints(&format!("convert {file} two --to diffusers --base sd"));
    assert_eq!(json(&world, "two/vae/config.json"), said);
}

#[test]
fn what_has_no_scheduler_is_refused_by_name() {
    let world = world();
    let file = student(
        &world,
        "--set steps=3 --set student-solver={kind=\"ipndm\",order=2}",
    );
    let convert = format!("convert {file} out --to diffusers");
    world.says(&convert, 2, "iPNDM(2)");
    // Our own holds its steps as weights.
    world.prints(&format!(
        "convert {file} past --to diffusers --scheduler fewstep"
    ));
    let scheduler = json(&world, "past/scheduler/scheduler_config.json");
    let weights = scheduler["schedules"]["2"]["weights"].as_array().unwrap();
    assert_eq!(weights.len(), 2);
    assert!(
        weights[1].as_array().unwrap().len() == 2
            && !scheduler["schedules"]["2"]["before"].is_null()
    );
    fs::remove_dir_all(world.path("run")).unwrap();
    let file = student(&world, "--set variable-steps=[2,4]");
    world.says(
        &format!("convert {file} out --to diffusers"),
        2,
        "--nfe (1 to 3)",
    );
    world.prints(&format!(
        "convert {file} own --to diffusers --scheduler fewstep"
    ));
    let scheduler = json(&world, "own/scheduler/scheduler_config.json");
    let calls: Vec<_> = scheduler["schedules"].as_object().unwrap().keys().collect();
    assert_eq!(calls, ["1", "2", "3"]);
    assert_eq!(scheduler["step_biases"].as_object().unwrap().len(), 3);
    let index = json(&world, "own/model_index.json");
    assert_eq!(index["scheduler"][0], "fewstep.scheduler");
    world.prints(&format!("convert {file} folded --to diffusers --nfe 3"));
    assert!(!world.path("out").exists());
    world.says(
        "convert sd x --to diffusers --scheduler fewstep",
        2,
        "teacher",
    );
    world.says(
        &format!("convert {file} x.safetensors --scheduler fewstep"),
        2,
        "--to diffusers",
    );
    world.says(
        &format!("convert {file} prompts.txt --to diffusers"),
        2,
        "a folder",
    );
    // Pixel models have no names there.
    let pixels = World::with_teacher();
    pixels.prints("distill student.toml --teacher teacher.safetensors --out run");
    pixels.says(
        "convert run/student.safetensors x --to diffusers",
        2,
        "not Stable Diffusion's",
    );
}

/// A teacher is written as before, the U-Net alone, and with a base as a whole with its scheduler.
#[test]
fn a_teacher_keeps_its_scheduler() {
    let world = world();
    world.prints("convert sd teacher.safetensors");
    world.prints("convert teacher.safetensors alone --to diffusers");
    let unet = [
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ];
    assert_eq!(files(&world.path("alone")), unet.map(str::to_string).into());
    world.prints("convert teacher.safetensors whole --to diffusers --base sd");
    let index = json(&world, "whole/model_index.json");
    assert_eq!(index["scheduler"][1], "PNDMScheduler");
    assert!(world.bytes("whole/vae/config.json") == world.bytes("sd/vae/config.json"));
    assert_eq!(files(&world.path("whole/unet")).len(), 2);
}
