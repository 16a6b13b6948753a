//! Students of low-rank adapters, of every kind of network.

#![allow(dead_code)] // Each test program uses its own part.

use super::{latent, student};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep::adapter::{Layers, Lora};
use fewstep::denoiser::{Condition, Contexts, Denoiser};
use fewstep::distill::{Distiller, Recipe, TrajectorySource};
use fewstep::model::{Card, Model};
use fewstep::network::{NetworkConfig, Precision, StepInit, TransformerConfig, parameters};
use fewstep::noise::{Domain, Stream, latents};
use std::path::Path;

pub fn lora(rank: usize, layers: Layers) -> Option<Lora> {
    Some(Lora {
        rank,
        alpha: Some(2.0 * rank as f64),
        layers,
    })
}

/// A transformer with every weight random.
pub fn transformer() -> Model {
    let card = student::teacher(0).card;
    let network = NetworkConfig::Transformer(TransformerConfig {
        resolution: 8,
        channels: 1,
        classes: 0,
        patch: 2,
        width: 16,
        depth: 2,
        heads: 4,
        dropout: 0.0,
        step_branch: false,
    });
    let fresh = network.init(1, &Device::flex()).unwrap();
    let weights = parameters(&fresh).into_iter().enumerate().map(|(i, p)| {
        let len = p.data.num_elements();
        let values = Stream::new(4, Domain::Test, i as u64).normals(len);
        let values: Vec<f32> = values.into_iter().map(|v| 0.2 * v).collect();
        (p.name, TensorData::new(values, p.shape))
    });
    let path = Path::new("x");
    let filled = fewstep::network::load(fresh, &weights.collect(), &|_| false, path).unwrap();
    Model::new(Card { network, ..card }, filled)
}

/// A recipe, its teacher, and what students are called in messages.
pub fn cases() -> Vec<(&'static str, Recipe, Model)> {
    let latent_recipe = || Recipe {
        variable_steps: None,
        ..latent::recipe()
    };
    let one = Recipe {
        lora: lora(4, Layers::All),
        ..student::short()
    };
    vec![
        ("pixels", one.clone(), student::teacher(3)),
        (
            "several steps",
            Recipe {
                lora: lora(3, Layers::Attention),
                average_half_life: Some(10.0),
                micro_batch: Some(3),
                step_branch_init: StepInit::Zero,
                ..student::several()
            },
            student::teacher(3),
        ),
        (
            "latents",
            Recipe {
                lora: lora(4, Layers::Attention),
                gradient_checkpointing: true,
                ..latent_recipe()
            },
            latent::teacher(false),
        ),
        (
            "text",
            Recipe {
                lora: lora(4, Layers::Named(vec!["to_q".into(), "conv1".into()])),
                teacher_precision: Precision::Bf16,
                average_half_life: Some(5.0),
                ..latent_recipe()
            },
            latent::teacher(true),
        ),
        ("transformer", one, transformer()),
    ]
}

pub fn source(recipe: &Recipe, teacher: &Model) -> TrajectorySource {
    let device = Device::flex();
    let recipe = recipe.for_teacher(&teacher.card).unwrap();
    let source = TrajectorySource::new(&recipe, teacher, &device).unwrap();
    if teacher.card.network.context_width().is_none() {
        return source;
    }
    let [tokens, width] = latent::TEXT;
    let values = Stream::new(9, Domain::Test, 0).normals(5 * tokens * width);
    let texts = Tensor::from_data(TensorData::new(values, [5, tokens, width]), &device);
    source
        .with_contexts(Contexts::new(texts, None).unwrap())
        .unwrap()
}

pub fn distiller(recipe: &Recipe, teacher: &Model) -> Distiller {
    let recipe = recipe.for_teacher(&teacher.card).unwrap();
    Distiller::new(recipe, teacher, "base".into(), &Device::flex()).unwrap()
}

pub fn distilled(recipe: &Recipe, teacher: &Model) -> Model {
    let mut distiller = distiller(recipe, teacher);
    student::run(&mut distiller, &source(recipe, teacher), None);
    distiller.model().unwrap()
}

/// What a model makes of some noise.
pub fn answer(model: &Model) -> Vec<f32> {
    let shape = model.card.network.image_shape();
    let noisy = latents(&[1, 2], shape, &Device::flex()).mul_scalar(2.0);
    let condition = Condition {
        steps: model.card.sampling.told_steps(),
        ..Condition::default()
    };
    let denoised = model.denoiser().denoise(noisy, 2.0, &condition);
    denoised.into_data().iter::<f32>().collect()
}

/// The largest difference as a part of the largest answer.
pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    let largest = b.iter().fold(0f32, |most, v| most.max(v.abs()));
    let pairs = a.iter().zip(b);
    pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}
