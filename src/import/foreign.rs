//! Files that people have and that are no model to be read here: what they are, and what can be done.

use crate::container::TensorInfo;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What is in a folder in which there is no U-Net of diffusers.
pub(super) fn folder(path: &Path) -> Option<String> {
    if [
        "pytorch_lora_weights.safetensors",
        "adapter_model.safetensors",
    ]
    .iter()
    .any(|name| path.join(name).is_file())
    {
        return Some(
            "it is the folder of an adapter (LoRA), changes to a model and no model; name the model, and the file in this folder \
             with --lora"
                .into(),
        );
    }
    let index = std::fs::read_to_string(path.join("model_index.json")).unwrap_or_default();
    let index: Value = serde_json::from_str(&index).unwrap_or_default();
    if let Some(pipeline) = index["_class_name"].as_str() {
        let pipeline: String = pipeline.chars().take(LONGEST).collect();
        return Some(match path.join("transformer").is_dir() {
            true => format!(
                "it is the folder of a {pipeline}, whose network is a transformer, which is not built here; of Stable \
                 Diffusion, 1.x, 2.x and XL can be read"
            ),
            false => format!(
                "it is the folder of a {pipeline}, but its weights, unet/diffusion_pytorch_model.safetensors, are not there; get them, or the folder as a whole"
            ),
        });
    }
    let mut entries: Vec<_> = std::fs::read_dir(path).ok()?.flatten().collect();
    entries.retain(|entry| {
        let path = entry.path();
        let end = path.extension().and_then(|end| end.to_str());
        end.is_some_and(|end| WEIGHTS.contains(&end)) && path.is_file()
    });
    match entries.as_slice() {
        [only] => Some(format!(
            "it is no folder of diffusers, and has one file with weights: give {}",
            only.path().display()
        )),
        _ => None,
    }
}

/// Ends of names of files with weights.
const WEIGHTS: [&str; 6] = ["safetensors", "ckpt", "pt", "pth", "pkl", "bin"];
/// Letters of a name that are repeated to the user.
const LONGEST: usize = 80;

/// Looks names and shapes of a file up.
struct Names<'a>(&'a BTreeMap<String, TensorInfo>);

impl Names<'_> {
    fn part(&self, any: &[&str]) -> bool {
        let inside = |name: &String| any.iter().any(|part| name.contains(part));
        self.0.keys().any(inside)
    }

    fn start(&self, any: &[&str]) -> bool {
        let starts = |name: &String| any.iter().any(|start| name.starts_with(start));
        self.0.keys().any(starts)
    }

    /// The dimensions of the tensor whose name is `end` but for what is before a dot.
    fn shape(&self, end: &str) -> Option<&[usize]> {
        let dotted = |name: &str| match name.strip_suffix(end) {
            Some(before) => before.is_empty() || before.ends_with('.'),
            None => false,
        };
        let mut all = self.0.iter();
        let (_, info) = all.find(|(name, _)| dotted(name))?;
        Some(&info.shape)
    }

    /// Dimension `n` of the tensor with exactly this name.
    fn size(&self, name: &str, n: usize) -> Option<usize> {
        self.0.get(name)?.shape.get(n).copied()
    }
}

/// A family of models whose parts are not those of Stable Diffusion 1, 2 and XL.
pub(super) fn family(tensors: &BTreeMap<String, TensorInfo>) -> Option<&'static str> {
    let names = Names(tensors);
    let transformer = [
        "joint_blocks.",
        "double_blocks.",
        "double_stream",
        "single_transformer_blocks.",
    ];
    if names.part(&transformer) || names.part(&["transformer_blocks.0.attn.add_k_proj"]) {
        return Some(
            "it is a diffusion transformer (Stable Diffusion 3, Flux or like them), a kind of network that is not built here; \
             of Stable Diffusion, 1.x, 2.x and XL can be read",
        );
    }
    None
}

/// What weights belong to, by their names and shapes, if that is nothing that is built here.
pub(super) fn weights(tensors: &BTreeMap<String, TensorInfo>) -> Option<String> {
    let names = Names(tensors);
    let lora = [
        "lora_down.",
        "lora_up.",
        "lora_A.",
        "lora_B.",
        ".lora.",
        "lora_linear_layer.",
        "hada_w1",
        "lokr_w",
        "lora_unet_",
        "lora_te",
    ];
    if names.part(&lora) {
        return Some(
            "it is an adapter (LoRA or like it), changes to a model and no model; name the model, and this with --lora, or make \
             one of both (fewstep convert MODEL OUT --merge --lora FILE)"
                .into(),
        );
    }
    if names.start(&["control_model."])
        || names.part(&[
            "controlnet_cond_embedding.",
            "input_hint_block.",
            "zero_convs.",
        ])
    {
        return Some(
            "it is a ControlNet, which steers a model and is none; give the model that it was made for".into(),
        );
    }
    if names.start(&["ip_adapter.", "image_proj."])
        || names.part(&["adapter.body.0.", "motion_modules."])
    {
        return Some(
            "it is an adapter, an addition to a model; give the model that it was made for".into(),
        );
    }
    if let Some(family) = family(tensors) {
        return Some(family.into());
    }
    if names.part(&[".SelfAttention.q.weight"]) {
        return Some(
            "it is a T5 text encoder, of another family of models; nothing here uses one".into(),
        );
    }
    // A mark that some trainers leave, because nothing else in a file tells.
    if tensors.contains_key("edm_vpred.sigma_max") {
        return Some(
            "by a mark in it (edm_vpred), it was trained with EDM's noise levels and predicts velocities; of Stable Diffusion, \
             models with a table of noise levels are built here"
                .into(),
        );
    }
    if names.start(&["emb_params", "string_to_param."]) {
        return Some(
            "it is a textual inversion, a word for a model and no model; nothing here uses one"
                .into(),
        );
    }
    unet(&names).or_else(|| part(&names).map(str::to_string))
}

/// Numbers that the refiner of Stable Diffusion XL is told besides a text, and the width of that.
const REFINER: (Option<usize>, Option<usize>) = (Some(2560), Some(1280));

/// What a U-Net is that has another shape than those that are built.
fn unet(names: &Names<'_>) -> Option<String> {
    let compvis = names.shape("input_blocks.0.0.weight");
    let diffusers = names
        .0
        .get("conv_in.weight")
        .map(|info| info.shape.as_slice());
    let (Some(&[_, takes, 3, 3]), out) = (
        compvis.or(diffusers),
        match compvis {
            Some(_) => names.shape("out.2.weight"),
            None => names
                .0
                .get("conv_out.weight")
                .map(|info| info.shape.as_slice()),
        },
    ) else {
        return None;
    };
    let gives = out
        .and_then(|shape| shape.first().copied())
        .unwrap_or(takes);
    if takes != gives {
        let kind = match (takes, gives) {
            (9, 4) => {
                "an inpainting model, which is given a mask and a masked picture besides the latents"
            }
            (8, 4) => "one that is given a picture to change besides the latents (InstructPix2Pix)",
            (5, 4) => "one that is given depth besides the latents",
            (7, 4) => "an upscaler, which is given a small picture besides the latents",
            _ if gives == 2 * takes => "one that predicts variances besides the noise",
            _ => "one that is given or gives something besides the latents",
        };
        return Some(format!(
            "its U-Net takes {takes} channels and gives {gives}: {kind}; that is not built here; give a model of the usual \
             kind, with as many out as in"
        ));
    }
    let width = |end: &str| names.shape(end).and_then(|shape| shape.get(1).copied());
    let told = width("label_emb.0.0.weight").or_else(|| width("add_embedding.linear_1.weight"));
    let text = ["middle_block.1.", "mid_block.attentions.0."]
        .iter()
        .find_map(|place| width(&format!("{place}transformer_blocks.0.attn2.to_k.weight")));
    if (told, text) == REFINER {
        return Some(
            "it is the refiner of Stable Diffusion XL, which ends what the base begins and is told how good a picture is to be; \
             that is not built here; give the base"
                .into(),
        );
    }
    if !names.part(&["middle_block.", "mid_block."]) {
        return Some(
            "its U-Net has no middle block (BK-SDM, small-sd and other networks with blocks taken out); that is not built \
             here; give the model that it was made from"
                .into(),
        );
    }
    let text = names.part(&["transformer_blocks."]);
    (compvis.is_none() && !text).then(|| {
        "it is a U-Net of diffusers without a text (UNet2DModel), which is not built here; EDM's networks and the latent \
         models of CompVis are read"
            .into()
    })
}

/// A part of a latent model that was given for the whole.
fn part(names: &Names<'_>) -> Option<&'static str> {
    let unet = names.shape("time_embed.0.weight").is_some()
        || names.size("time_embedding.linear_1.weight", 0).is_some();
    if unet {
        return None;
    }
    if names.shape("decoder.conv_in.weight").is_some()
        && names.shape("encoder.conv_in.weight").is_some()
    {
        return Some(
            "it is an autoencoder alone, without a U-Net; give the model, and this one with --autoencoder if the model has none",
        );
    }
    let token = names.shape("embeddings.token_embedding.weight").is_some()
        || names.part(&["transformer.resblocks.0."]);
    token.then_some(
        "it is a text encoder alone, without a U-Net; give the model, and this one with --text-encoder if the model has none",
    )
}
