//! Golden cases of networks as cases of ONNX.

use super::onnx::{Cases, card};
use burn::tensor::{Device, TensorData};
use fewstep::denoiser::Preconditioning;
use fewstep::export::{Onnx, OnnxGraph};
use fewstep::grid::{LogAlphaTable, Spacing};
use fewstep::model::{Answer, File, Model, Sampling};
use fewstep::network::{
    DhariwalUNetConfig, LatentAttention, LatentUNetConfig, NetworkConfig, SongUNetConfig, load,
};
use fewstep::solver::SolverConfig;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder of golden cases; `None` where there is none.
pub fn folder(name: &str) -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = shared.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let on_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!on_ci, "the golden cases are missing: {}", folder.display());
    eprintln!("skipped: no golden cases at {}", folder.display());
    None
}

/// DDPM++ and ADM, the second with classes.
pub fn networks() -> Vec<(&'static str, NetworkConfig)> {
    let song = SongUNetConfig {
        resolution: 16,
        channels: 3,
        model_channels: 16,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![8],
        augment_labels: 9,
        dropout: 0.0,
        step_branch: true,
        ..SongUNetConfig::default()
    };
    let adm = DhariwalUNetConfig {
        resolution: 8,
        channels: 3,
        classes: 10,
        model_channels: 16,
        channel_multipliers: vec![8],
        blocks: 0,
        attention_resolutions: vec![8],
        augment_labels: 0,
        dropout: 0.0,
        step_branch: true,
    };
    vec![
        ("song_tiny", NetworkConfig::SongUnet(song)),
        ("adm_2heads", NetworkConfig::DhariwalUnet(adm)),
    ]
}

fn read(path: &Path) -> File {
    File::read(path).unwrap()
}

/// A tensor of a file, as f32.
fn tensor(file: &File, name: &str) -> TensorData {
    let data = &file.tensors[name];
    TensorData::new(data.iter::<f32>().collect::<Vec<_>>(), data.shape().clone())
}

/// The level of each of three images.
fn levels(file: &File, name: &str) -> TensorData {
    let values: Vec<f32> = file.tensors[name].iter::<f32>().collect();
    let each = (0..3).map(|i| values[i % values.len()]);
    TensorData::new(each.collect::<Vec<_>>(), [3])
}

fn model(folder: &Path, name: &str, network: &NetworkConfig, answer: impl Into<Answer>) -> Model {
    let path = folder.join(format!("weights_{name}.safetensors"));
    let weights = read(&path).tensors.into_iter();
    let named = |(name, data): (String, TensorData)| Some((name.strip_prefix("w/")?.into(), data));
    let weights: BTreeMap<String, TensorData> = weights.filter_map(named).collect();
    let blank = network.blank(&Device::flex()).unwrap();
    let loaded = load(blank, &weights, &|_| false, &path).unwrap();
    let sampling = Sampling {
        solver: SolverConfig::Euler {},
        steps: 4,
        spacing: Spacing::default(),
        sigma_max: 80.0,
        sigma_min: 0.006,
        analytic_first_step: false,
        step_condition: true,
        step_range: None,
        guidance: 1.0,
    };
    Model::new(card(network, answer, sampling), loaded)
}

/// Each of three images is told the same number of timestamps.
fn timestamps() -> TensorData {
    TensorData::new(vec![5f32; 3], [3])
}

const HOW: OnnxGraph = OnnxGraph::Denoiser;

pub fn pixels(cases: &Cases, folder: &Path, name: &str, network: NetworkConfig) {
    let model = model(folder, name, &network, Preconditioning::Edm(0.5));
    let file = read(&folder.join(format!("network_{name}.safetensors")));
    for at in ["s0", "s1"] {
        let mut inputs = vec![
            ("noisy", tensor(&file, &format!("in/{at}/x"))),
            ("sigma", levels(&file, &format!("in/{at}/sigma"))),
            ("timestamps", timestamps()),
        ];
        if network.classes() > 0 {
            inputs.push(("labels", tensor(&file, "in/labels")));
        }
        let wanted = tensor(&file, &format!("out/{at}_step5/D"));
        let (name, output) = (format!("{name}-{at}"), ("denoised", wanted));
        cases.add(&name, Onnx::new(HOW), &model, (inputs, output));
    }
}

/// The U-Net of Stable Diffusion.
pub fn latent(cases: &Cases, folder: &Path) {
    let network = NetworkConfig::LatentUnet(LatentUNetConfig {
        resolution: 16,
        channels: 4,
        model_channels: 64,
        channel_multipliers: vec![1, 1],
        blocks: 1,
        attention_factors: vec![1],
        attention: LatentAttention::Text {
            heads: 4.into(),
            width: 32,
            depth: 1.into(),
            linear: false,
        },
        step_branch: true,
        ..LatentUNetConfig::default()
    });
    let table = LogAlphaTable::scaled_linear(0.00085, 0.012, 1000).unwrap();
    let model = model(folder, "sd_tiny", &network, Preconditioning::from(table));
    let file = read(&folder.join("latent_denoiser_sd_tiny.safetensors"));
    for at in ["s0", "s1", "s2"] {
        let inputs = vec![
            ("noisy", tensor(&file, &format!("in/{at}/x"))),
            ("sigma", levels(&file, &format!("in/{at}/sigma"))),
            ("context", tensor(&file, "in/context")),
            ("timestamps", timestamps()),
        ];
        let wanted = tensor(&file, &format!("out/{at}_w1_step5/D"));
        let (name, output) = (format!("sd-{at}"), ("denoised", wanted));
        cases.add(&name, Onnx::new(HOW), &model, (inputs, output));
    }
}

/// A folder of diffusers, and what diffusers' network of it answers.
pub fn xl(cases: &Cases, folder: &Path) {
    let path = folder.join("diffusers_sdxl");
    let (model, _) = fewstep::import::open(&path, &Device::flex()).unwrap();
    let file = read(&folder.join("sdxl.safetensors"));
    for (at, sigma) in [("d0", 12.0f32), ("d1", 1.7), ("d2", 0.2)] {
        let inputs = vec![
            ("noisy", tensor(&file, &format!("in/{at}/x"))),
            ("sigma", TensorData::new(vec![sigma; 2], [2])),
            ("context", tensor(&file, "out/context")),
            ("pooled", tensor(&file, "out/pooled")),
            ("sizes", tensor(&file, "in/time_ids")),
        ];
        let wanted = tensor(&file, &format!("out/{at}"));
        let (name, output) = (format!("xl-{at}"), ("denoised", wanted));
        cases.add(&name, Onnx::new(HOW), &model, (inputs, output));
    }
}
