//! Files that people have and that are no model to be read here are named in one line, wherever they are given.

#[path = "support/foreign.rs"]
mod foreign;
#[path = "support/latent.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod latent;
#[path = "support/torch.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod torch;

use burn::tensor::{Device, TensorData};
use fewstep::import::{AutoencoderFile, Checkpoint, TextEncoderFile, globals, open};
use fewstep::model::File;
use fewstep::network::parameters;
use latent::teacher;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What every way to open a file says of it, each in one line that names the file.
fn all_say(path: &Path, named: &Path) -> Vec<String> {
    let errors = [
        open(path, &Device::flex()).err(),
        AutoencoderFile::open(path).err(),
        TextEncoderFile::open(path, None).err(),
    ];
    let texts = errors.map(|error| error.expect("an error").to_string());
    for text in &texts {
        assert!(text.contains(&named.display().to_string()), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
    texts.to_vec()
}

#[test]
fn what_is_no_file_of_weights_is_named() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole.safetensors");
    teacher(true).write(&whole).unwrap();
    let whole = fs::read(&whole).unwrap();
    let tensor = ("a".to_string(), vec![64], vec![1.0; 64]);
    let zip = torch::zip(std::slice::from_ref(&tensor), "little");
    let legacy = torch::legacy(&[tensor]);
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4265380512\n";
    for (bytes, word) in [
        (&pointer[..], "git lfs pull"),
        (
            b"<!DOCTYPE html>\n<html><body>Login</body></html>",
            "page of the web",
        ),
        (b"\n  <HTML><head><title>404</title>", "page of the web"),
        (
            b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
            "page of the web",
        ),
        (b"", "empty"),
        (b"GGUF\x03\0\0\0\x90\x03\0\0\0\0\0\0", "GGUF"),
        (b"\x89HDF\r\n\x1a\n\0\0\0\0", "TensorFlow"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03abcdef", "compressed"),
        (b"{\"error\": \"Repository not found\"}", "JSON"),
        (&whole[..whole.len() / 2], "cut off"),
        (&whole[..500], "cut off"),
        (&zip[..zip.len() / 2], "cut off"),
        (&legacy[..legacy.len() - 9], "bytes follow"),
    ] {
        let names = match bytes {
            _ if bytes.starts_with(&whole[..8]) => &["x.safetensors", "x.bin"][..],
            _ if bytes.starts_with(b"PK") || bytes.starts_with(&legacy[..8]) => &["x.ckpt", "x.pt"],
            _ => &["x.safetensors", "x.ckpt", "x.pth", "x.pkl", "x.bin", "x"],
        };
        for name in names {
            let path = root.path().join(name);
            fs::write(&path, bytes).unwrap();
            for text in all_say(&path, &path) {
                assert!(text.contains(word), "{name}: {text}");
            }
            let found = globals(&path);
            assert!(found.is_err() || !word.contains("LFS"), "{name}");
        }
        // Inside a folder of diffusers, the file that is wrong is named.
        let inside = root.path().join("sd");
        let files = [
            "unet/diffusion_pytorch_model.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
            "text_encoder/model.safetensors",
        ];
        for file in files {
            let file = inside.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, bytes).unwrap();
        }
        for text in all_say(&inside, &inside) {
            let safe = bytes.starts_with(b"PK") || bytes.starts_with(&legacy[..8]);
            assert!(safe || text.contains(word), "{text}");
        }
    }
}

/// A header's length is not mistaken for the start of something else.
#[test]
fn lengths_of_headers_that_look_like_other_files() {
    let root = tempfile::tempdir().unwrap();
    // {" and { and a line feed, as little-endian numbers; the first two bytes of gzip.
    for length in [0x227b, 0x0a7b, 0x8b1f] {
        let mut header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_vec();
        header.resize(length, b' ');
        let mut bytes = (length as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend([0; 4]);
        let path = root.path().join("x.safetensors");
        fs::write(&path, bytes).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap().tensors().len(), 1);
    }
}

type Shapes<'a> = Vec<(&'a str, Vec<usize>)>;

fn write(path: &Path, shapes: &Shapes<'_>) {
    let zeros = |shape: &Vec<usize>| vec![0f32; shape.iter().product()];
    if path.extension().is_some_and(|end| end == "ckpt") {
        let all = shapes
            .iter()
            .map(|(name, shape)| ((*name).to_string(), shape.clone(), zeros(shape)));
        let all: Vec<torch::Tensor> = all.collect();
        fs::write(path, torch::zip(&all, "little")).unwrap();
        return;
    }
    let tensors = shapes.iter().map(|(name, shape)| {
        let data = TensorData::new(zeros(shape), shape.clone());
        ((*name).to_string(), data)
    });
    let file = File {
        tensors: tensors.collect(),
        ..File::default()
    };
    file.write(path).unwrap();
}

#[test]
fn weights_of_other_kinds_are_named() {
    let root = tempfile::tempdir().unwrap();
    let compvis = |takes: usize, gives: usize| -> Shapes<'static> {
        let start = [
            ("model.diffusion_model.time_embed.0.weight", vec![128, 32]),
            (
                "model.diffusion_model.input_blocks.0.0.weight",
                vec![32, takes, 3, 3],
            ),
            (
                "model.diffusion_model.middle_block.0.in_layers.2.weight",
                vec![32, 32, 3, 3],
            ),
            ("model.diffusion_model.out.2.weight", vec![gives, 32, 3, 3]),
        ];
        start.to_vec()
    };
    let diffusers = |takes: usize| -> Shapes<'static> {
        let start = [
            ("time_embedding.linear_1.weight", vec![128, 32]),
            ("conv_in.weight", vec![32, takes, 3, 3]),
            ("mid_block.resnets.0.conv1.weight", vec![32, 32, 3, 3]),
            (
                "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
                vec![32, 48],
            ),
            ("conv_out.weight", vec![4, 32, 3, 3]),
        ];
        start.to_vec()
    };
    let with = |mut base: Shapes<'static>, name: &'static str, shape: Vec<usize>| {
        base.push((name, shape));
        base
    };
    let mut without_middle = diffusers(4);
    without_middle.remove(2);
    let cases: Vec<(Shapes<'static>, &str)> = vec![
        (
            vec![("lora_unet_mid_block_x.lora_down.weight", vec![4, 32])],
            "LoRA",
        ),
        (
            vec![(
                "unet.mid_block.attentions.0.proj_in.lora_A.weight",
                vec![4, 32],
            )],
            "LoRA",
        ),
        (
            vec![("lora_te_text_model_x.hada_w1_a", vec![4, 32])],
            "LoRA",
        ),
        (
            with(
                diffusers(4),
                "controlnet_cond_embedding.conv_in.weight",
                vec![16, 3, 3, 3],
            ),
            "ControlNet",
        ),
        (
            vec![("control_model.input_hint_block.0.weight", vec![16, 3, 3, 3])],
            "ControlNet",
        ),
        (compvis(9, 4), "inpainting"),
        (diffusers(9), "inpainting"),
        (compvis(8, 4), "InstructPix2Pix"),
        (diffusers(8), "InstructPix2Pix"),
        (compvis(3, 6), "variances"),
        (without_middle, "no middle block"),
        (
            with(
                compvis(4, 4),
                "model.diffusion_model.joint_blocks.0.x",
                vec![1],
            ),
            "Stable Diffusion 3",
        ),
        (
            vec![("double_blocks.0.img_attn.qkv.weight", vec![9, 3])],
            "Flux",
        ),
        (
            vec![("transformer_blocks.0.attn.add_k_proj.weight", vec![3, 3])],
            "Stable Diffusion 3",
        ),
        (
            with(
                with(
                    compvis(4, 4),
                    "model.diffusion_model.label_emb.0.0.weight",
                    vec![2, 2560],
                ),
                "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
                vec![2, 1280],
            ),
            "the refiner of Stable Diffusion XL",
        ),
        (
            with(
                with(diffusers(4), "add_embedding.linear_1.weight", vec![2, 2560]),
                "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight",
                vec![2, 1280],
            ),
            "the refiner of Stable Diffusion XL",
        ),
        (
            with(compvis(4, 4), "edm_vpred.sigma_max", vec![1]),
            "edm_vpred",
        ),
        (vec![("emb_params", vec![2, 768])], "textual inversion"),
        (
            vec![("encoder.block.0.layer.0.SelfAttention.q.weight", vec![9, 9])],
            "T5",
        ),
        (
            vec![
                ("conv_in.weight", vec![32, 3, 3, 3]),
                ("mid_block.x", vec![1]),
                ("conv_out.weight", vec![3, 32, 3, 3]),
            ],
            "UNet2DModel",
        ),
    ];
    for (shapes, word) in &cases {
        for name in ["x.safetensors", "x.ckpt"] {
            let path = root.path().join(name);
            write(&path, shapes);
            for text in all_say(&path, &path) {
                assert!(text.contains(word), "{name}, {word}: {text}");
            }
        }
    }
    // A part that is given for the whole.
    let vae = vec![
        ("encoder.conv_in.weight", vec![32, 3, 3, 3]),
        ("decoder.conv_in.weight", vec![32, 4, 3, 3]),
    ];
    let text = vec![("text_model.embeddings.token_embedding.weight", vec![9, 8])];
    let open_clip = vec![("transformer.resblocks.0.ln_1.weight", vec![9])];
    for (shapes, word) in [
        (vae, "--autoencoder"),
        (text, "--text-encoder"),
        (open_clip, "--text-encoder"),
    ] {
        let path = root.path().join("part.safetensors");
        write(&path, &shapes);
        let said = open(&path, &Device::flex()).unwrap_err().to_string();
        assert!(said.contains(word) && said.contains("alone"), "{said}");
    }
    // Sixteen channels are those of newer families.
    let path = root.path().join("vae.safetensors");
    write(&path, &vec![("decoder.conv_in.weight", vec![32, 16, 3, 3])]);
    let said = AutoencoderFile::open(&path).unwrap_err().to_string();
    assert!(said.contains("Flux"), "{said}");
}

#[test]
fn folders_of_other_kinds_are_named() {
    let root = tempfile::tempdir().unwrap();
    let said = |folder: &Path| {
        let said = open(folder, &Device::flex()).unwrap_err().to_string();
        let named = said.contains(&folder.display().to_string());
        assert!(named && !said.contains('\n'), "{said}");
        said
    };
    let folder = |name: &str, files: &[(&str, &str)]| {
        let folder = root.path().join(name);
        for (file, text) in files {
            let file = folder.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        folder
    };
    let index = r#"{"_class_name": "StableDiffusion3Pipeline"}"#;
    let three = folder(
        "sd3",
        &[
            ("model_index.json", index),
            ("transformer/config.json", "{}"),
        ],
    );
    assert!(said(&three).contains("StableDiffusion3Pipeline, whose network is a transformer"));
    let index = r#"{"_class_name": "StableDiffusionPipeline"}"#;
    let half = folder(
        "half",
        &[("model_index.json", index), ("unet/config.json", "{}")],
    );
    assert!(said(&half).contains("its weights, unet/diffusion_pytorch_model.safetensors"));
    let lora = folder("lora", &[("pytorch_lora_weights.safetensors", "x")]);
    assert!(said(&lora).contains("LoRA"));
    let one = folder("one", &[("v1-5.ckpt", "x"), ("readme.md", "x")]);
    assert!(said(&one).contains("v1-5.ckpt"));
    // Nothing that tells: the file that was looked for.
    assert!(said(&folder("none", &[("readme.md", "x")])).contains("unet"));
}

/// The files of the reference that are not read yet.
#[test]
fn adapters_of_newer_families_are_named() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden-modern");
    if !folder.is_dir() {
        eprintln!("skipped: no files at {}", folder.display());
        return;
    }
    for (file, word) in [
        ("lora_kohya/lora.safetensors", "LoRA"),
        ("lora_diffusers/pytorch_lora_weights.safetensors", "LoRA"),
    ] {
        let path = folder.join(file);
        let said = open(&path, &Device::flex()).unwrap_err().to_string();
        assert!(said.contains(word), "{file}: {said}");
    }
}

/// None of this is seen where a model is one that can be read.
#[test]
fn models_are_still_read() {
    let root = tempfile::tempdir().unwrap();
    for text in [false, true] {
        let model = teacher(text);
        let tensors: BTreeMap<String, TensorData> = parameters(&model.network)
            .into_iter()
            .map(|p| (p.name, p.data))
            .collect();
        let path = root.path().join("official.safetensors");
        let file = File {
            tensors,
            ..File::default()
        };
        file.write(&path).unwrap();
        open(&path, &Device::flex()).unwrap();
    }
}
