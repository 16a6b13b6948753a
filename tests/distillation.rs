//! Distillation as a whole: several step counts, a second stage, averages, shared trajectories, a teacher in parts.

#[path = "support/student.rs"]
mod student;

use burn::tensor::Device;
use fewstep::Images;
use fewstep::denoiser::Condition;
use fewstep::distill::{Distiller, Recipe, TrajectorySource};
use fewstep::model::Model;
use fewstep::network::parameters;
use fewstep::noise::latents;
use fewstep::sampler::{Sampler, Trajectory};
use fewstep::solver::SolverConfig;
use student::{SIDE, distilled, run, several, short, teacher};

fn weights(model: &Model) -> Vec<f32> {
    let all = parameters(&model.network).into_iter();
    all.flat_map(|p| p.data.try_to_vec::<f32>().unwrap())
        .collect()
}

fn numbers(images: &Images) -> Vec<f32> {
    images.to_data().try_to_vec().unwrap()
}

fn states(target: &Trajectory) -> Vec<Vec<f32>> {
    target.states.iter().map(numbers).collect()
}

fn images(model: &Model, evaluations: usize) -> Images {
    let sampling = model.card.sampling_with(evaluations).unwrap();
    let (solver, grid) = (sampling.solver.build().unwrap(), sampling.grid().unwrap());
    let sampler = Sampler {
        denoiser: &model.denoiser(),
        solver: solver.as_ref(),
        grid: &grid,
        analytic_first_step: sampling.analytic_first_step,
        denoise_to_zero: false,
    };
    assert_eq!(sampler.evaluations(), evaluations);
    let noise = latents(&[1, 2, 3], [1, SIDE, SIDE], &Device::flex());
    let condition = Condition {
        steps: sampling.told_steps(),
        ..Condition::default()
    };
    sampler.sample(noise.mul_scalar(grid.sigma_max()), &condition)
}

#[test]
fn one_student_for_several_numbers_of_steps() {
    let teacher = teacher(0);
    let recipe = several();
    let device = Device::flex();
    let source = TrajectorySource::new(
        &recipe.for_teacher(&teacher.card).unwrap(),
        &teacher,
        &device,
    )
    .unwrap();
    let mut distiller = Distiller::new(
        recipe.for_teacher(&teacher.card).unwrap(),
        &teacher,
        "p".into(),
        &device,
    )
    .unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while !distiller.is_finished() {
        let steps = recipe.steps_at(distiller.rounds());
        let (target, condition) = source.round(distiller.rounds()).unwrap();
        assert_eq!((target.grid.steps(), condition.steps), (steps, None));
        let round = distiller.round(&target, &condition).unwrap();
        assert_eq!(round.distances.len(), steps);
        seen.insert(steps);
    }
    assert!(seen.len() > 1, "{seen:?}");
    let student = distiller.model().unwrap();
    assert!(student.card.network.has_step_branch());
    assert_eq!(student.card.sampling.step_range, Some([3, 6]));
    assert!(student.card.sampling.step_condition);
    // What the file says survives the file.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("student.safetensors");
    student.write(&path).unwrap();
    let (read, hash) = Model::read(&path, &device).unwrap();
    assert_eq!(read.card, student.card);
    assert_eq!(Recipe::default().sampling().step_range, None);

    // Folded, it is a plain network that gives the same images.
    for evaluations in 2..=5 {
        let folded = read.fold(evaluations, hash.clone()).unwrap();
        assert!(!folded.card.network.has_step_branch());
        let names = parameters(&folded.network).into_iter().map(|p| p.name);
        let plain = parameters(&teacher.network).into_iter().map(|p| p.name);
        assert!(names.eq(plain));
        assert_eq!(folded.card.sampling.told_steps(), None);
        assert_eq!(folded.card.parent.as_ref(), Some(&hash));
        let (a, b) = (images(&folded, evaluations), images(&read, evaluations));
        let off = (a - b.clone()).max_abs().into_scalar::<f64>();
        let size = b.max_abs().into_scalar::<f64>();
        // Rounding of f32 in up to five passes of some ten layers.
        assert!(off < 1e-4 * size, "{evaluations}: {off} of {size}");
        assert!(folded.card.sampling_with(evaluations % 4 + 2).is_err());
        let again = folded.fold(evaluations, hash.clone()).unwrap_err();
        assert!(again.to_string().contains("plain network"), "{again}");
    }
    let error = read.fold(6, hash).unwrap_err().to_string();
    assert!(error.contains("2 to 5"), "{error}");
}

#[test]
fn a_second_stage_follows_its_teachers_own_way_of_sampling() {
    let device = Device::flex();
    for first in [
        Recipe {
            steps: 6,
            ..short()
        },
        several(),
    ] {
        let student = distilled(&first, &teacher(0));
        let recipe = Recipe {
            steps: 2,
            substeps: 3,
            second_stage: true,
            teacher_solver: SolverConfig::Euler {},
            ..short()
        };
        let source = TrajectorySource::new(
            &recipe.for_teacher(&student.card).unwrap(),
            &student,
            &device,
        )
        .unwrap();
        assert_eq!(source.evaluations().unwrap(), 5);
        let (target, condition) = source.round(0).unwrap();
        // The teacher's last image is what the student's file gives for the same noise.
        let sampling = student.card.sampling_with(5).unwrap();
        let grid = sampling.grid().unwrap();
        let sampler = Sampler {
            denoiser: &student.denoiser(),
            solver: &fewstep::solver::Euler,
            grid: &grid,
            analytic_first_step: true,
            denoise_to_zero: false,
        };
        let told = Condition {
            steps: sampling.told_steps(),
            ..condition.clone()
        };
        let end = sampler.sample(target.states[0].clone(), &told);
        assert_eq!(numbers(&end), numbers(&target.states[2]));
        let one = distilled(&recipe, &student);
        let told = first.variable_steps.is_some();
        assert_eq!(one.card.sampling.step_condition, told);
        assert_eq!(one.card.sampling.step_range, None);
        assert_eq!(images(&one, 1).dims(), [3, 1, SIDE, SIDE]);
        assert_eq!(one.card.recipe["step-condition"], told);
        let wrong = Recipe {
            substeps: 4,
            ..recipe
        };
        let error = wrong.for_teacher(&student.card).unwrap_err();
        assert!(error.to_string().contains("`substeps` is 4"), "{error}");
    }
}

#[test]
fn shared_trajectories_are_drawn_once() {
    let device = Device::flex();
    let teacher = teacher(3);
    let recipe = Recipe {
        reuse: 3,
        ..several()
    };
    assert_eq!(recipe.rounds(), 18);
    let source = TrajectorySource::new(
        &recipe.for_teacher(&teacher.card).unwrap(),
        &teacher,
        &device,
    )
    .unwrap();
    let draw = |round| {
        let (target, condition) = source.round(round).unwrap();
        (
            states(&target),
            numbers(&condition.labels.unwrap().unsqueeze()),
        )
    };
    let all: Vec<_> = (0..7).map(draw).collect();
    assert!(all[0] == all[1] && all[0] == all[2] && all[3] == all[5]);
    assert!(all[0] != all[3] && all[3] != all[6]);
    // Drawn in another order, and as a run without sharing draws them.
    assert!(draw(4) == all[3] && draw(0) == all[0]);
    let alone = Recipe {
        reuse: 1,
        ..recipe.clone()
    };
    let alone = TrajectorySource::new(
        &alone.for_teacher(&teacher.card).unwrap(),
        &teacher,
        &device,
    )
    .unwrap();
    assert!(states(&alone.round(1).unwrap().0) == all[3].0);
    let student = distilled(&recipe, &teacher);
    assert_eq!(student.card.trained_on, 24);
    assert_ne!(weights(&student), weights(&distilled(&several(), &teacher)));
}

#[test]
fn who_saves_memory_does_not_look_ahead() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2);
    let looks_ahead = |recipe: Recipe| {
        let (device, teacher) = (Device::flex(), teacher(0));
        let source = TrajectorySource::new(
            &recipe.for_teacher(&teacher.card).unwrap(),
            &teacher,
            &device,
        )
        .unwrap();
        source.looks_ahead()
    };
    pool.build().unwrap().install(|| {
        let with = |micro_batch, gradient_checkpointing| Recipe {
            micro_batch,
            gradient_checkpointing,
            ..short()
        };
        assert!(looks_ahead(with(None, false)) && looks_ahead(with(Some(4), false)));
        assert!(!looks_ahead(with(Some(2), false)) && !looks_ahead(with(None, true)));
    });
}

/// With several threads the next round's trajectories are solved beside the student's work.
#[test]
fn looking_ahead_changes_nothing() {
    let (device, teacher) = (Device::flex(), teacher(3));
    let shared = Recipe {
        reuse: 2,
        ..short()
    };
    for recipe in [short(), several(), shared] {
        let student = |threads: usize, ahead: bool| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let source = TrajectorySource::new(
                    &recipe.for_teacher(&teacher.card).unwrap(),
                    &teacher,
                    &device,
                )
                .unwrap();
                assert_eq!(source.looks_ahead(), threads > 1);
                let mut distiller = Distiller::new(
                    recipe.for_teacher(&teacher.card).unwrap(),
                    &teacher,
                    "p".into(),
                    &device,
                )
                .unwrap();
                let mut rounds = Vec::new();
                while !distiller.is_finished() {
                    rounds.push(match ahead {
                        true => distiller.advance(&source).unwrap(),
                        false => {
                            let (target, condition) = source.round(distiller.rounds()).unwrap();
                            distiller.round(&target, &condition).unwrap()
                        }
                    });
                }
                (rounds, weights(&distiller.model().unwrap()))
            })
        };
        let one_by_one = student(1, false);
        for threads in [1, 2, 5] {
            assert!(student(threads, true) == one_by_one, "{threads} threads");
        }
    }
}

#[test]
fn an_averaged_student_is_the_average_of_its_rounds() {
    let device = Device::flex();
    let teacher = teacher(0);
    let half_life = 1.0;
    let short = Recipe {
        batch: 1,
        ..short()
    };
    let averaged = Recipe {
        average_half_life: Some(half_life),
        ..short.clone()
    };
    let source = TrajectorySource::new(
        &averaged.for_teacher(&teacher.card).unwrap(),
        &teacher,
        &device,
    )
    .unwrap();
    let new = |recipe: Recipe| {
        Distiller::new(
            recipe.for_teacher(&teacher.card).unwrap(),
            &teacher,
            "p".into(),
            &device,
        )
        .unwrap()
    };
    let (mut with, mut without) = (new(averaged), new(short));
    let mut wanted: Vec<f64> = weights(&teacher).into_iter().map(f64::from).collect();
    for round in 0..24 {
        run(&mut with, &source, Some(1));
        run(&mut without, &source, Some(1));
        // A half-life above a twentieth of what has been seen is cut down to it.
        let seen = f64::from(round + 1);
        let keep = 0.5f64.powf(1.0 / f64::min(half_life, seen / 20.0));
        for (average, now) in wanted.iter_mut().zip(weights(&without.model().unwrap())) {
            *average = keep * *average + (1.0 - keep) * f64::from(now);
        }
    }
    let got = weights(&with.model().unwrap());
    let raw = weights(&without.model().unwrap());
    let largest = |pairs: &mut dyn Iterator<Item = f64>| pairs.fold(0.0, f64::max);
    let off = largest(
        &mut got
            .iter()
            .zip(&wanted)
            .map(|(g, w)| (f64::from(*g) - w).abs()),
    );
    // Weights are of the order of 1; a few roundings in f32 that still count.
    assert!(off < 1e-6, "{off}");
    let apart = largest(
        &mut raw
            .iter()
            .zip(&wanted)
            .map(|(r, w)| (f64::from(*r) - w).abs()),
    );
    assert!(apart > 1e-5, "{apart}");
}

#[test]
fn a_teacher_in_parts_is_the_teacher() {
    // Every sample is convolved and attended to alone, and all share one noise level; what depends on the number of
    // samples is the product that embeds their classes, whose order of summation a matrix library may choose.
    let device = Device::flex();
    for classes in [0, 3] {
        let teacher = teacher(classes);
        let draw = |micro_batch| {
            let recipe = Recipe {
                batch: 7,
                micro_batch,
                ..short()
            };
            let source = TrajectorySource::new(
                &recipe.for_teacher(&teacher.card).unwrap(),
                &teacher,
                &device,
            )
            .unwrap();
            states(&source.round(0).unwrap().0).concat()
        };
        let whole = draw(None);
        for micro_batch in [1, 3, 7, 100] {
            let parts = draw(Some(micro_batch));
            let same = parts.iter().zip(&whole).filter(|(a, b)| a == b).count();
            let off = parts.iter().zip(&whole).map(|(a, b)| (a - b).abs());
            let off = off.fold(0f32, f32::max);
            println!(
                "{classes} classes, parts of {micro_batch}: {same} of {}, {off:e}",
                whole.len()
            );
            if classes == 0 || micro_batch >= 7 {
                assert!(parts == whole, "parts of {micro_batch}");
            } else {
                assert!(off < 1e-4, "parts of {micro_batch}: {off}");
            }
        }
    }
}
