//! Recipes that are refused, and what a recipe says of its teacher and student.

use super::*;
use crate::distill::PerceptualConfig;
use crate::network::{NetworkConfig, SongUNetConfig};

fn card(kind: Kind, sampling: Sampling) -> Card {
    Card {
        format: 1,
        kind,
        network: NetworkConfig::SongUnet(SongUNetConfig {
            resolution: 8,
            channels: 1,
            classes: 0,
            model_channels: 8,
            channel_multipliers: vec![1],
            blocks: 1,
            attention_resolutions: vec![],
            augment_labels: 0,
            dropout: 0.0,
            step_branch: true,
            ..SongUNetConfig::default()
        }),
        answer: 0.5.into(),
        sampling,
        recipe: serde_json::Value::Null,
        trained_on: 0,
        class_names: Vec::new(),
        adapter: None,
        parent: None,
        version: String::new(),
    }
}

fn second() -> Recipe {
    Recipe {
        steps: 2,
        substeps: 3,
        second_stage: true,
        teacher_solver: SolverConfig::Euler {},
        ..Recipe::default()
    }
}

fn refused(result: Result<Resolved, Error>, words: &[&str]) {
    let message = result.unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
}

#[test]
fn combinations_that_make_no_sense_are_refused() {
    let recipe = Recipe::default;
    let bad = [
        (
            Recipe {
                variable_steps: Some([5, 3]),
                ..recipe()
            },
            "`variable-steps` is [5, 3]",
        ),
        (
            Recipe {
                variable_steps: Some([4, 6]),
                ..recipe()
            },
            "`steps` is 3",
        ),
        (
            Recipe {
                variable_steps: Some([1, 3]),
                ..recipe()
            },
            "steps = 1",
        ),
        (
            Recipe {
                step_weights: Some(vec![1.0; 2]),
                ..recipe()
            },
            "3 numbers",
        ),
        (
            Recipe {
                step_weights: Some(vec![1.0, 0.0, 0.0]),
                ..recipe()
            },
            "positive",
        ),
        (
            Recipe {
                step_weights: Some(vec![1.0, -1.0, 1.0]),
                ..recipe()
            },
            "negative",
        ),
        (
            Recipe {
                step_weights: Some(vec![1.0; 3]),
                variable_steps: Some([3, 6]),
                ..recipe()
            },
            "variable-steps",
        ),
        (
            Recipe {
                target: Target::Local,
                gradient_steps: 2,
                ..recipe()
            },
            "gradient-steps = 2",
        ),
        (
            Recipe {
                perceptual: Some(PerceptualConfig::default()),
                ..recipe()
            },
            "l1-lpips",
        ),
        (
            Recipe {
                reuse: 0,
                ..recipe()
            },
            "`reuse`",
        ),
        (
            Recipe {
                huber_scale: 0.0,
                ..recipe()
            },
            "`huber-scale`",
        ),
        (
            Recipe {
                average_half_life: Some(-1.0),
                ..recipe()
            },
            "`average-half-life`",
        ),
        (
            Recipe {
                variable_steps: Some([2, 3]),
                steps: 2,
                ..second()
            },
            "one number of steps",
        ),
        (
            Recipe {
                teacher_solver: SolverConfig::Heun {},
                ..second()
            },
            "Heun",
        ),
        (
            Recipe {
                student_solver: toml::from_str("kind = 'unipc'").unwrap(),
                ..recipe()
            },
            "student-solver",
        ),
        (
            Recipe {
                student_solver: SolverConfig::Ipndm { order: 2 },
                gradient_checkpointing: true,
                gradient_steps: 2,
                ..recipe()
            },
            "iPNDM(2)",
        ),
    ];
    for (recipe, word) in bad {
        let message = recipe.check().unwrap_err().to_string();
        assert!(message.contains(word), "{word}: {message}");
    }
    second().check().unwrap();
}

#[test]
fn a_second_stage_fits_its_teacher() {
    let six = Recipe {
        steps: 6,
        ..Recipe::default()
    };
    let of_six = card(Kind::Student, six.sampling());
    let fitted = second().for_teacher(&of_six).unwrap();
    assert_eq!(fitted.step_condition, Some(false));
    let sampling = fitted.teacher_sampling(&of_six, 2);
    assert_eq!(sampling, six.sampling());
    refused(
        Recipe {
            substeps: 4,
            ..second()
        }
        .for_teacher(&of_six),
        &["`substeps` is 4", "6 steps"],
    );
    refused(
        Recipe {
            sigma_min: 0.002,
            ..second()
        }
        .for_teacher(&of_six),
        &["sigma-min = 0.002", "0.006"],
    );
    let other = crate::grid::Spacing::LogSnr {};
    refused(
        Recipe {
            spacing: other,
            ..second()
        }
        .for_teacher(&of_six),
        &["spacing", "polynomial"],
    );
    refused(
        Recipe::default().for_teacher(&of_six),
        &["second-stage = true"],
    );
    let teacher = card(Kind::Teacher, six.sampling());
    refused(second().for_teacher(&teacher), &["no student"]);

    let several = Recipe {
        variable_steps: Some([3, 6]),
        ..Recipe::default()
    };
    let of_several = card(Kind::Student, several.sampling());
    let fitted = second().for_teacher(&of_several).unwrap();
    // The student is told its number of steps because its teacher is, and its file will say so.
    assert_eq!(fitted.step_condition, Some(true));
    assert!(fitted.sampling().step_condition);
    let sampling = fitted.teacher_sampling(&of_several, 2);
    assert_eq!(
        (sampling.told_steps(), sampling.analytic_first_step),
        (Some(7), true)
    );
    assert_eq!(fitted.for_teacher(&of_several).unwrap(), fitted);
    refused(
        Recipe {
            substeps: 4,
            ..second()
        }
        .for_teacher(&of_several),
        &["3 to 6 steps"],
    );
}

#[test]
fn levels_for_another_number_of_steps_name_what_was_typed() {
    let recipe = Recipe {
        steps: 4,
        substeps: 2,
        spacing: Spacing::Levels {
            levels: vec![80.0, 6.0, 1.0, 0.006],
            spacing: Box::default(),
        },
        ..Recipe::default()
    };
    refused(
        recipe.for_teacher(&card(Kind::Teacher, Recipe::default().sampling())),
        &["`steps` is 4", "3, as many"],
    );
}

#[test]
fn evaluations_outside_the_range_name_it() {
    let several = Recipe {
        variable_steps: Some([3, 6]),
        ..Recipe::default()
    };
    let of = card(Kind::Student, several.sampling());
    for nfe in 2..=5 {
        let sampling = of.sampling_with(nfe).unwrap();
        assert_eq!(
            (sampling.steps, sampling.told_steps()),
            (nfe + 1, Some(nfe + 2))
        );
    }
    for nfe in [0, 1, 6, usize::MAX] {
        let message = of.sampling_with(nfe).unwrap_err().to_string();
        assert!(message.contains("2 to 5"), "{message}");
    }
    let one = card(Kind::Student, Recipe::default().sampling());
    assert_eq!(one.sampling_with(2).unwrap(), one.sampling);
    assert!(
        one.sampling_with(3)
            .unwrap_err()
            .to_string()
            .contains("must be 2,")
    );
    let heun = Sampling {
        solver: SolverConfig::Heun {},
        analytic_first_step: false,
        ..Recipe::default().sampling()
    };
    let teacher = card(Kind::Teacher, heun);
    assert_eq!(teacher.sampling_with(8).unwrap().steps, 4);
    assert!(
        teacher
            .sampling_with(7)
            .unwrap_err()
            .to_string()
            .contains("such as 6 or 8: 2 a step")
    );
}

#[test]
fn numbers_of_steps_are_drawn_evenly_and_by_the_runs_own_seed() {
    let recipe = |seed, reuse| Recipe {
        seed,
        reuse,
        variable_steps: Some([3, 6]),
        ..Recipe::default()
    };
    let drawn = |seed, reuse| -> Vec<usize> {
        (0..4000)
            .map(|round| recipe(seed, reuse).steps_at(round))
            .collect()
    };
    let steps = drawn(1, 1);
    for wanted in 3..=6 {
        let count = steps.iter().filter(|s| **s == wanted).count() as f64;
        // Five standard deviations of a binomial of 4000 and 1/4.
        assert!(
            (count - 1000.0).abs() < 5.0 * 750f64.sqrt(),
            "{wanted}: {count}"
        );
    }
    assert!(steps.iter().all(|s| (3..=6).contains(s)));
    assert_ne!(steps, drawn(2, 1));
    let twice = drawn(1, 2);
    assert!(
        twice
            .chunks(2)
            .zip(&steps)
            .all(|(pair, one)| pair == [*one, *one])
    );
    assert_eq!(Recipe::default().steps_at(7), 3);
    let counts = [0, 1, 2, 3].map(|rounds| recipe(1, 2).trajectories_after(rounds));
    assert_eq!(counts, [0, 128, 128, 256]);
}
