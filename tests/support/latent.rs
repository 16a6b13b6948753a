//! Small random teachers of latent models.

use burn::tensor::{Device, TensorData};
use fewstep::distill::Recipe;
use fewstep::grid::{LogAlphaTable, Spacing};
use fewstep::model::{Card, Kind, Model};
use fewstep::network::{LatentAttention, LatentUNetConfig, NetworkConfig, load, parameters};
use fewstep::noise::{Domain, Stream};
use fewstep::solver::{Prediction, SolverConfig};
use std::path::Path;

/// Tokens and width of the texts.
pub const TEXT: [usize; 2] = [3, 6];

pub fn table() -> LogAlphaTable {
    LogAlphaTable::scaled_linear(0.00085, 0.012, 1000).unwrap()
}

/// A teacher with every weight random; with a text or without.
#[allow(dead_code, reason = "each test program uses its own part")]
pub fn teacher(text: bool) -> Model {
    teacher_of(text.then_some(TEXT[1]))
}

/// A teacher with every weight random, with a text whose tokens are so wide, or without.
pub fn teacher_of(text: Option<usize>) -> Model {
    let network = NetworkConfig::LatentUnet(LatentUNetConfig {
        resolution: 8,
        channels: 4,
        model_channels: 32,
        channel_multipliers: vec![1, 2],
        blocks: 1,
        attention_factors: vec![2],
        attention: match text {
            Some(width) => LatentAttention::Text {
                heads: 8.into(),
                width,
                depth: 1.into(),
                linear: false,
            },
            None => LatentAttention::Pixels { head_channels: 32 },
        },
        added: None,
        dropout: 0.1,
        step_branch: false,
    });
    let fresh = network.init(1, &Device::flex()).unwrap();
    let weights = parameters(&fresh).into_iter().enumerate().map(|(i, p)| {
        let len = p.data.num_elements();
        let scale = (len as f32 / p.shape[0] as f32).sqrt();
        let values = Stream::new(2, Domain::Test, i as u64).normals(len);
        let values: Vec<f32> = values.into_iter().map(|v| v / scale).collect();
        (p.name, TensorData::new(values, p.shape))
    });
    let weights = load(fresh, &weights.collect(), &|_| false, Path::new("x")).unwrap();
    let card = Card {
        format: 1,
        kind: Kind::Teacher,
        network: network.clone(),
        answer: table().into(),
        sampling: Recipe::default().sampling(),
        recipe: serde_json::Value::Null,
        trained_on: 0,
        class_names: Vec::new(),
        adapter: None,
        parent: None,
        version: "test".into(),
    };
    Model::new(
        Card {
            network,
            answer: table().into(),
            sampling: Recipe {
                variable_steps: None,
                ..recipe()
            }
            .sampling(),
            ..card
        },
        weights,
    )
}

pub fn recipe() -> Recipe {
    Recipe {
        seed: 3,
        trajectories: 12,
        batch: 3,
        substeps: 2,
        spacing: Spacing::Discrete {
            rho: 1.0,
            table: table(),
        },
        sigma_max: table().sigma_max(),
        sigma_min: 0.1,
        teacher_solver: SolverConfig::DpmSolverPp {
            order: 2,
            prediction: Prediction::Noise,
            lower_order_final: true,
            thresholding: false,
            corrected: false,
        },
        variable_steps: Some([2, 3]),
        learning_rate: 1e-3,
        ..Recipe::default()
    }
}
