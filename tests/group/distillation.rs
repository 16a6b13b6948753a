//! A student, whoever computes.

use crate::work::{Work, classes};
use crate::{latent, student, together};
use fewstep::adapter::{Layers, Lora};
use fewstep::distill::{Distance, Recipe, Target};
use fewstep::group::Alone;
use fewstep::solver::SolverConfig;
use std::sync::Arc;

#[test]
fn a_student_has_the_same_bytes_whoever_computes() {
    let recipe = Recipe {
        batch: 5,
        micro_batch: Some(2),
        variable_steps: Some([3, 4]),
        reuse: 2,
        average_half_life: Some(10.0),
        ..student::short()
    };
    // Three parts: for four processes one too few.
    let several = Work::new(&recipe, &classes).same(&[2, 3, 4]);
    let whole = Recipe {
        micro_batch: None,
        ..recipe
    };
    let whole = Work::new(&whole, &classes).run(Arc::new(Alone)).unwrap().0;
    assert!(several != whole, "a batch in parts rounds otherwise");
}

#[test]
fn what_is_asked_of_a_distillation_changes_nothing_of_that() {
    let plain = Recipe {
        micro_batch: Some(1),
        student_dropout: true,
        ..student::short()
    };
    let recipes = [
        Recipe {
            target: Target::Local,
            distance: Distance::PseudoHuber,
            step_weights: Some(vec![1.0, 0.0, 2.0]),
            ..plain.clone()
        },
        // Gradients of several steps, and of several parts of the network, come one by one.
        Recipe {
            gradient_checkpointing: true,
            gradient_steps: 2,
            ..plain.clone()
        },
        Recipe {
            student_solver: SolverConfig::Ipndm { order: 2 },
            ..plain.clone()
        },
        Recipe {
            gradient_checkpointing: true,
            ..plain.clone()
        },
        Recipe {
            lora: Some(Lora {
                rank: 2,
                alpha: None,
                layers: Layers::All,
            }),
            ..plain.clone()
        },
    ];
    for recipe in &recipes {
        Work::new(recipe, &classes).same(&[2, 3]);
    }
}

#[test]
fn a_teacher_that_takes_a_text_is_asked_by_several() {
    let recipe = Recipe {
        micro_batch: Some(1),
        ..latent::recipe()
    };
    let work = Work {
        until: 2,
        ..Work::new(&recipe, &|| latent::teacher(true))
    };
    work.same(&[2]);
}

#[test]
fn another_number_of_processes_goes_on() {
    let recipe = Recipe {
        batch: 4,
        micro_batch: Some(1),
        ..student::short()
    };
    let whole = Work::new(&recipe, &classes);
    let expected = whole.run(Arc::new(Alone)).unwrap().0;
    let first = Work { until: 1, ..whole };
    let first = together(4, |group| first.run(group).unwrap().0);
    let second = Work {
        from: Some(&first[2]),
        until: 2,
        ..whole
    };
    let second = together(2, |group| second.run(group).unwrap().0);
    let last = Work {
        from: Some(&second[1]),
        ..whole
    };
    assert!(last.run(Arc::new(Alone)).unwrap().0 == expected);
}
