//! Gradient accumulation: a batch taken in parts trains as the whole batch does.
//!
//! Not bit for bit: a sum over 7 images in another order rounds differently. And not with Adam's usual epsilon, which
//! turns a gradient of pure rounding noise (a key bias has no other) into a full step of the learning rate. With an
//! epsilon of 1 an update is as smooth a function of the gradient as plain descent, and every entry can be compared.

#[path = "support/idx.rs"]
mod idx;

use burn::tensor::Device;
use fewstep::data::Dataset;
use fewstep::distill::{Distiller, Recipe, TrajectorySource};
use fewstep::model::{Card, File, Kind, Model};
use fewstep::network::{NetworkConfig, SongUNetConfig, load, parameters};
use fewstep::optimizer::AdamConfig;
use fewstep::teacher::{TeacherRecipe, Trainer};
use proptest::prelude::*;
use std::path::Path;

const BATCH: usize = 7;

fn adam() -> AdamConfig {
    AdamConfig {
        epsilon: 1.0,
        ..AdamConfig::default()
    }
}

fn network(channels: usize, resolution: usize) -> NetworkConfig {
    NetworkConfig::SongUnet(SongUNetConfig {
        resolution,
        channels,
        classes: 0,
        model_channels: 16,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![8],
        augment_labels: 9,
        // Masks must not depend on the parts either.
        dropout: 0.2,
        step_branch: true,
        ..SongUNetConfig::default()
    })
}

/// The bundled golden weights: in a fresh network many gradients are zero.
fn teacher(recipe: &Recipe) -> Model {
    let name = "tests/golden/weights_song_tiny.safetensors";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let tensors = File::read(&path).unwrap().tensors.into_iter();
    let tensors = tensors.map(|(name, data)| (name[2..].to_string(), data));
    let config = network(3, 16);
    let fresh = config.init(0, &Device::flex()).unwrap();
    let network = load(fresh, &tensors.collect(), &|_| false, &path).unwrap();
    Model::new(
        Card {
            format: 1,
            kind: Kind::Teacher,
            network: config,
            answer: 0.5.into(),
            sampling: recipe.sampling(),
            recipe: serde_json::Value::Null,
            trained_on: 0,
            class_names: Vec::new(),
            adapter: None,
            parent: None,
            version: "test".into(),
        },
        network,
    )
}

/// The student's parameters after `rounds` rounds.
fn distilled(micro_batch: Option<usize>, rounds: u64) -> Vec<Vec<f32>> {
    let recipe = Recipe {
        seed: 5,
        trajectories: 1000,
        batch: BATCH,
        micro_batch,
        steps: 2,
        substeps: 2,
        // Large, so that updates stand out from the rounding of the parameters themselves.
        learning_rate: 1e-2,
        adam: adam(),
        ..Recipe::default()
    };
    let device = Device::flex();
    let teacher = teacher(&recipe);
    let source = TrajectorySource::new(
        &recipe.for_teacher(&teacher.card).unwrap(),
        &teacher,
        &device,
    )
    .unwrap();
    let mut student = Distiller::new(
        recipe.for_teacher(&teacher.card).unwrap(),
        &teacher,
        String::new(),
        &device,
    )
    .unwrap();
    for round in 0..rounds {
        let (target, condition) = source.round(round).unwrap();
        student.round(&target, &condition).unwrap();
    }
    values(&student.model().unwrap())
}

/// The teacher's averaged parameters after `rounds` rounds.
fn trained(data: &Dataset, micro_batch: Option<usize>, rounds: u64) -> Vec<Vec<f32>> {
    let recipe = TeacherRecipe {
        seed: 6,
        images: 700,
        batch: BATCH,
        micro_batch,
        learning_rate: 1e-2,
        warmup: 0,
        decay_from: None,
        average_half_life: 10.0,
        level_mean: -1.2,
        level_deviation: 1.2,
        sigma_data: 0.5,
        prediction: Default::default(),
        noise_table: None,
        flip: true,
        adam: adam(),
        network: network(1, 8),
        sampling: Recipe::default().sampling(),
        changes: Vec::new(),
    };
    let mut trainer = Trainer::new(recipe, &Device::flex()).unwrap();
    for _ in 0..rounds {
        trainer.round(data).unwrap();
    }
    values(&trainer.model().unwrap())
}

fn values(model: &Model) -> Vec<Vec<f32>> {
    let all = parameters(&model.network).into_iter();
    all.map(|p| p.data.try_to_vec().unwrap()).collect()
}

/// The largest difference between two results, as a part of the largest change from the start. A difference of one
/// unit in the last place of a parameter is none: that is the rounding of the parameter, not of its update.
fn difference(start: &[Vec<f32>], a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    let largest = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        let pairs = a.iter().flatten().zip(b.iter().flatten());
        let off = pairs.map(|(a, b)| f64::from((a - b).abs() - f32::EPSILON * a.abs()));
        off.fold(0.0, f64::max)
    };
    let change = largest(start, a);
    assert!(change > 1e-6, "nothing was trained");
    largest(a, b) / change
}

/// Whether `train`, given a micro-batch, ends in the same parameters as with the whole batch; `start` has those before.
fn same_in_parts(start: &[Vec<f32>], train: &dyn Fn(Option<usize>) -> Vec<Vec<f32>>) {
    let whole = train(None);
    for micro_batch in [1, 3, BATCH, 100] {
        let parts = train(Some(micro_batch));
        let off = difference(start, &whole, &parts);
        println!("parts of {micro_batch}: {off:.1e}");
        assert!(off < 1e-5, "parts of {micro_batch}: {off:.1e}");
        if micro_batch >= BATCH {
            assert_eq!(parts, whole, "one part is the whole, bit for bit");
        }
    }
}

#[test]
fn a_student_learns_the_same_in_parts() {
    same_in_parts(&distilled(None, 0), &|micro_batch| {
        distilled(micro_batch, 2)
    });
}

#[test]
fn a_teacher_learns_the_same_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let data = idx::uneven(folder.path());
    let start = trained(&data, None, 0);
    same_in_parts(&start, &|micro_batch| trained(&data, micro_batch, 3));
}

#[test]
fn the_measure_sees_a_missing_image() {
    // A batch that forgets its last part is far off: the test above can fail.
    let start = distilled(None, 0);
    let (whole, more) = (distilled(None, 1), distilled(None, 2));
    assert!(difference(&start, &whole, &more) > 0.1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_part_will_do(micro_batch in 1usize..12) {
        let folder = tempfile::tempdir().unwrap();
        let data = idx::uneven(folder.path());
        let start = trained(&data, None, 0);
        let whole = trained(&data, None, 1);
        let parts = trained(&data, Some(micro_batch), 1);
        prop_assert!(difference(&start, &whole, &parts) < 1e-5);
    }
}
