//! Configurations of diffusers and transformers: those of published models are read, and what would change the model is
//! refused by key, value and file.

#[path = "support/latent.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod latent;

use burn::tensor::{Device, TensorData};
use fewstep::autoencoder::{AutoencoderConfig, Bottleneck};
use fewstep::denoiser::Preconditioning;
use fewstep::grid::LogAlphaTable;
use fewstep::import::{
    AutoencoderFile, Checkpoint, Export, Layout, TextEncoderFile, diffusers_settings, open,
};
use fewstep::model::File;
use fewstep::network::{LatentAttention, NetworkConfig};
use fewstep::text::TextEncoderConfig;
use latent::teacher;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn put(path: &Path, value: &Value) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, serde_json::to_string_pretty(value).unwrap()).unwrap();
}

fn zeros(path: &Path, keys: Vec<(String, Vec<usize>)>) {
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let data = TensorData::new(vec![0f32; shape.iter().product()], shape);
        (name, data)
    };
    let file = File {
        tensors: keys.into_iter().map(tensor).collect(),
        ..File::default()
    };
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    file.write(path).unwrap();
}

fn merged(mut base: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    base.as_object_mut().unwrap().extend(more);
    base
}

/// All keys that diffusers 0.42 writes for a U-Net besides those that our own export writes, with their defaults.
fn unet_defaults() -> Value {
    json!({
        "_diffusers_version": "0.42.1", "_name_or_path": "x", "_use_default_values": ["dropout"],
        "addition_embed_type": null, "addition_embed_type_num_heads": 64, "addition_time_embed_dim": null,
        "attention_type": "default", "class_embed_type": null, "class_embeddings_concat": false, "conv_in_kernel": 3,
        "conv_out_kernel": 3, "cross_attention_norm": null, "dual_cross_attention": false, "encoder_hid_dim": null,
        "encoder_hid_dim_type": null, "mid_block_only_cross_attention": null, "num_attention_heads": null,
        "num_class_embeds": null, "only_cross_attention": false, "projection_class_embeddings_input_dim": null,
        "resnet_out_scale_factor": 1.0, "resnet_skip_time_act": false, "resnet_time_scale_shift": "default",
        "reverse_transformer_layers_per_block": null, "time_cond_proj_dim": null, "time_embedding_act_fn": null,
        "time_embedding_dim": null, "time_embedding_type": "positional", "timestep_post_act": null,
        "upcast_attention": false
    })
}

/// A folder as diffusers writes it, small but with the keys of the published ones.
fn folder(root: &Path) -> PathBuf {
    let whole = root.join("sd");
    let model = teacher(true);
    let ours = root.join("ours.safetensors");
    model.write(&ours).unwrap();
    let file = Checkpoint::read(&ours).unwrap();
    let unet = whole.join("unet/diffusion_pytorch_model.safetensors");
    let export = Export {
        layout: Layout::Diffusers,
        scalar: None,
    };
    export
        .write(&file, Some(&file.card().unwrap()), &unet)
        .unwrap();
    let plain = File {
        json: None,
        ..File::read(&unet).unwrap()
    };
    plain.write(&unet).unwrap();
    let settings = merged(
        diffusers_settings(&model.card.network).unwrap(),
        unet_defaults(),
    );
    put(&whole.join("unet/config.json"), &settings);
    let autoencoder = AutoencoderConfig {
        channels: 3,
        model_channels: 32,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_levels: Vec::new(),
        inner_channels: 4,
        latent_channels: 4,
        bottleneck: Bottleneck::Normal {},
        scale: 0.18215,
    };
    let vae = whole.join("vae/diffusion_pytorch_model.safetensors");
    zeros(&vae, autoencoder.keys().unwrap());
    put(
        &whole.join("vae/config.json"),
        &json!({
            "_class_name": "AutoencoderKL", "_diffusers_version": "0.42.1", "act_fn": "silu",
            "block_out_channels": [32, 64], "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
            "force_upcast": true, "in_channels": 3, "latent_channels": 4, "latents_mean": null, "latents_std": null,
            "layers_per_block": 1, "mid_block_add_attention": true, "norm_num_groups": 32, "out_channels": 3,
            "sample_size": 512, "scaling_factor": 0.18215, "shift_factor": null,
            "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"], "use_post_quant_conv": true,
            "use_quant_conv": true
        }),
    );
    let encoder = TextEncoderConfig {
        vocabulary: 60,
        width: 64,
        inner_width: 32,
        layers: 2,
        heads: 1,
        positions: 77,
    };
    zeros(
        &whole.join("text_encoder/model.safetensors"),
        encoder.keys().unwrap(),
    );
    put(
        &whole.join("text_encoder/config.json"),
        &json!({
            "_name_or_path": "openai/clip-vit-large-patch14", "architectures": ["CLIPTextModel"],
            "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0, "eos_token_id": 2,
            "hidden_act": "quick_gelu", "hidden_size": 64, "initializer_factor": 1.0, "initializer_range": 0.02,
            "intermediate_size": 32, "layer_norm_eps": 1e-05, "max_position_embeddings": 77,
            "model_type": "clip_text_model", "num_attention_heads": 1, "num_hidden_layers": 2, "pad_token_id": 1,
            "projection_dim": 768, "torch_dtype": "float16", "transformers_version": "4.22.0.dev0", "vocab_size": 60
        }),
    );
    put(&scheduler(&whole), &pndm());
    whole
}

fn scheduler(whole: &Path) -> PathBuf {
    whole.join("scheduler/scheduler_config.json")
}

/// That of Stable Diffusion 1.5.
fn pndm() -> Value {
    json!({
        "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": false, "num_train_timesteps": 1000,
        "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null
    })
}

/// Says what opening the whole, or its part, comes to.
fn opened(whole: &Path, part: &str) -> Result<(), String> {
    let text = |error: fewstep::Error| error.to_string();
    match part {
        "vae" => AutoencoderFile::open(whole).map(|_| ()).map_err(text),
        "text_encoder" => TextEncoderFile::open(whole, None).map(|_| ()).map_err(text),
        _ => open(whole, &Device::flex()).map(|_| ()).map_err(text),
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn published_configurations_are_read() {
    let root = tempfile::tempdir().unwrap();
    let whole = folder(root.path());
    for part in ["unet", "vae", "text_encoder"] {
        opened(&whole, part).unwrap();
    }
    let (model, _) = open(&whole, &Device::flex()).unwrap();
    let NetworkConfig::LatentUnet(config) = model.card.network else {
        panic!("a latent network");
    };
    let LatentAttention::Text { heads, .. } = config.attention else {
        panic!("it takes a text");
    };
    assert_eq!(heads, 8.into());
    // Other samplers of the same noise levels, as newer versions write them.
    for more in [
        json!({
            "_class_name": "DDIMScheduler", "clip_sample_range": 1.0, "dynamic_thresholding_ratio": 0.995,
            "prediction_type": "epsilon", "rescale_betas_zero_snr": false, "sample_max_value": 1.0,
            "thresholding": false, "timestep_spacing": "leading"
        }),
        json!({
            "_class_name": "EulerDiscreteScheduler", "final_sigmas_type": "zero", "interpolation_type": "linear",
            "sigma_max": null, "sigma_min": null, "timestep_type": "discrete", "timestep_spacing": "trailing",
            "use_beta_sigmas": false, "use_exponential_sigmas": false, "use_karras_sigmas": true
        }),
        json!({
            "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver++", "euler_at_final": false,
            "flow_shift": 1.0, "lower_order_final": true, "solver_order": 2, "solver_type": "midpoint",
            "time_shift_type": "exponential", "use_dynamic_shifting": false, "use_flow_sigmas": false,
            "use_lu_lambdas": false, "variance_type": null
        }),
        json!({
            "_class_name": "UniPCMultistepScheduler", "disable_corrector": [], "predict_x0": true, "solver_p": null,
            "solver_type": "bh2", "shift_terminal": null
        }),
    ] {
        put(&scheduler(&whole), &merged(pndm(), more));
        opened(&whole, "unet").unwrap();
    }
    // Python's word for the least number.
    let text = fs::read_to_string(scheduler(&whole)).unwrap();
    let text = text.replacen('{', "{\"lambda_min_clipped\": -Infinity,", 1);
    fs::write(scheduler(&whole), text).unwrap();
    opened(&whole, "unet").unwrap();
    // CLIP as a whole has a table for each half.
    let path = whole.join("text_encoder/config.json");
    let both = json!({"model_type": "clip", "projection_dim": 768, "text_config": read(&path), "vision_config": {}});
    put(&path, &both);
    opened(&whole, "text_encoder").unwrap();
}

/// What the sampler of a folder says of training: what is predicted, and on which noise levels.
#[test]
fn schedules_are_as_the_folder_says() {
    let root = tempfile::tempdir().unwrap();
    let whole = folder(root.path());
    let path = scheduler(&whole);
    let before = read(&path);
    let table = |start, end| LogAlphaTable::scaled_linear(start, end, 1000).unwrap();
    let usual = || table(0.00085, 0.012);
    let noise =
        json!({"prediction_type": "epsilon", "beta_end": 0.02, "timestep_spacing": "trailing"});
    let rescaled = json!({"prediction_type": "v_prediction", "rescale_betas_zero_snr": true});
    for (more, expected) in [
        (json!({}), Preconditioning::Discrete(usual())),
        (noise, Preconditioning::Discrete(table(0.00085, 0.02))),
        (
            json!({"prediction_type": "v_prediction"}),
            Preconditioning::Velocity(usual()),
        ),
        (
            rescaled,
            Preconditioning::Velocity(usual().with_zero_terminal_snr()),
        ),
    ] {
        put(&path, &merged(before.clone(), more));
        let (model, _) = open(&whole, &Device::flex()).unwrap();
        assert_eq!(model.card.answer.preconditioning, expected);
        // Sampling starts at the last level that it was trained on, which is finite.
        let most = expected.table().unwrap().sigma_max();
        assert!(most.is_finite() && model.card.sampling.sigma_max == most);
        let first = model.card.sampling.grid().unwrap().sigma_max();
        assert!((first / most - 1.0).abs() < 1e-12, "{first} {most}");
    }
    // A few settings alone say what they say.
    put(&path, &json!({"prediction_type": "v_prediction"}));
    let (model, _) = open(&whole, &Device::flex()).unwrap();
    let form = model.card.answer.preconditioning;
    assert_eq!(form, Preconditioning::Velocity(usual()));
}

#[test]
fn what_would_change_the_model_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let whole = folder(root.path());
    let cases = [
        (
            "scheduler/scheduler_config.json",
            "scheduler",
            vec![
                ("rescale_betas_zero_snr", json!("yes")),
                ("prediction_type", json!("sample")),
                ("beta_schedule", json!("linear")),
                ("beta_schedule", json!("squaredcos_cap_v2")),
                ("beta_schedule", json!(null)),
                ("beta_start", json!("small")),
                ("beta_end", json!(2.0)),
                ("num_train_timesteps", json!(4000)),
                ("trained_betas", json!([0.1, 0.2])),
                ("clip_sample", json!(true)),
                ("thresholding", json!(true)),
                ("timestep_type", json!("continuous")),
                ("variance_type", json!("learned_range")),
                ("use_flow_sigmas", json!(true)),
                ("shift", json!(3.0)),
            ],
        ),
        (
            "unet/config.json",
            "unet",
            vec![
                ("_class_name", json!("UNet2DModel")),
                ("class_embed_type", json!("timestep")),
                ("num_class_embeds", json!(1000)),
                ("addition_embed_type", json!("text_time")),
                ("dual_cross_attention", json!(true)),
                ("resnet_time_scale_shift", json!("scale_shift")),
                ("conv_in_kernel", json!(5)),
                ("time_cond_proj_dim", json!(256)),
                ("use_linear_projection", json!(true)),
                ("center_input_sample", json!(true)),
                ("flip_sin_to_cos", json!(false)),
                ("freq_shift", json!(1)),
                ("act_fn", json!("gelu")),
                ("norm_num_groups", json!(16)),
                ("norm_eps", json!(1e-6)),
                ("attention_head_dim", json!([5, 10, 20])),
                ("attention_type", json!("gated")),
                ("mid_block_type", json!(null)),
                ("block_out_channels", json!([32, 32])),
                ("layers_per_block", json!(2)),
                ("cross_attention_dim", json!(768)),
                ("encoder_hid_dim", json!(1024)),
                ("sample_size", json!([64, 32])),
                ("a_new_thing", json!(false)),
            ],
        ),
        (
            "vae/config.json",
            "vae",
            vec![
                ("_class_name", json!("AutoencoderTiny")),
                ("shift_factor", json!(0.0609)),
                ("latents_mean", json!([0.1])),
                ("use_quant_conv", json!(false)),
                ("mid_block_add_attention", json!(false)),
                ("act_fn", json!("relu")),
                ("norm_num_groups", json!(16)),
                ("latent_channels", json!(16)),
                ("block_out_channels", json!([64, 64])),
                ("down_block_types", json!(["AttnDownBlock2D"])),
                ("a_new_thing", json!(1)),
            ],
        ),
        (
            "text_encoder/config.json",
            "text_encoder",
            vec![
                ("model_type", json!("t5")),
                ("hidden_act", json!("relu")),
                ("layer_norm_eps", json!(1e-6)),
                ("num_hidden_layers", json!(1)),
                ("max_position_embeddings", json!(248)),
                ("vocab_size", json!(49408)),
                ("is_decoder", json!(true)),
                ("a_new_thing", json!("x")),
            ],
        ),
    ];
    for (file, part, changes) in cases {
        let path = whole.join(file);
        let before = read(&path);
        for (key, value) in changes {
            let mut settings = before.clone();
            settings[key] = value.clone();
            put(&path, &settings);
            let said = opened(&whole, part).expect_err(key);
            let expected = format!("{key} = {value}");
            assert!(said.contains(&expected), "{expected}: {said}");
            assert!(said.contains(file) && !said.contains('\n'), "{said}");
        }
        fs::write(&path, "{").unwrap();
        let said = opened(&whole, part).unwrap_err();
        assert!(said.contains(file), "{said}");
        put(&path, &before);
        opened(&whole, part).unwrap();
    }
}
