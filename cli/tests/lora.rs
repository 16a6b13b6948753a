//! Students of adapters through the tool: distilled, resumed, sampled on their base, merged, and written for others.

#[path = "support/latent.rs"]
mod latent;
mod support;

use fewstep::model::File;
use latent::{SD, diffusers};
use std::fs;
use support::{World, facts};

const LORA: &str = "--set lora={rank=2,layers=\"all\"}";

#[test]
fn a_student_of_adapters_is_its_base_with_a_small_file() {
    let world = World::with_teacher();
    let distill = format!("distill student.toml --teacher teacher.safetensors {LORA}");
    let dry = world.prints(&format!("{distill} --dry-run"));
    assert!(
        dry.contains("[lora]") && dry.contains("predicted peak memory"),
        "{dry}"
    );
    world.prints(&format!("{distill} --out run"));
    let student = "run/student.safetensors";
    let file = File::read(&world.path(student)).unwrap();
    assert!(file.tensors.keys().all(|name| name.contains(".lora_")));
    world.prints(&format!("{distill} --out part --stop-after 3"));
    world.prints(&format!("{distill} --out part --resume"));
    assert!(world.bytes("part/student.safetensors") == world.bytes(student));
    let facts = facts(&world, student);
    assert_eq!(facts["kind"], "student");
    assert_eq!(facts["card"]["adapter"]["rank"], 2);
    let said = facts["adapters"].as_str().unwrap();
    assert!(said.contains("layers of the denoising network"), "{said}");

    // The run notes where its base is; elsewhere it is named, and no other is taken.
    world.prints(&format!("sample {student} --seeds 0-2 --out own"));
    let own = world.pictures("own");
    assert_eq!(own.len(), 3);
    fs::create_dir(world.path("moved")).unwrap();
    fs::copy(world.path(student), world.path("moved/s.safetensors")).unwrap();
    let moved = "sample moved/s.safetensors --seeds 0-2";
    world.says(&format!("{moved} --out x"), 2, "--base");
    world.prints(&format!("{moved} --base teacher.safetensors --out there"));
    assert!(world.pictures("there") == own);
    world.prints("convert teacher.safetensors half.safetensors --dtype bf16");
    world.says(
        &format!("{moved} --base half.safetensors --out x"),
        2,
        "SHA-256",
    );
    let whole = "--base teacher.safetensors --out x";
    world.says(
        &format!("sample teacher.safetensors {whole}"),
        2,
        "whole model",
    );

    // Merged it is a model as any other, and so it is on another model of the family.
    let merge = format!("convert {student} merged.safetensors --merge");
    world.prints(&merge);
    world.prints("sample merged.safetensors --seeds 0-2 --out merged");
    assert!(world.pictures("merged") == own);
    let onnx = format!("convert {student} a.onnx --to onnx");
    world.says(&onnx, 2, "--merge");
    world.prints(&format!("{onnx} --merge"));
    world.prints("convert merged.safetensors b.onnx --to onnx");
    assert!(world.bytes("a.onnx") == world.bytes("b.onnx"));
    let on = "sample teacher.safetensors --seeds 0-2 --lora";
    let said = world.fails(&format!("{on} {student} --out on"), 0);
    assert!(
        said.contains("steps and noise levels are those of"),
        "{said}"
    );
    assert!(world.pictures("on") == own);
    world.prints(&format!("{on} {student}:0.5 --out weaker"));
    assert!(world.pictures("weaker") != own);
    world.says(&format!("{on} {student}:x --out x"), 2, "not a number");
    world.says(&format!("{on} merged.safetensors --out x"), 2, "no factors");
    let twice = format!("{on} {student} --lora part/student.safetensors --out x");
    world.says(&twice, 2, "one set of steps");

    // What makes no sense is said.
    let convert = format!("convert {student} x.safetensors");
    world.says(&convert, 2, "--merge");
    world.says(
        &format!("{convert} --base teacher.safetensors"),
        2,
        "--base is for --merge",
    );
    world.says(
        &format!("{convert} --to kohya"),
        2,
        "not Stable Diffusion's",
    );
    world.says(&format!("{convert} --to kohya --nfe 2"), 2, "--nfe");
    world.says(
        "convert teacher.safetensors x.safetensors --to kohya",
        2,
        "no adapters",
    );
    world.says(
        "convert teacher.safetensors x.safetensors --merge",
        2,
        "whole model",
    );
    world.says(
        &format!("distill student.toml --teacher {student}"),
        2,
        "--merge",
    );
    let none = "--set lora={rank=2,layers=[\"to_q\"]}";
    let refused = format!("distill student.toml --teacher teacher.safetensors {none}");
    world.says(&refused, 2, "lora.layers");
    assert!(!world.path("x.safetensors").exists() && !world.path("x").exists());
}

#[test]
fn a_stable_diffusion_student_goes_to_others_and_comes_back() {
    let world = World::new();
    diffusers(&world);
    fs::write(world.path("sd.toml"), SD).unwrap();
    fs::write(world.path("prompts.txt"), "a cat\ntwo\n").unwrap();
    let half = "--set teacher-precision=bf16 --set gradient-checkpointing=true";
    world.prints(&format!(
        "distill sd.toml --teacher sd --prompts prompts.txt {LORA} {half} --out run"
    ));
    let student = "run/student.safetensors";
    let sample = "--prompt cat --seeds 0-1 --out";
    world.prints(&format!("sample {student} {sample} own"));
    let own = world.pictures("own");
    for layout in ["kohya", "diffusers-lora"] {
        let file = format!("{layout}.safetensors");
        let said = world.fails(&format!("convert {student} {file} --to {layout}"), 0);
        assert!(said.contains("Euler") && said.contains("sigmas"), "{said}");
        // On its base it is the student; numbers are rounded where alpha / rank is multiplied out.
        world.prints(&format!("sample {file} --base sd {sample} {layout}"));
        for (name, pixels) in world.pictures(layout) {
            let pairs = pixels.iter().zip(&own[&name]);
            assert!(
                pairs.into_iter().all(|(a, b)| a.abs_diff(*b) <= 1),
                "{layout}"
            );
        }
        let on = format!("sample sd --lora {file} {sample} on-{layout}");
        let said = world.fails(&on, 0);
        assert!(said.contains("steps and noise levels"), "{said}");
        assert!(world.pictures(format!("on-{layout}")) == world.pictures(layout));
        let back = format!("convert {file} back-{layout}.safetensors --to kohya");
        world.prints(&back);
    }
    // Adapters of a text encoder are not applied in silence.
    let path = world.path("kohya.safetensors");
    let mut file = File::read(&path).unwrap();
    for (end, shape) in [("lora_down.weight", [2, 64]), ("lora_up.weight", [32, 2])] {
        let name = format!("lora_te_text_model_encoder_layers_0_mlp_fc1.{end}");
        let data = burn::tensor::TensorData::new(vec![0.1f32; shape[0] * shape[1]], shape);
        file.tensors.insert(name, data);
    }
    file.json = None;
    file.write(&path).unwrap();
    let on = format!("sample sd --lora kohya.safetensors {sample} x --steps 2");
    world.says(&on, 2, "--lora-without-text");
    world.prints(&format!("{on} --lora-without-text"));
    // Without a card a file says neither its model nor its steps.
    world.says(
        &format!("sample kohya.safetensors {sample} y"),
        2,
        "--lora kohya.safetensors",
    );
    let convert = "convert kohya.safetensors z.safetensors --to diffusers-lora --lora-without-text";
    world.says(convert, 2, "--base");
    world.prints(&format!("{convert} --base sd"));
}
