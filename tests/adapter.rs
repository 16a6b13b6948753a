//! Students of low-rank adapters: distilled, resumed, written without their base, and read back on it.

#[path = "support/adapter.rs"]
mod adapter;
#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "support/latent.rs"]
mod latent;
#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "support/student.rs"]
mod student;

use adapter::{answer, cases, difference, distilled, distiller, source};
use burn::tensor::{Device, TensorData};
use fewstep::adapter::read_student;
use fewstep::distill::{Distiller, Recipe};
use fewstep::model::{File, Model, State};
use fewstep::network::{Precision, is_step_parameter, parameters, shapes};
use std::collections::BTreeMap;

#[test]
fn a_student_starts_as_its_teacher_and_learns() {
    for (name, recipe, teacher) in cases() {
        let held = recipe.teacher(&teacher).unwrap();
        let start = distiller(&recipe, &held).model().unwrap();
        // Told no number of steps, or by a branch that starts at zero.
        assert_eq!(answer(&start), answer(&held), "{name}");
        let source = source(&recipe, &held);
        let full = Recipe {
            lora: None,
            ..recipe.clone()
        };
        // A full student of a teacher with rounded weights starts from those of the file.
        if recipe.teacher_precision == Precision::F32 {
            let (target, condition) = source.round(0).unwrap();
            let mut full = distiller(&full, &teacher);
            let mut own = distiller(&recipe, &held);
            let [full, own] =
                [&mut full, &mut own].map(|d| d.round(&target, &condition).unwrap().distances);
            let free = usize::from(recipe.analytic_first_step);
            // Until the first update they are the same student.
            let off = (own[free] / full[free] - 1.0).abs();
            assert!(off < 1e-6, "{name}: {own:?} {full:?}");
        }
        let student = distilled(&recipe, &held);
        assert!(
            difference(&answer(&student), &answer(&held)) > 1e-4,
            "{name}"
        );
        // All else is as it was, shared with the teacher.
        let before: BTreeMap<_, _> = parameters(&held.network)
            .into_iter()
            .map(|p| (p.name, p.data))
            .collect();
        for p in parameters(&student.network) {
            match before.get(&p.name) {
                Some(data) => assert_eq!(*data, p.data, "{name}: {}", p.name),
                None => assert!(p.name.contains(".lora_") || is_step_parameter(&p.name)),
            }
        }
    }
}

#[test]
fn a_resumed_run_ends_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    for (name, recipe, teacher) in cases() {
        let bytes = |model: &Model| model.to_file().unwrap().to_bytes().unwrap();
        let whole = bytes(&distilled(&recipe, &teacher));
        let mut first = distiller(&recipe, &teacher);
        student::run(&mut first, &source(&recipe, &teacher), Some(2));
        first.state().unwrap().write(&path).unwrap();
        // A state is as small as what learns.
        let state = File::read(&path).unwrap();
        for tensor in state.tensors.keys() {
            let learns = tensor.contains(".lora_") || is_step_parameter(tensor);
            assert!(learns, "{name}: {tensor}");
        }
        let state = State::read(&path).unwrap();
        let device = Device::flex();
        let mut second = Distiller::resume(&state, &teacher, "base".into(), &device).unwrap();
        student::run(&mut second, &source(&recipe, &teacher), None);
        assert!(bytes(&second.model().unwrap()) == whole, "{name}");
    }
}

#[test]
fn checkpointing_and_micro_batches_leave_the_student_as_it_is() {
    for (name, recipe, teacher) in cases() {
        let student = |checkpointing, micro_batch| {
            let recipe = Recipe {
                gradient_checkpointing: checkpointing,
                micro_batch,
                ..recipe.clone()
            };
            let model = distilled(&recipe, &teacher);
            answer(&model)
        };
        let [plain, checkpointed] = [false, true].map(|c| student(c, None));
        assert!(difference(&checkpointed, &plain) < 1e-4, "{name}");
        // Sums in another order, some rounds long.
        assert!(
            difference(&student(false, Some(1)), &plain) < 1e-2,
            "{name}"
        );
    }
}

#[test]
fn a_file_holds_what_was_learnt_and_comes_back_on_its_base() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("student.safetensors");
    for (name, recipe, teacher) in cases() {
        let teacher = recipe.teacher(&teacher).unwrap();
        let student = distilled(&recipe, &teacher);
        student.write(&path).unwrap();
        let file = File::read(&path).unwrap();
        let lora = recipe.lora.clone().unwrap();
        let count: usize = file.tensors.values().map(TensorData::num_elements).sum();
        let expected = lora.parameter_count(&student.card.network).unwrap();
        assert_eq!(count as u64, expected, "{name}");
        let base = (&teacher, "base");
        let (whole, _) = read_student(&path, base, &Device::flex()).unwrap();
        assert!(whole.card.adapter.is_none() && !whole.network.is_adapted());
        assert_eq!(
            shapes(&whole.network).len(),
            shapes(&student.card.network.blank(&Device::flex()).unwrap()).len()
        );
        // Multiplied out: in bf16 as far as a weight of that type goes.
        let allowed = match recipe.teacher_precision {
            Precision::F32 => 1e-4,
            _ => 2e-2,
        };
        let off = difference(&answer(&whole), &answer(&student));
        assert_eq!(answer(&student.merged().unwrap()), answer(&whole), "{name}");
        assert!(off < allowed, "{name}: {off}");
        let error = read_student(&path, (&teacher, "other"), &Device::flex()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("SHA-256 base") && text.contains("other"),
            "{text}"
        );
        // Alone it is no model.
        for error in [
            Model::read(&path, &Device::flex()).unwrap_err(),
            fewstep::import::open(&path, &Device::flex()).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains("--base"), "{name}: {text}");
        }
        // A whole student is read as ever.
        whole.write(&path).unwrap();
        let (again, _) = read_student(&path, base, &Device::flex()).unwrap();
        assert_eq!(answer(&again), answer(&whole));
    }
}
