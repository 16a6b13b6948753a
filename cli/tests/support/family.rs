//! Small random models of Stable Diffusion 2 and XL, as single files with the original names and as folders of diffusers.

use crate::latent::{self, SYMBOLS, Tensors, tensors, tokenizer, unet_as, write};
use crate::support::World;
use burn::tensor::{DType, TensorData};
use fewstep::autoencoder::AutoencoderConfig;
use fewstep::model::File;
use fewstep::network::{Added, LatentAttention, LatentUNetConfig, NetworkConfig};
use fewstep::text::TextEncoderConfig;
use serde_json::{Value, json};
use std::fs;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Second,
    Xl,
}

/// Width of each encoder, one head of 64 as in the published ones, and of a text as a whole.
const WIDTH: usize = 64;
const WHOLE: usize = 32;

/// 8 x 8 latents.
pub fn network(family: Family) -> NetworkConfig {
    let xl = family == Family::Xl;
    NetworkConfig::LatentUnet(LatentUNetConfig {
        resolution: 8,
        channels: 4,
        model_channels: 64,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_factors: vec![2],
        attention: LatentAttention::Text {
            heads: vec![1, 2].into(),
            width: if xl { 2 * WIDTH } else { WIDTH },
            depth: if xl { 2.into() } else { 1.into() },
            linear: true,
        },
        added: xl.then_some(Added {
            text: WHOLE,
            waves: 8,
        }),
        dropout: 0.0,
        step_branch: false,
    })
}

/// 64 x 64 pixels of 8 x 8 latents.
pub fn autoencoder() -> AutoencoderConfig {
    AutoencoderConfig {
        channel_multipliers: vec![1, 1, 1, 1],
        ..latent::autoencoder(true)
    }
}

fn encoder(layers: usize) -> TextEncoderConfig {
    TextEncoderConfig {
        layers,
        ..latent::text_encoder(SYMBOLS)
    }
}

/// A text encoder under OpenCLIP's names from one under those of transformers.
fn open_clip(prefix: &str, ours: &Tensors) -> Tensors {
    let mut all = Tensors::new();
    let values = |data: &TensorData| {
        data.clone()
            .convert::<f32>()
            .iter::<f32>()
            .collect::<Vec<_>>()
    };
    let fixed = [
        (
            "text_model.embeddings.token_embedding.weight",
            "token_embedding.weight",
        ),
        (
            "text_model.embeddings.position_embedding.weight",
            "positional_embedding",
        ),
        ("text_model.final_layer_norm.weight", "ln_final.weight"),
        ("text_model.final_layer_norm.bias", "ln_final.bias"),
    ];
    let parts = [
        ("self_attn.out_proj", "attn.out_proj"),
        ("layer_norm1", "ln_1"),
        ("layer_norm2", "ln_2"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
    ];
    for (name, data) in ours {
        if let Some((_, theirs)) = fixed.iter().find(|(ours, _)| ours == name) {
            all.insert(format!("{prefix}{theirs}"), data.clone());
        } else if name == "text_projection.weight" {
            // Turned over.
            let &[rows, columns] = data.shape().as_slice() else {
                panic!("a matrix")
            };
            let old = values(data);
            let turned = (0..rows * columns).map(|i| old[i % rows * columns + i / rows]);
            let turned = TensorData::new(turned.collect::<Vec<f32>>(), [columns, rows]);
            all.insert(
                format!("{prefix}text_projection"),
                turned.convert_dtype(data.dtype()),
            );
        } else {
            let rest = name.strip_prefix("text_model.encoder.layers.").unwrap();
            let (layer, part) = rest.split_once('.').unwrap();
            let start = format!("{prefix}transformer.resblocks.{layer}");
            let (module, kind) = part.rsplit_once('.').unwrap();
            if let Some((_, theirs)) = parts.iter().find(|(ours, _)| *ours == module) {
                all.insert(format!("{start}.{theirs}.{kind}"), data.clone());
            } else if module == "self_attn.q_proj" {
                let all_three = ["q", "k", "v"].map(|letter| {
                    let name =
                        format!("text_model.encoder.layers.{layer}.self_attn.{letter}_proj.{kind}");
                    values(&ours[&name])
                });
                let mut shape = data.shape().to_vec();
                shape[0] *= 3;
                let packed = TensorData::new(all_three.concat(), shape);
                all.insert(
                    format!("{start}.attn.in_proj_{kind}"),
                    packed.convert_dtype(data.dtype()),
                );
            }
        }
    }
    all
}

/// Writes `single.safetensors`, all parts under the original names, and the folder `folder`, the same as diffusers writes it.
pub fn both(world: &World, family: Family) {
    let xl = family == Family::Xl;
    let unet = unet_as(DType::F16, &network(family));
    let vae = tensors("", &autoencoder().keys().unwrap());
    // Of the second model, the single file has a layer that is not used.
    let draw =
        |config: TextEncoderConfig, projection| tensors("", &config.keys_with(projection).unwrap());
    let (first, second) = (draw(encoder(2), None), draw(encoder(3), Some(WHOLE)));
    let mut single = unet.clone();
    let start = |tensors: &Tensors, prefix: &str| -> Tensors {
        let named = tensors.iter();
        named
            .map(|(name, data)| (format!("{prefix}{name}"), data.clone()))
            .collect()
    };
    single.extend(start(&vae, "first_stage_model."));
    match xl {
        true => {
            single.extend(start(&first, "conditioner.embedders.0.transformer."));
            single.extend(open_clip("conditioner.embedders.1.model.", &second));
        }
        false => single.extend(open_clip("cond_stage_model.model.", &second)),
    }
    if !xl {
        single.insert("v_pred".into(), TensorData::new(vec![0f32; 1], [1]));
    }
    write(&world.path("single.safetensors"), single);

    write(&world.path("unet.safetensors"), unet);
    let raw = match xl {
        true => {
            // How the numbers that are told are cut, a U-Net alone does not say.
            "convert single.safetensors folder --to diffusers"
        }
        false => "convert unet.safetensors folder --to diffusers",
    };
    world.prints(raw);
    let unet = world.path("folder/unet/diffusion_pytorch_model.safetensors");
    let plain = File {
        json: None,
        ..File::read(&unet).unwrap()
    };
    plain.write(&unet).unwrap();
    let settings = unet.with_file_name("config.json");
    let mut told: Value = serde_json::from_str(&fs::read_to_string(&settings).unwrap()).unwrap();
    told["sample_size"] = json!(8);
    fs::write(&settings, told.to_string()).unwrap();
    let put = |name: &str, value: Value| {
        let path = world.path(format!("folder/{name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value.to_string()).unwrap();
    };
    let weights =
        |name: &str, tensors: Tensors| write(&world.path(format!("folder/{name}")), tensors);
    weights("vae/diffusion_pytorch_model.safetensors", vae);
    let scale = if xl { 0.13025 } else { 0.18215 };
    put("vae/config.json", json!({"scaling_factor": scale}));
    let openclip = json!({"num_attention_heads": 1, "hidden_act": "gelu"});
    let pad = |pad: &str| json!({"pad_token": pad});
    match xl {
        true => {
            weights("text_encoder/model.safetensors", first);
            put(
                "text_encoder/config.json",
                json!({"num_attention_heads": 1, "hidden_act": "quick_gelu"}),
            );
            weights("text_encoder_2/model.safetensors", second);
            put("text_encoder_2/config.json", openclip);
            put("tokenizer/tokenizer_config.json", pad("<|endoftext|>"));
            put("tokenizer_2/tokenizer_config.json", pad("!"));
        }
        false => {
            // The folder has a layer less, and no projection.
            let less = second.into_iter().filter(|(name, _)| {
                name != "text_projection.weight" && !name.contains("encoder.layers.2.")
            });
            weights("text_encoder/model.safetensors", less.collect());
            put("text_encoder/config.json", openclip);
            put("tokenizer/tokenizer_config.json", pad("!"));
        }
    }
    let prediction = if xl { "epsilon" } else { "v_prediction" };
    put(
        "scheduler/scheduler_config.json",
        json!({"prediction_type": prediction}),
    );
    tokenizer(&world.path("folder/tokenizer"));
    if xl {
        tokenizer(&world.path("folder/tokenizer_2"));
    }
}
