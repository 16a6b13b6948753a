//! Small random latent models in the files of others: one like LSUN-Bedroom's, one like Stable Diffusion.

#![allow(dead_code)] // Each test program uses its own part.

use crate::support::World;
use burn::tensor::{DType, TensorData};
use fewstep::autoencoder::{AutoencoderConfig, Bottleneck};
use fewstep::model::File;
use fewstep::network::{LatentAttention, LatentUNetConfig, NetworkConfig};
use fewstep::noise::{Domain, Stream};
use fewstep::text::TextEncoderConfig;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Recipe of a student of the unconditional one.
pub const LDM: &str = r#"
kind = "distillation"
seed = 3
trajectories = 12
batch = 3
micro-batch = 2
steps = 2
substeps = 2
spacing = { kind = "discrete", rho = 1.0, table = { beta-start = 0.0015, beta-end = 0.0195 } }
sigma-max = 83.82249447302878
sigma-min = 0.006
teacher-solver = { kind = "dpm-solver-pp", order = 3, prediction = "noise" }
learning-rate = 1e-3
"#;

/// Recipe of a student of the other.
pub const SD: &str = r#"
kind = "distillation"
seed = 3
trajectories = 12
batch = 3
micro-batch = 2
steps = 2
substeps = 2
spacing = { kind = "discrete", rho = 1.0, table = { beta-start = 0.00085, beta-end = 0.012 } }
sigma-max = 14.614641229333609
sigma-min = 0.1
teacher-solver = { kind = "dpm-solver-pp", order = 2, prediction = "noise" }
guidance = 7.5
learning-rate = 1e-3
"#;

/// Width of the text's tokens; one head of CLIP's.
const WIDTH: usize = 64;
/// Bytes, bytes at the end of a word, two merges, start and end.
pub const SYMBOLS: usize = 516;

pub type Tensors = BTreeMap<String, TensorData>;

/// 8 x 8 latents.
pub fn network(text: bool) -> NetworkConfig {
    NetworkConfig::LatentUnet(LatentUNetConfig {
        resolution: 8,
        channels: if text { 4 } else { 3 },
        model_channels: 32,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_factors: vec![2],
        attention: match text {
            true => LatentAttention::Text {
                heads: 8.into(),
                width: WIDTH,
                depth: 1.into(),
                linear: false,
            },
            false => LatentAttention::Pixels { head_channels: 32 },
        },
        added: None,
        dropout: 0.0,
        step_branch: false,
    })
}

/// 16 x 16 pixels of 8 x 8 latents.
pub fn autoencoder(text: bool) -> AutoencoderConfig {
    let latent = if text { 4 } else { 3 };
    AutoencoderConfig {
        channels: 3,
        model_channels: 32,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_levels: Vec::new(),
        inner_channels: latent,
        latent_channels: latent,
        bottleneck: match text {
            true => Bottleneck::Normal {},
            false => Bottleneck::Codebook { codes: 50 },
        },
        scale: if text { 0.18215 } else { 1.0 },
    }
}

/// With CLIP's 77 tokens.
pub fn text_encoder(vocabulary: usize) -> TextEncoderConfig {
    TextEncoderConfig {
        vocabulary,
        width: WIDTH,
        inner_width: 32,
        layers: 1,
        heads: 1,
        positions: 77,
    }
}

/// Random numbers for names and shapes, under names that start with `prefix`.
pub fn tensors(prefix: &str, keys: &[(String, Vec<usize>)]) -> Tensors {
    tensors_as(DType::F32, prefix, keys)
}

/// The same in some type.
pub fn tensors_as(dtype: DType, prefix: &str, keys: &[(String, Vec<usize>)]) -> Tensors {
    let tensor = |(index, (name, shape)): (usize, &(String, Vec<usize>))| {
        let len: usize = shape.iter().product();
        let inputs = (len as f32 / shape[0] as f32).sqrt();
        let values = Stream::new(7, Domain::Test, index as u64).normals(len);
        // Norms near one and biases near zero, so that nothing grows on the way.
        let values = values.into_iter().map(|v| match (shape.len(), name) {
            (1, name) if name.ends_with("weight") => 1.0 + 0.1 * v,
            (1, _) => 0.1 * v,
            _ => v / inputs,
        });
        let data = TensorData::new(values.collect::<Vec<f32>>(), shape.clone());
        (format!("{prefix}{name}"), data.convert_dtype(dtype))
    };
    keys.iter().enumerate().map(tensor).collect()
}

/// The U-Net under official names, without `model.diffusion_model.` where `prefix` is another.
pub fn unet(text: bool) -> Tensors {
    unet_as(DType::F32, &network(text))
}

/// Some U-Net in some type.
pub fn unet_as(dtype: DType, network: &NetworkConfig) -> Tensors {
    let keys = network.keys().into_iter();
    let keys: Vec<_> = keys.map(|key| (key.name, key.shape)).collect();
    tensors_as(dtype, "", &keys)
}

pub fn write(path: &Path, tensors: Tensors) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File {
        tensors,
        ..File::default()
    };
    file.write(path).unwrap();
}

/// The noise of a thousand times, linear in its root.
pub fn betas(start: f64, end: f64) -> TensorData {
    let (low, high) = (start.sqrt(), end.sqrt());
    let beta = |k: i32| (low + (high - low) * f64::from(k) / 999.0).powi(2) as f32;
    let values: Vec<f32> = (0..1000).map(beta).collect();
    TensorData::new(values, [1000])
}

/// The unconditional model as CompVis writes it, autoencoder and averaged weights included.
pub fn ldm() -> Tensors {
    let mut all = unet(false);
    let averaged = all.clone().into_iter().map(|(name, data)| {
        let short = name.strip_prefix("model.").unwrap().replace('.', "");
        (format!("model_ema.{short}"), data)
    });
    let averaged: Tensors = averaged.collect();
    all.extend(averaged);
    all.insert("betas".into(), betas(0.0015, 0.0195));
    let keys = autoencoder(false).keys().unwrap();
    all.extend(tensors("first_stage_model.", &keys));
    all
}

/// The other as CompVis writes it, autoencoder and text encoder included.
pub fn sd(vocabulary: usize) -> Tensors {
    let mut all = unet(true);
    all.insert("betas".into(), betas(0.00085, 0.012));
    let keys = autoencoder(true).keys().unwrap();
    all.extend(tensors("first_stage_model.", &keys));
    let keys = text_encoder(vocabulary).keys().unwrap();
    all.extend(tensors("cond_stage_model.transformer.", &keys));
    all
}

/// `teacher.safetensors`, our file of the unconditional model's U-Net alone, for 8 x 8 latents, and `ldm.safetensors`, the
/// file of all its parts.
pub fn ours(world: &World) {
    write(&world.path("ldm.safetensors"), ldm());
    world.prints("convert ldm.safetensors teacher.safetensors --overwrite");
    let path = world.path("teacher.safetensors");
    let file = File::read(&path).unwrap();
    // Names and shapes do not tell the size.
    let json = file.json.clone().unwrap();
    let json = json.replace("\"resolution\":64", "\"resolution\":8");
    assert!(json.contains("\"resolution\":8"), "{json}");
    let file = File {
        json: Some(json),
        ..file
    };
    file.write(&path).unwrap();
}

/// A folder `sd` of the other model as diffusers writes it.
pub fn diffusers(world: &World) {
    diffusers_as(
        world,
        DType::F32,
        &network(true),
        &autoencoder(true),
        &text_encoder(SYMBOLS),
    );
    let unet = world.path("sd/unet/diffusion_pytorch_model.safetensors");
    let settings = unet.with_file_name("config.json");
    let text = fs::read_to_string(&settings).unwrap();
    let text = text.replace("\"sample_size\": 64", "\"sample_size\": 8");
    assert!(text.contains("\"sample_size\": 8"), "{text}");
    fs::write(settings, text).unwrap();
    tokenizer(&world.path("sd/tokenizer"));
}

/// A folder `sd` of some model as diffusers writes it, but for the tokenizer.
pub fn diffusers_as(
    world: &World,
    dtype: DType,
    network: &NetworkConfig,
    autoencoder: &AutoencoderConfig,
    text_encoder: &TextEncoderConfig,
) {
    write(&world.path("unet.safetensors"), unet_as(dtype, network));
    world.prints("convert unet.safetensors sd --to diffusers");
    fs::remove_file(world.path("unet.safetensors")).unwrap();
    // As diffusers leaves it: without a card, and with the size of the latents beside it.
    let unet = world.path("sd/unet/diffusion_pytorch_model.safetensors");
    let plain = File {
        json: None,
        ..File::read(&unet).unwrap()
    };
    plain.write(&unet).unwrap();
    let keys = autoencoder.keys().unwrap();
    let file = "sd/vae/diffusion_pytorch_model.safetensors";
    write(&world.path(file), tensors_as(dtype, "", &keys));
    let put = |name: &str, text: String| fs::write(world.path(name), text).unwrap();
    put(
        "sd/vae/config.json",
        json!({"scaling_factor": 0.18215}).to_string(),
    );
    let keys = text_encoder.keys().unwrap();
    write(
        &world.path("sd/text_encoder/model.safetensors"),
        tensors_as(dtype, "", &keys),
    );
    let heads = text_encoder.heads;
    let settings = json!({"num_attention_heads": heads, "hidden_act": "quick_gelu"});
    put("sd/text_encoder/config.json", settings.to_string());
}

/// A vocabulary of 516 symbols in which `cat` is one.
pub fn tokenizer(folder: &Path) {
    // Bytes that print stand for themselves, the others for the characters from 256 on.
    let mut other = 256..;
    let bytes = (0..256u32).map(|byte| match byte {
        33..=126 | 161..=172 | 174..=255 => byte,
        _ => other.next().unwrap(),
    });
    let symbols: Vec<char> = bytes.map(|code| char::from_u32(code).unwrap()).collect();
    let single = symbols.iter().map(char::to_string);
    let ends = symbols.iter().map(|c| format!("{c}</w>"));
    let more = ["ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"].map(str::to_string);
    let ids: BTreeMap<String, usize> = single.chain(ends).chain(more).zip(0..).collect();
    assert_eq!(ids.len(), SYMBOLS);
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("vocab.json"), json!(ids).to_string()).unwrap();
    fs::write(folder.join("merges.txt"), "#version: 0.2\nc a\nca t</w>\n").unwrap();
}
