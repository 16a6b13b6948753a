//! Settings that save memory: gradient checkpointing leaves the student as it is, and a teacher in half is the teacher with
//! rounded weights.

#[path = "support/latent.rs"]
mod latent;
#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "support/student.rs"]
mod student;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use fewstep::Error;
use fewstep::denoiser::Contexts;
use fewstep::distill::{Distance, Distiller, Recipe, TrajectorySource};
use fewstep::model::Model;
use fewstep::network::{Precision, parameters};
use fewstep::noise::{Domain, Stream};

fn source(recipe: &Recipe, teacher: &Model) -> TrajectorySource {
    let device = Device::flex();
    let source = TrajectorySource::new(
        &recipe.for_teacher(&teacher.card).unwrap(),
        teacher,
        &device,
    )
    .unwrap();
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

/// Distances of all rounds, and the student's weights after them.
fn run(recipe: &Recipe, teacher: &Model, rounds: u64) -> (Vec<Vec<f64>>, Vec<Vec<f32>>) {
    let device = Device::flex();
    let source = source(recipe, teacher);
    let mut distiller = Distiller::new(
        recipe.for_teacher(&teacher.card).unwrap(),
        teacher,
        String::new(),
        &device,
    )
    .unwrap();
    let distances = (0..rounds).map(|round| {
        let (target, condition) = source.round(round).unwrap();
        distiller.round(&target, &condition).unwrap().distances
    });
    let distances = distances.collect();
    let model = distiller.model().unwrap();
    let all = parameters(&model.network).into_iter();
    (
        distances,
        all.map(|p| p.data.try_to_vec().unwrap()).collect(),
    )
}

fn checkpointed(recipe: &Recipe) -> Recipe {
    Recipe {
        gradient_checkpointing: true,
        ..recipe.clone()
    }
}

/// The largest difference of two results, as a part of the largest change from the start.
fn difference(a: &[Vec<f32>], b: &[Vec<f32>], start: &[Vec<f32>]) -> f32 {
    let largest = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        let pairs = a.iter().flatten().zip(b.iter().flatten());
        pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs()))
    };
    let change = largest(a, start);
    assert!(change > 1e-6, "nothing was trained");
    largest(a, b) / change
}

#[test]
fn checkpointing_gives_the_same_student() {
    for (name, recipe, teacher) in [
        ("classes", student::several(), student::teacher(3)),
        ("pixels", latent::recipe(), latent::teacher(false)),
        ("text", latent::recipe(), latent::teacher(true)),
        (
            "parts",
            Recipe {
                micro_batch: Some(2),
                distance: Distance::L2,
                ..latent::recipe()
            },
            latent::teacher(true),
        ),
    ] {
        // Masks of dropout are drawn twice, and are the same.
        assert!(recipe.student_dropout);
        let plain = run(&recipe, &teacher, 3);
        let saving = run(&checkpointed(&recipe), &teacher, 3);
        assert_eq!(plain.0, saving.0, "{name}");
        assert!(plain.1 == saving.1, "{name}");
        assert_ne!(plain.1, run(&recipe, &teacher, 2).1, "{name}");
    }
}

#[test]
fn checkpointing_goes_through_several_steps() {
    let teacher = latent::teacher(true);
    let recipe = Recipe {
        steps: 3,
        variable_steps: None,
        gradient_steps: 2,
        // As smooth as plain descent: the two add up in another order.
        adam: fewstep::optimizer::AdamConfig {
            epsilon: 1.0,
            ..Default::default()
        },
        ..latent::recipe()
    };
    let start = run(&recipe, &teacher, 0).1;
    let plain = run(&recipe, &teacher, 1).1;
    let saving = run(&checkpointed(&recipe), &teacher, 1).1;
    let off = difference(&plain, &saving, &start);
    assert!(off < 1e-4, "{off:.1e}");
    let one = Recipe {
        gradient_steps: 1,
        ..recipe
    };
    let off = difference(&plain, &run(&one, &teacher, 1).1, &start);
    assert!(off > 0.01, "the step before counts: {off:.1e}");
}

#[test]
fn a_teacher_in_half_is_one_with_rounded_weights() {
    let teacher = latent::teacher(true);
    for precision in [Precision::F16, Precision::Bf16] {
        let recipe = Recipe {
            teacher_precision: precision,
            ..latent::recipe()
        };
        let half = recipe.teacher(&teacher).unwrap();
        let of = |recipe: &Recipe, teacher: &Model| {
            let (target, _) = source(recipe, teacher).round(1).unwrap();
            let states = target.states.into_iter();
            states
                .map(|images| images.into_data().try_to_vec::<f32>().unwrap())
                .collect::<Vec<_>>()
        };
        let found = of(&recipe, &teacher);
        assert_eq!(found, of(&recipe, &half), "rounding again changes nothing");
        let plain = latent::recipe();
        assert_eq!(found, of(&plain, &half));
        assert_ne!(found, of(&plain, &teacher));
        // Rounded to 8 bits or more, at levels up to 15.
        let whole = of(&plain, &teacher);
        let off = difference(
            &found,
            &whole,
            &vec![vec![0.0; found[0].len()]; found.len()],
        );
        assert!(off < 0.02, "{off}");
        // The student starts from the weights as they are.
        let start = run(&recipe, &teacher, 0).1;
        let weights = parameters(&teacher.network.clone().valid()).into_iter();
        let weights: Vec<Vec<f32>> = weights.map(|p| p.data.try_to_vec().unwrap()).collect();
        for weights in weights {
            assert!(start.contains(&weights));
        }
    }
}

#[test]
fn networks_compute_in_half_with_f32_outside() {
    for (recipe, teacher) in [
        (student::short(), student::teacher(3)),
        (latent::recipe(), latent::teacher(false)),
        (latent::recipe(), latent::teacher(true)),
    ] {
        let start = run(&recipe, &teacher, 0).1;
        let whole = run(&recipe, &teacher, 1);
        for precision in [Precision::F16, Precision::Bf16] {
            for checkpointing in [false, true] {
                let half = Recipe {
                    compute_precision: precision,
                    gradient_checkpointing: checkpointing,
                    ..recipe.clone()
                };
                let found = run(&half, &teacher, 1);
                assert_ne!(found.1, whole.1);
                for (a, b) in found.0[0].iter().zip(&whole.0[0]) {
                    // Eight bits in each of some dozen layers, one after the other.
                    assert!((a / b - 1.0).abs() < 0.1, "{precision:?} {a} {b}");
                }
                // Weights change by less than bf16 could hold.
                assert!(difference(&found.1, &start, &start) > 0.0);
                let coarse = |v: &f32| v.to_bits().trailing_zeros() >= 13;
                let count = found.1.iter().flatten().filter(|v| !coarse(v)).count();
                assert!(count > 1000, "the weights are single precision");
            }
        }
    }
}

#[test]
fn what_leaves_the_range_of_half_precision_is_reported() {
    let teacher = latent::teacher(false);
    let mut large = teacher.clone();
    large.network = fewstep::network::load(
        teacher.network.clone(),
        &parameters(&teacher.network)
            .into_iter()
            .map(|p| {
                let values = p.data.iter::<f32>();
                // Finite in f16, but not after some sums.
                let scale = if p.name.contains("in_layers.2") {
                    2e4
                } else {
                    1.0
                };
                let values: Vec<f32> = values.map(|v| v * scale).collect();
                (p.name, TensorData::new(values, p.shape))
            })
            .collect(),
        &|_| false,
        std::path::Path::new("large"),
    )
    .unwrap();
    let recipe = Recipe {
        compute_precision: Precision::F16,
        ..latent::recipe()
    };
    let device = Device::flex();
    let source =
        TrajectorySource::new(&recipe.for_teacher(&large.card).unwrap(), &large, &device).unwrap();
    let (target, condition) = source.round(0).unwrap();
    let mut distiller = Distiller::new(
        recipe.for_teacher(&large.card).unwrap(),
        &large,
        String::new(),
        &device,
    )
    .unwrap();
    let error = distiller.round(&target, &condition).unwrap_err();
    // It computes in half as well, and comes first.
    assert!(matches!(error, Error::BrokenTeacher { .. }), "{error}");
}
