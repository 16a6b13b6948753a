//! Interrupted distillations: what goes on from a file ends in the same bytes, and a file that does not fit is refused.

#[path = "support/student.rs"]
mod student;

use burn::tensor::{Device, TensorData};
use fewstep::Error;
use fewstep::distill::{Distance, Distiller, RateSchedule, Recipe, Target, TrajectorySource};
use fewstep::model::{File, Model, State};
use fewstep::network::StepInit;
use student::{distilled, run, several, short, teacher};

#[test]
fn a_resumed_run_ends_in_the_same_bytes() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let teacher = teacher(3);
    let recipes = [
        several(),
        Recipe {
            average_half_life: Some(10.0),
            reuse: 2,
            learning_rate_schedule: RateSchedule::Cosine,
            micro_batch: Some(3),
            step_branch_init: StepInit::Zero,
            ..several()
        },
        Recipe {
            target: Target::Local,
            distance: Distance::PseudoHuber,
            step_condition: Some(true),
            ..short()
        },
        Recipe {
            gradient_steps: 2,
            distance: Distance::L2,
            step_weights: Some(vec![0.0, 0.5, 2.0]),
            learning_rate_schedule: RateSchedule::Constant,
            ..short()
        },
    ];
    for recipe in recipes {
        let source = TrajectorySource::new(
            &recipe.for_teacher(&teacher.card).unwrap(),
            &teacher,
            &device,
        )
        .unwrap();
        let whole = distilled(&recipe, &teacher)
            .to_file()
            .unwrap()
            .to_bytes()
            .unwrap();
        let mut first = Distiller::new(
            recipe.for_teacher(&teacher.card).unwrap(),
            &teacher,
            "p".into(),
            &device,
        )
        .unwrap();
        // Three rounds: with shared trajectories in the middle of a pair.
        run(&mut first, &source, Some(3));
        first.state().unwrap().write(&path).unwrap();
        drop(first);
        let fresh = TrajectorySource::new(
            &recipe.for_teacher(&teacher.card).unwrap(),
            &teacher,
            &device,
        )
        .unwrap();
        let state = State::read(&path).unwrap();
        let mut second = Distiller::resume(&state, &teacher, "p".into(), &device).unwrap();
        assert_eq!(second.rounds(), 3);
        run(&mut second, &fresh, None);
        let bytes = second
            .model()
            .unwrap()
            .to_file()
            .unwrap()
            .to_bytes()
            .unwrap();
        assert!(bytes == whole, "{recipe:?}");
    }
}

/// Breaks a state file.
type Spoil<'a> = &'a dyn Fn(&mut File);

#[test]
fn a_state_with_bad_moments_is_refused() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let teacher = teacher(0);
    let recipe = Recipe {
        average_half_life: Some(10.0),
        ..short()
    };
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
    run(&mut distiller, &source, Some(1));
    distiller.state().unwrap().write(&path).unwrap();
    let good = File::read(&path).unwrap();
    let name = "model.map_layer0.bias";
    let stub = || TensorData::new(vec![0f32], [1]);
    let bad: [(&str, Spoil<'_>); 8] = [
        ("incomplete", &|f| {
            drop(f.tensors.remove(&format!("mean/{name}")))
        }),
        ("incomplete", &|f| {
            drop(f.tensors.remove(&format!("square/{name}")))
        }),
        ("incomplete", &|f| {
            drop(f.tensors.remove(&format!("time/{name}")))
        }),
        ("1 numbers for the 32", &|f| {
            drop(f.tensors.insert(format!("mean/{name}"), stub()))
        }),
        ("1 numbers for the 32", &|f| {
            drop(f.tensors.insert(format!("average/{name}"), stub()))
        }),
        ("incomplete", &|f| {
            let time = TensorData::new(vec![-1i64], [1]);
            f.tensors.insert(format!("time/{name}"), time);
        }),
        ("moving average", &|f| {
            drop(f.tensors.remove(&format!("average/{name}")))
        }),
        ("odd", &|f| {
            drop(f.tensors.insert("mean/odd".into(), stub()))
        }),
    ];
    for (word, spoil) in bad {
        let mut file = good.clone();
        spoil(&mut file);
        file.write(&path).unwrap();
        let state = State::read(&path).unwrap();
        let error = Distiller::resume(&state, &teacher, "p".into(), &device).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.contains(word) && message.contains("state.safetensors"),
            "{message}"
        );
    }
    good.write(&path).unwrap();
    let state = State::read(&path).unwrap();
    Distiller::resume(&state, &teacher, "p".into(), &device).unwrap();
}

#[test]
fn a_card_that_asks_for_a_branch_that_is_not_there_is_refused() {
    let mut model = teacher(0);
    model.card.sampling.step_condition = true;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    model.write(&path).unwrap();
    let error = Model::read(&path, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("no step branch"), "{error}");
}

#[test]
fn a_recipe_trains_with_the_teacher_that_it_was_checked_with() {
    let device = Device::flex();
    let (one, other) = (teacher(0), teacher(3));
    let recipe = short().for_teacher(&one.card).unwrap();
    assert_eq!(recipe.teacher_card(), &one.card);
    // What the teacher settles is said, and the rest is as typed.
    assert_eq!(recipe.step_condition, Some(false));
    assert_eq!(recipe.batch, short().batch);
    let refused = [
        TrajectorySource::new(&recipe, &other, &device).err(),
        Distiller::new(recipe.clone(), &other, "p".into(), &device).err(),
        recipe.searched(&other, &device, &mut |_| ()).err(),
    ];
    for error in refused {
        let error = error.unwrap().to_string();
        assert!(error.contains("another teacher"), "{error}");
    }
    let wild = Recipe {
        batch: 0,
        ..short()
    };
    let error = wild.for_teacher(&one.card).unwrap_err().to_string();
    assert!(error.contains("batch"), "{error}");
}
