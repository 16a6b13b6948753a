//! Latent networks of the published sizes with random weights: a picture, and a round of distillation. Minutes and
//! gigabytes, so each is run by hand, alone, for its memory is the process's:
//!
//! ```text
//! cargo test --release --workspace --test full_size_latent -- --ignored --nocapture --exact stable_diffusion_round
//! ```

use burn::tensor::{Device, Tensor, TensorData};
use fewstep::autoencoder::AutoencoderConfig;
use fewstep::denoiser::{Condition, Contexts, Guided, Preconditioning};
use fewstep::distill::{Distiller, Recipe, TrajectorySource};
use fewstep::grid::Spacing;
use fewstep::model::Model;
use fewstep::network::Precision;
use fewstep::noise::{self, Domain, Stream};
use fewstep::sampler::Sampler;
use fewstep::solver::{Euler, Prediction, SolverConfig};
use fewstep::workload::Preset;
use std::time::Instant;

/// Tokens of a text.
const TOKENS: usize = 77;

/// The largest memory of this process so far, in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    let seconds = start.elapsed().as_secs_f64();
    let memory = peak_memory().map(|bytes| bytes / 1_000_000);
    println!("{what}: {seconds:.1} s, largest memory so far {memory:?} MB");
    result
}

/// Nothing may have needed more than this many bytes.
fn within(most: u64) {
    let peak = peak_memory().unwrap_or(0);
    assert!(peak <= most, "{peak} bytes are more than {most}");
}

/// Some texts' tokens, of a size that a text encoder gives.
fn texts(count: usize, index: u64) -> Tensor<3> {
    let values = Stream::new(9, Domain::Test, index).normals(count * TOKENS * 768);
    Tensor::from_data(
        TensorData::new(values, [count, TOKENS, 768]),
        &Device::flex(),
    )
}

/// The paper's settings for two evaluations, with what saves memory; two trajectories one after the other.
fn recipe(preset: Preset, model: &Model) -> Recipe {
    let Preconditioning::Discrete(table) = model.card.answer.preconditioning.clone() else {
        panic!("a latent model has a table of noise levels")
    };
    let text = preset == Preset::StableDiffusion;
    Recipe {
        batch: 2,
        trajectories: 2,
        // Fewer than the paper's 4, for time: they change no memory.
        substeps: 1,
        micro_batch: Some(1),
        gradient_checkpointing: true,
        teacher_precision: Precision::F16,
        sigma_max: table.sigma_max(),
        sigma_min: if text { 0.1 } else { 0.006 },
        spacing: Spacing::Discrete { rho: 1.0, table },
        teacher_solver: SolverConfig::DpmSolverPp {
            order: if text { 2 } else { 3 },
            prediction: Prediction::Noise,
            lower_order_final: true,
            thresholding: false,
            corrected: false,
        },
        ..Recipe::default()
    }
}

fn round(preset: Preset, most: u64) {
    fewstep::keep_freed_memory();
    let device = Device::flex();
    let model = timed("drawn", || preset.model(&device).unwrap());
    let recipe = recipe(preset, &model);
    let mut distiller = Distiller::new(
        recipe.for_teacher(&model.card).unwrap(),
        &model,
        String::new(),
        &device,
    )
    .unwrap();
    let teacher = timed("rounded", || recipe.teacher(&model).unwrap());
    drop(model);
    let mut source = TrajectorySource::new(
        &recipe.for_teacher(&teacher.card).unwrap(),
        &teacher,
        &device,
    )
    .unwrap();
    if preset == Preset::StableDiffusion {
        let contexts = Contexts::new(texts(4, 0), None).unwrap();
        source = source.with_contexts(contexts).unwrap();
    }
    let (target, condition) = timed("teacher's trajectories", || source.round(0).unwrap());
    let round = timed("student's steps", || {
        distiller.round(&target, &condition).unwrap()
    });
    assert!(round.distances.iter().all(|d| d.is_finite()));
    within(most);
}

/// Four steps and a picture; a text is followed at 7.5.
fn picture(preset: Preset, decoder: &AutoencoderConfig, most: u64) {
    fewstep::keep_freed_memory();
    let device = Device::flex();
    let model = timed("drawn", || preset.model(&device).unwrap());
    let recipe = recipe(preset, &model);
    let grid = recipe
        .spacing
        .grid(4, recipe.sigma_min, recipe.sigma_max)
        .unwrap();
    let text = preset == Preset::StableDiffusion;
    let condition = Condition {
        context: text.then(|| texts(1, 0)),
        negative: text.then(|| texts(1, 1)),
        ..Condition::default()
    };
    let shape = model.card.network.image_shape();
    let guided = Guided {
        denoiser: model.denoiser(),
        weight: if text { 7.5 } else { 1.0 },
    };
    let sampler = Sampler {
        denoiser: &guided,
        solver: &Euler,
        grid: &grid,
        analytic_first_step: false,
        denoise_to_zero: false,
    };
    let start = noise::latents(&[0], shape, &device).mul_scalar(grid.sigma_max());
    let latents = timed("four steps", || {
        let latents = sampler.sample(start, &condition);
        let data = latents.clone().into_data();
        assert!(data.iter::<f32>().all(f32::is_finite));
        latents
    });
    // The network is not needed any more.
    drop(guided);
    let decoder = decoder.init(0, &device).unwrap();
    let image = timed("decoded", || decoder.decode(latents).unwrap().into_data());
    assert!(image.iter::<f32>().all(f32::is_finite));
    println!("{:?}", image.shape());
    within(most);
}

#[test]
#[ignore = "minutes and 7 GB; see the top of the file"]
fn stable_diffusion_picture() {
    picture(
        Preset::StableDiffusion,
        &AutoencoderConfig::kl_f8(),
        8_000_000_000,
    );
}

#[test]
#[ignore = "minutes and 18 GB; see the top of the file"]
fn stable_diffusion_round() {
    round(Preset::StableDiffusion, 20_000_000_000);
}

#[test]
#[ignore = "minutes and 5 GB; see the top of the file"]
fn lsun_bedroom_picture() {
    picture(
        Preset::LsunBedroom,
        &AutoencoderConfig::vq_f4(),
        8_000_000_000,
    );
}

#[test]
#[ignore = "minutes and 8 GB; see the top of the file"]
fn lsun_bedroom_round() {
    round(Preset::LsunBedroom, 20_000_000_000);
}
