//! Stable Diffusion 2 and XL through the tool: read from both kinds of files, distilled, interrupted, sampled, written back.

#[path = "support/family.rs"]
mod family;
#[path = "support/latent.rs"]
mod latent;
mod support;

use burn::tensor::{DType, TensorData};
use family::Family;
use fewstep::model::File;
use serde_json::Value;
use std::fs;
use support::{World, facts};

type Pictures = std::collections::BTreeMap<String, Vec<u8>>;

const FAMILIES: [Family; 2] = [Family::Second, Family::Xl];

fn world(family: Family) -> World {
    let world = World::new();
    family::both(&world, family);
    fs::write(world.path("prompts.txt"), "a cat\ntwo, three\nxyz\n").unwrap();
    let recipe = latent::SD.replace("guidance = 7.5", "guidance = 3");
    fs::write(world.path("recipe.toml"), recipe).unwrap();
    world
}

/// Weights under official names, without a card.
fn weights(world: &World, file: &str) -> latent::Tensors {
    File::read(&world.path(file)).unwrap().tensors
}

#[test]
fn a_single_file_and_a_folder_are_the_same_model() {
    for family in FAMILIES {
        let world = world(family);
        let xl = family == Family::Xl;
        let of = |file: &str| facts(&world, file);
        let (single, folder) = (of("single.safetensors"), of("folder"));
        assert_eq!(
            single["network"]["attention"],
            folder["network"]["attention"]
        );
        assert_eq!(single["network"]["added"], folder["network"]["added"]);
        assert_eq!(single["network"]["added"].is_null(), !xl);
        let predicts = &single["preconditioning"]["prediction"];
        assert_eq!(*predicts == "v", !xl, "{predicts}");
        assert_eq!(
            single["autoencoder"]["scale"],
            if xl { 0.13025 } else { 0.18215 }
        );
        // The same pictures of the same seeds, guided away from the same.
        let sample = "--prompts prompts.txt --seeds 0-2 --steps 2 --guidance 3 --size 64x64";
        let single = "single.safetensors --vocabulary folder";
        world.prints(&format!("sample {single} {sample} --out single"));
        world.prints(&format!("sample folder {sample} --out folder-pictures"));
        let pictures = world.pictures("single");
        assert_eq!(pictures, world.pictures("folder-pictures"), "{family:?}");
        assert_ne!(pictures["000000.png"], pictures["000001.png"]);
        // What is moved away from, where it is said, is a text.
        world.prints(&format!(
            "sample folder {sample} --negative= --out negative"
        ));
        assert_eq!(world.pictures("negative") == pictures, !xl, "{family:?}");
        // To our file and to diffusers and back, every number stays.
        world.prints("convert folder ours.safetensors");
        world.prints("convert ours.safetensors again --to diffusers");
        world.prints("convert again back.safetensors");
        assert!(weights(&world, "back.safetensors") == weights(&world, "ours.safetensors"));
        let unet = latent::unet_as(DType::F16, &family::network(family));
        let stored = weights(&world, "ours.safetensors");
        assert!(unet.iter().all(|(name, data)| stored[name] == *data));
        world.prints("convert single.safetensors named.safetensors --to pytorch");
        assert!(weights(&world, "named.safetensors") == stored);
    }
}

#[test]
fn it_is_distilled_killed_sampled_and_written_back() {
    for family in FAMILIES {
        let world = world(family);
        let distill = "distill recipe.toml --teacher folder --prompts prompts.txt";
        let dry = world.prints(&format!("{distill} --dry-run"));
        // Tokens of both encoders and the text as a whole: 78 rows of 128, or 77 of 64.
        let size = if family == Family::Xl {
            "119.8 kB"
        } else {
            "59.1 kB"
        };
        assert!(dry.contains("prompts: 3") && dry.contains(size), "{dry}");
        world.prints(&format!("{distill} --out whole"));
        world.prints(&format!("{distill} --out run --stop-after 2 --tick 1"));
        world.prints(&format!("{distill} --out run --tick 1 --resume"));
        let student = world.bytes("whole/student.safetensors");
        assert!(
            student == world.bytes("run/student.safetensors"),
            "{family:?}"
        );
        let sample = "--prompt cat --seeds 0-1";
        world.prints(&format!(
            "sample whole/student.safetensors {sample} --out a"
        ));
        // In place of the teacher's U-Net, with the sampling said.
        world.prints("convert whole/student.safetensors folder --to diffusers --overwrite");
        world.prints(&format!("sample folder {sample} --out b"));
        assert_eq!(world.pictures("a"), world.pictures("b"), "{family:?}");
        let card = facts(&world, "whole/student.safetensors");
        let predicts = &card["preconditioning"]["prediction"];
        assert_eq!(*predicts == "v", family == Family::Second, "{predicts}");
    }
}

/// The largest difference of two sets of pictures, in levels of grey.
fn apart(a: &Pictures, b: &Pictures) -> u8 {
    assert_eq!(a.len(), b.len());
    let pixels = a.iter().flat_map(|(name, a)| a.iter().zip(&b[name]));
    pixels.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn adapters_are_distilled_killed_sampled_and_go_to_others_and_back() {
    for (family, name) in [(Family::Second, "sd21"), (Family::Xl, "sdxl")] {
        let world = world(family);
        // The bundled recipe, cut short, with all layers and a rate that shows in two rounds.
        let short = "--set trajectories=4 --set batch=2 --set learning-rate=1e-3 --set lora={rank=4,layers=\"all\"}";
        let distill =
            format!("distill {name}-nfe2-lora --teacher folder --prompts prompts.txt {short}");
        world.prints(&format!("{distill} --out whole"));
        world.prints(&format!("{distill} --out run --stop-after 1 --tick 1"));
        world.prints(&format!("{distill} --out run --tick 1 --resume"));
        let student = "whole/student.safetensors";
        assert!(world.bytes(student) == world.bytes("run/student.safetensors"));
        let names = weights(&world, student);
        assert!(
            names.keys().all(|name| name.contains(".lora_")),
            "{family:?}"
        );
        let sample = "--prompt cat --seeds 0-1 --out";
        world.prints(&format!("sample {student} {sample} own"));
        let own = world.pictures("own");
        assert!(own["000000.png"] != own["000001.png"] && !own["000000.png"].is_empty());
        // The base in a single file is the same model, and takes the adapters as any other of its family does.
        let single = "sample single.safetensors --vocabulary folder --size 64x64";
        world.prints(&format!("{single} --lora {student} {sample} single"));
        assert_eq!(world.pictures("single"), own, "{family:?}");
        world.prints(&format!(
            "{single} --lora {student}:0 --nfe 2 {sample} none"
        ));
        assert!(apart(&world.pictures("none"), &own) > 1, "{family:?}");
        for layout in ["kohya", "diffusers-lora"] {
            let file = format!("{layout}.safetensors");
            world.prints(&format!("convert {student} {file} --to {layout}"));
            // Numbers are rounded where alpha / rank is multiplied out.
            world.prints(&format!("sample {file} --base folder {sample} {layout}"));
            assert!(
                apart(&world.pictures(layout), &own) <= 1,
                "{family:?}, {layout}"
            );
        }
        // From each to the other: the same numbers, to rounding, and as many.
        for [from, to] in [["kohya", "diffusers-lora"], ["diffusers-lora", "kohya"]] {
            let back = format!("{to}-again.safetensors");
            world.prints(&format!("convert {from}.safetensors {back} --to {to}"));
            let (again, first) = (
                weights(&world, &back),
                weights(&world, &format!("{to}.safetensors")),
            );
            assert!(again.keys().eq(first.keys()), "{family:?}: {from} to {to}");
            for (name, data) in &first {
                let pairs = again[name].iter::<f32>().zip(data.iter::<f32>());
                let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < 1e-6, "{name}: {off}");
            }
        }
        // Multiplied out it is a whole model, which diffusers has in its folder.
        world.prints(&format!("convert {student} merged.safetensors --merge"));
        world.prints("convert merged.safetensors folder --to diffusers --overwrite");
        world.prints(&format!("sample folder {sample} merged"));
        assert!(apart(&world.pictures("merged"), &own) <= 1, "{family:?}");
    }
}

#[test]
fn sizes_are_told_where_a_model_is_told_some() {
    let xl = world(Family::Xl);
    let sample = "sample folder --prompt cat --seeds 0 --steps 2";
    xl.prints(&format!("{sample} --out plain"));
    let plain = xl.pictures("plain");
    // The picture's own size is the default.
    xl.prints(&format!(
        "{sample} --original-size 64x64 --crop 0,0 --out same"
    ));
    assert_eq!(plain, xl.pictures("same"));
    for (args, out) in [("--original-size 16x8", "small"), ("--crop 0,32", "cut")] {
        xl.prints(&format!("{sample} {args} --out {out}"));
        assert_ne!(plain, xl.pictures(out), "{args}");
        // Made of the same with something else told is not the same picture.
        xl.says(&format!("{sample} {args} --out plain"), 2, "--overwrite");
    }
    xl.says(&format!("{sample} --crop 3"), 2, "such as 0,64");
    let second = world(Family::Second);
    second.says(
        &format!("{sample} --crop 0,0"),
        2,
        "only Stable Diffusion XL is",
    );
}

#[test]
fn what_a_single_file_does_not_say_can_be_said() {
    let world = world(Family::Second);
    let mut tensors = weights(&world, "single.safetensors");
    tensors.remove("v_pred");
    let write =
        |tensors: &latent::Tensors, file: &str| latent::write(&world.path(file), tensors.clone());
    let predicts = |file: &str| {
        let card = facts(&world, file);
        let v = card["preconditioning"]["prediction"] == "v";
        (v, card.to_string())
    };
    // In the last attention the biases spread further in a network that predicts velocities.
    let name = "model.diffusion_model.output_blocks.1.1.transformer_blocks.0.norm1.bias";
    let biases = |size: f32| {
        let both: Vec<f32> = (0..128)
            .map(|i| if i % 2 == 0 { size } else { -size })
            .collect();
        TensorData::new(both, [128]).convert_dtype(DType::F16)
    };
    tensors.insert(name.into(), biases(0.05));
    write(&tensors, "silent.safetensors");
    let (velocity, card) = predicts("silent.safetensors");
    assert!(
        !velocity && card.contains("noise, by its weights"),
        "{card}"
    );
    tensors.insert(name.into(), biases(0.2));
    write(&tensors, "spread.safetensors");
    let (velocity, card) = predicts("spread.safetensors");
    assert!(
        velocity && card.contains("velocity, by its weights"),
        "{card}"
    );
    for (said, velocity) in [("noise", false), ("v", true)] {
        world.prints(&format!(
            "convert spread.safetensors {said}.safetensors --prediction {said}"
        ));
        assert_eq!(predicts(&format!("{said}.safetensors")).0, velocity);
    }
    tensors.insert("ztsnr".into(), TensorData::new(vec![0f32; 1], [1]));
    write(&tensors, "rescaled.safetensors");
    let card = facts(&world, "rescaled.safetensors");
    assert_eq!(
        card["preconditioning"]["noise-table"]["zero-terminal-snr"],
        true
    );
    assert!((card["sigma-range"][1].as_f64().unwrap() - 4096.0).abs() < 1.0);
}

/// As trainers and those who prune leave them (CompVis, kohya's scripts, OneTrainer).
#[test]
fn what_lies_beside_the_weights_changes_nothing() {
    for family in FAMILIES {
        let world = world(family);
        let sample = "--prompts prompts.txt --seeds 0-1 --steps 2 --guidance 3";
        let single = "--vocabulary folder --size 64x64";
        world.prints(&format!(
            "sample single.safetensors {single} {sample} --out plain"
        ));
        let plain = world.pictures("plain");
        let mut tensors = weights(&world, "single.safetensors");
        let text = match family {
            Family::Second => "cond_stage_model.model",
            Family::Xl => "conditioner.embedders.1.model",
        };
        let numbers = |values: &[f32]| TensorData::new(values.to_vec(), [values.len()]);
        for (name, data) in [
            // The averages themselves were taken out.
            ("model_ema.decay".to_string(), numbers(&[0.9999])),
            (
                "model_ema.num_updates".into(),
                TensorData::new(vec![470_000i64], [1]),
            ),
            ("betas".into(), latent::betas(0.00085, 0.012)),
            ("alphas_cumprod".into(), numbers(&[0.9; 1000])),
            ("posterior_mean_coef1".into(), numbers(&[0.5; 1000])),
            ("logvar".into(), numbers(&[0.0; 1000])),
            (
                "scale_factor".into(),
                numbers(&[if family == Family::Xl {
                    0.13025
                } else {
                    0.18215
                }]),
            ),
            ("denoiser.sigmas".into(), numbers(&[1.0; 1000])),
            ("first_stage_model.loss.logvar".into(), numbers(&[0.0])),
            (format!("{text}.logit_scale"), numbers(&[4.6])),
            (format!("{text}.attn_mask"), numbers(&[0.0; 9])),
            (
                format!("{text}.text_model.embeddings.position_ids"),
                TensorData::new((0..77i64).collect::<Vec<_>>(), [1, 77]),
            ),
            ("iteration".into(), TensorData::new(vec![3i64], [1])),
        ] {
            tensors.insert(name, data);
        }
        latent::write(&world.path("beside.safetensors"), tensors.clone());
        world.prints(&format!(
            "sample beside.safetensors {single} {sample} --out beside"
        ));
        assert_eq!(world.pictures("beside"), plain, "{family:?}");
        assert_eq!(facts(&world, "beside.safetensors")["weights"], Value::Null);

        if family == Family::Xl {
            // Of other sizes than the published ones a network alone does not say how what it is told is cut.
            continue;
        }
        // The network alone, with the names of ComfyUI, and its parts from elsewhere.
        let network = tensors.into_iter().filter_map(|(name, data)| {
            let rest = name
                .strip_prefix("model.diffusion_model.")
                .map(String::from);
            Some((rest.or((name == "v_pred").then_some(name))?, data))
        });
        latent::write(&world.path("alone.safetensors"), network.collect());
        let alone = "sample alone.safetensors --size 64x64";
        world.says(&format!("{alone} {sample} --out x"), 2, "--autoencoder");
        let vae = "--autoencoder folder/vae";
        world.says(
            &format!("{alone} {vae} {sample} --out x"),
            2,
            "--text-encoder",
        );
        world.prints(&format!("{alone} {vae} --text-encoder single.safetensors --vocabulary folder {sample} --out alone"));
        assert_eq!(world.pictures("alone"), plain, "{family:?}");
    }
}

#[test]
fn which_weights_are_taken_is_said() {
    let world = world(Family::Second);
    latent::write(&world.path("ldm.safetensors"), latent::ldm());
    let taken = |file: &str| facts(&world, file)["weights"].to_string();
    assert!(taken("ldm.safetensors").contains("the averaged ones (model_ema)"));
    assert_eq!(taken("folder"), "null");
    let unet = world.path("folder/unet/diffusion_pytorch_model.safetensors");
    let other = unet.with_file_name("diffusion_pytorch_model.non_ema.safetensors");
    fs::copy(&unet, &other).unwrap();
    let said = taken("folder");
    assert!(
        said.contains("the averaged ones") && said.contains("non_ema"),
        "{said}"
    );
    let said = taken("folder/unet/diffusion_pytorch_model.non_ema.safetensors");
    assert!(said.contains("those that training ended with"), "{said}");
}

/// Every recipe, as far as a small model can tell: settings, costs, and one run of several numbers of calls.
#[test]
fn recipes_are_for_these_models() {
    for (family, name, guidance) in [(Family::Second, "sd21", "7.5"), (Family::Xl, "sdxl", "5")] {
        let world = world(family);
        let list = world.prints("fetch --list");
        let entries = list.split("\n\n");
        let entry = entries
            .into_iter()
            .find(|e| e.starts_with(&format!("{name} ")));
        let entry = entry.unwrap();
        assert!(
            entry.contains(&format!("{name}-nfe2")) && entry.contains("licence: "),
            "{entry}"
        );
        for calls in ["2", "3", "4", "5", "2to5"] {
            let recipe = format!("{name}-nfe{calls}");
            let dry = format!("distill {recipe} --teacher folder --prompts prompts.txt --dry-run");
            let said = world.prints(&dry);
            for line in [
                format!("guidance = {guidance}"),
                "sigma-max = 14.614641229333609".into(),
                "sigma-min = 0.1".into(),
            ] {
                assert!(
                    said.lines().any(|l| l.starts_with(&line)),
                    "{recipe}: {line} in {said}"
                );
            }
            let text = fs::read_to_string(format!("../recipes/{recipe}.toml")).unwrap();
            assert!(text.contains(&format!("distill {recipe} --teacher stable-diffusion-")));
            assert!(text.contains(&format!("{} evaluations", calls.replace("to", " to "))));
            // The file that it names is the one that is fetched.
            let file = text.split("--teacher weights/").nth(1).unwrap();
            assert!(
                entry.contains(&format!("/{}\n", file.lines().next().unwrap())),
                "{entry}"
            );
            let dry = dry.replace(&recipe, &format!("{recipe}-lora"));
            let said = world.prints(&dry);
            assert!(
                said.contains("[lora]") && said.contains("rank = 64"),
                "{said}"
            );
        }
        let short = "--set trajectories=2 --set batch=2 --set micro-batch=1";
        // One student for several numbers: whole, and as adapters in half precision beside a step branch that learns in full.
        for end in ["", "-lora"] {
            let recipe = format!("{name}-nfe2to5{end}");
            let distill =
                format!("distill {recipe} --teacher folder --prompts prompts.txt {short}");
            world.prints(&format!("{distill} --out run{end}"));
            let facts = facts(&world, &format!("run{end}/student.safetensors"));
            assert_eq!(facts["evaluations"], serde_json::json!([2, 5]));
        }
        let student = "run-lora/student.safetensors";
        let learnt = weights(&world, student);
        assert!(learnt.keys().any(|name| name.contains("nfe_embed")));
        assert!(learnt.values().all(|data| data.dtype() == DType::F32));
        for calls in [2, 4] {
            world.prints(&format!(
                "sample {student} --nfe {calls} --prompt cat --seeds 0 --out {calls}"
            ));
        }
        assert_ne!(world.pictures("2"), world.pictures("4"));
        world.says(
            &format!("convert {student} x.safetensors --to kohya"),
            2,
            "step branch",
        );
    }
}
