//! How processes end of which one fails, or leaves.

use crate::work::{Work, classes};
use crate::{student, together};
use burn::tensor::TensorData;
use fewstep::distill::Recipe;
use fewstep::group::Alone;
use fewstep::model::Model;
use fewstep::network::{load, parameters};
use std::path::Path;
use std::sync::Arc;

#[test]
fn all_processes_end_with_the_same_error() {
    let recipe = Recipe {
        batch: 4,
        micro_batch: Some(1),
        learning_rate: 1e30,
        ..student::short()
    };
    let spoilt = || {
        let teacher = classes();
        let weights = parameters(&teacher.network).into_iter().map(|p| {
            let broken = p.name == "model.map_layer0.weight";
            let values = p.data.iter::<f32>();
            let values = values.map(|v| if broken { f32::NAN } else { v });
            let values: Vec<f32> = values.collect();
            (p.name, TensorData::new(values, p.shape))
        });
        let weights = weights.collect();
        let network = load(teacher.network, &weights, &|_| false, Path::new("x")).unwrap();
        Model::new(teacher.card, network)
    };
    for (teacher, word) in [
        (
            &classes as &(dyn Fn() -> Model + Sync),
            "the loss is not finite",
        ),
        (&spoilt, "the teacher's images are not finite"),
    ] {
        let work = Work::new(&recipe, teacher);
        let alone = work.run(Arc::new(Alone)).unwrap_err().to_string();
        assert!(alone.contains(word), "{alone}");
        for error in together(3, |group| work.run(group).unwrap_err().to_string()) {
            assert_eq!(error, alone);
        }
    }
}

#[test]
fn one_that_ends_leaves_none_waiting() {
    let recipe = Recipe {
        batch: 4,
        micro_batch: Some(1),
        ..student::short()
    };
    let found = together(3, |group| {
        let until = if group.rank() == 1 { 1 } else { 3 };
        let work = Work {
            until,
            ..Work::new(&recipe, &classes)
        };
        work.run(group).err().map(|error| error.to_string())
    });
    assert_eq!(found[1], None);
    for other in [0, 2] {
        // It may be the second process that is gone, or another that has ended for that.
        let error = found[other].as_deref().unwrap();
        assert!(error.starts_with("process ") && error.ends_with(" of 3 is gone"));
    }
}
