//! A small random teacher and short distillations of it.

use burn::tensor::{Device, TensorData};
use fewstep::distill::{Distiller, Recipe, TrajectorySource};
use fewstep::model::{Card, Kind, Model};
use fewstep::network::{NetworkConfig, SongUNetConfig, load, parameters};
use fewstep::noise::{Domain, Stream};
use std::path::Path;

/// Height and width of its images.
pub const SIDE: usize = 8;

/// A network with every weight random: in a fresh one many gradients are zero.
pub fn teacher(classes: usize) -> Model {
    let config = NetworkConfig::SongUnet(SongUNetConfig {
        resolution: SIDE,
        channels: 1,
        classes,
        model_channels: 8,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        augment_labels: 0,
        dropout: 0.1,
        step_branch: false,
        ..SongUNetConfig::default()
    });
    let fresh = config.init(1, &Device::flex()).unwrap();
    let weights = parameters(&fresh).into_iter().enumerate().map(|(i, p)| {
        let len = p.data.num_elements();
        let scale = (len as f32 / p.shape[0] as f32).sqrt();
        let values = Stream::new(2, Domain::Test, i as u64).normals(len);
        let values: Vec<f32> = values.into_iter().map(|v| v / scale).collect();
        (p.name, TensorData::new(values, p.shape))
    });
    let network = load(fresh, &weights.collect(), &|_| false, Path::new("x")).unwrap();
    Model::new(
        Card {
            format: 1,
            kind: Kind::Teacher,
            network: config,
            answer: 0.5.into(),
            sampling: Recipe::default().sampling(),
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

/// A short run's settings.
pub fn short() -> Recipe {
    Recipe {
        seed: 3,
        trajectories: 24,
        batch: 4,
        substeps: 2,
        learning_rate: 1e-3,
        ..Recipe::default()
    }
}

/// The same for several numbers of steps.
pub fn several() -> Recipe {
    Recipe {
        variable_steps: Some([3, 6]),
        ..short()
    }
}

/// Runs `rounds` rounds, or all.
pub fn run(distiller: &mut Distiller, source: &TrajectorySource, rounds: Option<u64>) {
    let end = rounds.map_or(distiller.recipe().rounds(), |n| distiller.rounds() + n);
    while distiller.rounds() < end {
        distiller.advance(source).unwrap();
    }
}

/// The student of a whole run.
pub fn distilled(recipe: &Recipe, teacher: &Model) -> Model {
    let device = Device::flex();
    let source = TrajectorySource::new(
        &recipe.for_teacher(&teacher.card).unwrap(),
        teacher,
        &device,
    )
    .unwrap();
    let mut distiller = Distiller::new(
        recipe.for_teacher(&teacher.card).unwrap(),
        teacher,
        "p".into(),
        &device,
    )
    .unwrap();
    run(&mut distiller, &source, None);
    distiller.model().unwrap()
}
