//! What a network can learn to predict: each is trained, written, read, resumed, sampled and distilled.

#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "support/idx.rs"]
mod idx;

use burn::tensor::Device;
use fewstep::Request;
use fewstep::data::Dataset;
use fewstep::denoiser::Predicted;
use fewstep::distill::{Distiller, Recipe, TrajectorySource};
use fewstep::grid::Spacing;
use fewstep::model::{Model, Sampling};
use fewstep::network::{NetworkConfig, SongUNetConfig, parameters};
use fewstep::optimizer::AdamConfig;
use fewstep::solver::SolverConfig;
use fewstep::teacher::{TeacherRecipe, Trainer};
use std::path::Path;

/// Ten grey pictures: light from one of ten sides.
fn pictures(folder: &Path) -> Dataset {
    idx::dataset(folder, &[0; 10], |picture, [y, x]| {
        let angle = picture as f64 * 0.6;
        let (x, y) = (x as f64 - 3.5, y as f64 - 3.5);
        (127.5 + 25.0 * (x * angle.cos() + y * angle.sin())).clamp(0.0, 255.0) as u8
    })
}

fn recipe(prediction: Predicted) -> TeacherRecipe {
    let spacing = match prediction {
        Predicted::Flow => Spacing::Flow { shift: 3.0 },
        _ => Spacing::default(),
    };
    TeacherRecipe {
        seed: 6,
        images: 8 * 120,
        batch: 8,
        micro_batch: None,
        learning_rate: 3e-3,
        warmup: 0,
        decay_from: None,
        average_half_life: 100.0,
        level_mean: -0.5,
        level_deviation: 1.2,
        sigma_data: 0.5,
        prediction,
        noise_table: None,
        flip: false,
        adam: AdamConfig::default(),
        network: NetworkConfig::SongUnet(SongUNetConfig {
            resolution: 8,
            channels: 1,
            classes: 0,
            model_channels: 16,
            channel_multipliers: vec![1],
            blocks: 1,
            attention_resolutions: Vec::new(),
            dropout: 0.0,
            step_branch: false,
            ..SongUNetConfig::default()
        }),
        sampling: Sampling {
            solver: SolverConfig::Heun {},
            steps: 6,
            spacing,
            sigma_max: 14.0,
            sigma_min: 0.03,
            analytic_first_step: false,
            step_condition: false,
            step_range: None,
            guidance: 1.0,
        },
        changes: Vec::new(),
    }
}

fn weights(model: &Model) -> Vec<Vec<f32>> {
    let all = parameters(&model.network).into_iter();
    all.map(|p| p.data.try_to_vec().unwrap()).collect()
}

#[test]
fn each_is_trained_written_read_and_distilled() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let device = Device::flex();
    for prediction in [
        Predicted::Edm,
        Predicted::Epsilon,
        Predicted::Velocity,
        Predicted::Flow,
    ] {
        let mut trainer = Trainer::new(recipe(prediction), &device).unwrap();
        let mut losses = Vec::new();
        let mut state = None;
        for round in 0..120 {
            if round == 60 {
                state = Some(trainer.state().unwrap());
            }
            losses.push(trainer.round(&data).unwrap().loss);
        }
        // The weights of the levels make all of them the mean square of what is left of the network's own target.
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&losses[..20]), mean(&losses[100..]));
        println!("{prediction}: {first:.3} to {last:.3}");
        assert!(last < 0.85 * first, "{prediction}: {first} to {last}");
        let model = trainer.model().unwrap();
        let mut again = Trainer::resume(&state.unwrap(), &device).unwrap();
        for _ in 60..120 {
            again.round(&data).unwrap();
        }
        assert!(
            weights(&again.model().unwrap()) == weights(&model),
            "{prediction}"
        );
        // Pictures, whatever is predicted, also when they have been on the disk.
        let path = folder.path().join(format!("{prediction}.safetensors"));
        model.write(&path).unwrap();
        let (model, hash) = Model::read(&path, &device).unwrap();
        assert_eq!(model.card.answer.preconditioning.predicted(), prediction);
        assert!(!model.card.is_latent());
        let images = model.sample(&[0, 1, 2], &Request::default()).unwrap();
        let values: Vec<f32> = images.into_data().iter::<f32>().collect();
        let most = values.iter().fold(0f32, |most, v| most.max(v.abs()));
        assert!(most.is_finite() && most < 5.0, "{prediction}: {most}");
        let student = Recipe {
            seed: 5,
            trajectories: 96,
            batch: 8,
            steps: 2,
            substeps: 2,
            sigma_max: 14.0,
            sigma_min: 0.03,
            learning_rate: 1e-3,
            ..Recipe::default()
        };
        let student = student.for_teacher(&model.card).unwrap();
        let source = TrajectorySource::new(&student, &model, &device).unwrap();
        let mut distiller = Distiller::new(student, &model, hash, &device).unwrap();
        for round in 0..12 {
            let (target, condition) = source.round(round).unwrap();
            distiller.round(&target, &condition).unwrap();
        }
        let student = distiller.model().unwrap();
        assert_eq!(student.card.answer, model.card.answer);
        assert!(weights(&student) != weights(&model));
        student.sample(&[0], &Request::default()).unwrap();
        // One that predicts something else is no start.
        let mut other = recipe(match prediction {
            Predicted::Flow => Predicted::Edm,
            _ => Predicted::Flow,
        });
        other.seed = 1;
        let refused = Trainer::from_model(other, &model, String::new(), &device)
            .err()
            .unwrap();
        assert!(refused.to_string().contains("prediction"), "{refused}");
    }
}

#[test]
fn a_table_goes_with_what_has_one() {
    let table = r#"{"beta-start": 0.0001, "beta-end": 0.02, "levels": 50}"#;
    let mut with = recipe(Predicted::Flow);
    with.noise_table = Some(serde_json::from_str(table).unwrap());
    let refused = with.check().unwrap_err().to_string();
    assert!(
        refused.contains("noise-table") && refused.contains("flow"),
        "{refused}"
    );
    with.prediction = Predicted::Velocity;
    with.check().unwrap();
    assert_eq!(
        with.preconditioning()
            .unwrap()
            .table()
            .unwrap()
            .alphas_cumprod()
            .len(),
        50
    );
    // What recipes say.
    let text = serde_json::to_string(&recipe(Predicted::Edm)).unwrap();
    assert!(
        !text.contains("prediction") && !text.contains("noise-table"),
        "{text}"
    );
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["prediction"] = "noise".into();
    let noise: TeacherRecipe = serde_json::from_value(value).unwrap();
    assert_eq!(noise.prediction, Predicted::Epsilon);
}
