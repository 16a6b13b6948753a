//! Every kind of network from a recipe to images: trained, written, read back, sampled from and distilled.

#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "support/idx.rs"]
mod idx;

use burn::tensor::{Device, Tensor, TensorData};
use fewstep::data::Dataset;
use fewstep::denoiser::{Condition, Denoiser, Preconditioned, one_hot};
use fewstep::distill::{Distiller, Recipe, TrajectorySource};
use fewstep::model::{Model, State};
use fewstep::network::{
    DhariwalUNetConfig, Network, NetworkConfig, StepInit, is_step_parameter, parameters, shapes,
};
use fewstep::noise::{Domain, Stream};
use fewstep::teacher::{TeacherRecipe, Trainer};
use std::path::Path;
use std::time::Instant;

const RECIPE: &str = r#"
seed = 3
images = 640
batch = 8
learning-rate = 2e-3
average-half-life = 50
sampling = { solver = { kind = "dpm-solver-pp" }, steps = 6, spacing = { kind = "polynomial", rho = 7 }, sigma-max = 80, sigma-min = 0.006, analytic-first-step = false }
"#;

/// What all networks here have in common.
const SIZES: &str = "resolution = 8, channels = 1, classes = 2, channel-multipliers = [1, 2], blocks = 1, dropout = 0.1";

/// Thirty grey pictures, bright at the left or at the top.
fn pictures(folder: &Path) -> Dataset {
    let labels: Vec<u8> = (0..30).map(|i| i % 2).collect();
    idx::dataset(folder, &labels, |picture, [y, x]| {
        let inside = [x, y][picture % 2] < 3;
        if inside { 150 + 3 * picture as u8 } else { 20 }
    })
}

fn numbers(images: Tensor<4>) -> Vec<f32> {
    images.into_data().iter::<f32>().collect()
}

/// Trains a network, writes and reads it, and distils two rounds. Returns the fresh and the trained network.
fn through_everything(kind: &str) -> (Network, Network) {
    through(&format!("{RECIPE}\nnetwork = {{ {SIZES}, {kind} }}"))
}

/// The same of a whole recipe.
fn through(recipe: &str) -> (Network, Network) {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let kind = recipe.lines().last().unwrap();
    let recipe: TeacherRecipe = toml::from_str(recipe).unwrap();
    let device = Device::flex();
    let fresh = recipe.network.init(recipe.seed, &device).unwrap();
    let mut trainer = Trainer::new(recipe, &device).unwrap();
    let state = folder.path().join("state.safetensors");
    let mut losses = Vec::new();
    while !trainer.is_finished() {
        losses.push(trainer.round(&data).unwrap().loss);
        // What goes on from a file ends as what was never interrupted: a test of its own says so of the bytes.
        if losses.len() == 20 {
            trainer.state().unwrap().write(&state).unwrap();
            trainer = Trainer::resume(&State::read(&state).unwrap(), &device).unwrap();
        }
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..10]), mean(&losses[losses.len() - 10..]));
    println!("{kind}: loss {first:.3} -> {last:.3}");
    // After 60 rounds the three are at 0.70 (ADM), 0.65 (NCSN++) and 0.45 of where they began.
    assert!(last < 0.8 * first, "{kind}: {first} -> {last}");

    let model = trainer.model().unwrap();
    let path = folder.path().join("teacher.safetensors");
    model.write(&path).unwrap();
    let (read, hash) = Model::read(&path, &device).unwrap();
    assert_eq!(read.card, model.card);
    let noisy = || Tensor::from_data(TensorData::new(normals(4 * 64), [4, 1, 8, 8]), &device);
    let condition = Condition {
        labels: Some(one_hot(&[0, 1, 0, 1], 2, &device).unwrap()),
        ..Condition::default()
    };
    let answer = |model: &Model| numbers(model.denoiser().denoise(noisy(), 1.0, &condition));
    assert_eq!(answer(&read), answer(&model));

    let recipe = Recipe {
        trajectories: 16,
        batch: 8,
        steps: 3,
        substeps: 2,
        step_condition: Some(true),
        ..Recipe::default()
    };
    let source =
        TrajectorySource::new(&recipe.for_teacher(&read.card).unwrap(), &read, &device).unwrap();
    let mut student = Distiller::new(
        recipe.for_teacher(&read.card).unwrap(),
        &read,
        hash.clone(),
        &device,
    )
    .unwrap();
    for round in 0..2 {
        let (target, condition) = source.round(round).unwrap();
        let distances = student.round(&target, &condition).unwrap().distances;
        assert!(distances.iter().all(|d| d.is_finite() && *d > 0.0));
        student.state().unwrap().write(&state).unwrap();
        let read_state = State::read(&state).unwrap();
        student = Distiller::resume(&read_state, &read, hash.clone(), &device).unwrap();
    }
    let student = student.model().unwrap();
    student.write(&path).unwrap();
    let (student, hash) = Model::read(&path, &device).unwrap();
    assert_ne!(answer(&student), answer(&read));
    // As a plain network it answers the same, but for roundings.
    let evaluations = student.card.sampling.evaluations().unwrap();
    let folded = student.fold(evaluations, hash).unwrap();
    assert!(!folded.card.network.has_step_branch());
    let told = Condition {
        steps: student.card.sampling.told_steps(),
        ..condition.clone()
    };
    let whole = numbers(student.denoiser().denoise(noisy(), 1.0, &told));
    let pairs = whole.iter().zip(answer(&folded));
    let error = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(error < 1e-4, "{error}");
    (fresh, model.network)
}

fn normals(n: usize) -> Vec<f32> {
    Stream::new(0, Domain::Test, 0).normals(n)
}

#[test]
fn adm_learns() {
    through_everything(
        r#"kind = "dhariwal-unet", model-channels = 64, attention-resolutions = [4]"#,
    );
}

#[test]
fn ncsnpp_learns_and_keeps_its_frequencies() {
    let (fresh, trained) = through_everything(
        r#"kind = "song-unet", model-channels = 16, attention-resolutions = [4], embedding = "fourier", noise-multiplier = 2, encoder = "residual", resample-filter = "binomial""#,
    );
    let frequencies = |network: &Network| {
        let mut all = parameters(network).into_iter();
        all.find(|p| p.name == "model.map_noise.freqs")
            .unwrap()
            .data
    };
    assert_eq!(frequencies(&trained), frequencies(&fresh));
}

/// Some hundred steps: at first its blocks and its answer are shut by gates of zero.
#[test]
fn transformer_learns() {
    let recipe = RECIPE.replace("images = 640", "images = 2400");
    through(&format!(
        r#"{recipe}
network = {{ kind = "transformer", resolution = 8, channels = 1, classes = 2, patch = 2, width = 32, depth = 2, heads = 4, dropout = 0.1 }}"#,
    ));
}

#[test]
fn skips_learn() {
    through_everything(
        r#"kind = "song-unet", model-channels = 16, attention-resolutions = [], encoder = "skip", decoder = "skip""#,
    );
}

/// The published ImageNet-64 network with the step branch. Takes 2 GiB and, on two cores, half a minute:
/// `cargo test --release --workspace --test network -- --ignored --nocapture`.
#[test]
#[ignore = "needs 2 GiB"]
fn imagenet64_runs_at_full_size() {
    let config = NetworkConfig::DhariwalUnet(DhariwalUNetConfig {
        step_branch: true,
        ..DhariwalUNetConfig::default()
    });
    let device = Device::flex();
    let started = Instant::now();
    let network = config.init_with(0, StepInit::Zero, &device).unwrap();
    println!("built in {:.1} s", started.elapsed().as_secs_f64());
    let all = shapes(&network).into_iter();
    let branch = all.filter(|(name, _)| is_step_parameter(name)).count();
    assert_eq!(branch, 76);
    let denoiser = Preconditioned::new(network, 0.5);
    let noisy = TensorData::new(normals(3 * 64 * 64), [1, 3, 64, 64]);
    let condition = Condition {
        labels: Some(one_hot(&[207], 1000, &device).unwrap()),
        steps: Some(4),
        ..Condition::default()
    };
    let noisy = Tensor::<4>::from_data(noisy, &device);
    for _ in 0..2 {
        let started = Instant::now();
        let denoised = denoiser.denoise(noisy.clone(), 1.0, &condition);
        let found = numbers(denoised);
        println!("one image in {:.1} s", started.elapsed().as_secs_f64());
        // The last convolution starts at zero: c_skip x is left, and c_skip is 1 / 5 here.
        let scaled = normals(3 * 64 * 64).into_iter().zip(found);
        assert!(scaled.into_iter().all(|(x, d)| (0.2 * x - d).abs() < 1e-6));
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find(|line| line.starts_with("VmHWM"));
        println!("{}", peak.unwrap_or_default());
    }
}
