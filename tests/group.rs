//! Several processes, here threads, make the bytes of one that takes the same micro-batches.

#[path = "support/latent.rs"]
mod latent;
#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "support/student.rs"]
mod student;

use burn::tensor::{Device, Tensor, TensorData};
use fewstep::Error;
use fewstep::adapter::{Layers, Lora};
use fewstep::data::{Dataset, Options};
use fewstep::denoiser::Contexts;
use fewstep::distill::{Distance, Distiller, Recipe, Target, TrajectoryCache, TrajectorySource};
use fewstep::group::{Alone, Group, Threads};
use fewstep::model::{Model, State};
use fewstep::network::{NetworkConfig, SongUNetConfig, load, parameters};
use fewstep::noise::{Domain, Stream};
use fewstep::solver::SolverConfig;
use fewstep::teacher::{TeacherRecipe, Trainer};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread::scope;

/// What each of so many processes comes to, by their numbers.
fn together<T: Send>(size: usize, run: impl Fn(Arc<dyn Group>) -> T + Sync) -> Vec<T> {
    if size == 1 {
        return vec![run(Arc::new(Alone))];
    }
    let (members, run) = (Threads::new(size), &run);
    scope(|scope| {
        let threads = members.into_iter();
        let threads = threads.map(|member| scope.spawn(move || run(Arc::new(member))));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// The bytes of a state's file.
fn bytes(state: &State) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    state.write(&path).unwrap();
    fs::read(path).unwrap()
}

fn state_of(bytes: &[u8]) -> State {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    fs::write(&path, bytes).unwrap();
    State::read(&path).unwrap()
}

/// A distillation to be done by several.
#[derive(Clone, Copy)]
struct Work<'a> {
    recipe: &'a Recipe,
    teacher: &'a (dyn Fn() -> Model + Sync),
    cache: Option<&'a Path>,
    /// The state to go on from.
    from: Option<&'a [u8]>,
    /// The round at whose end it stops.
    until: u64,
}

impl<'a> Work<'a> {
    fn new(recipe: &'a Recipe, teacher: &'a (dyn Fn() -> Model + Sync)) -> Self {
        Self {
            recipe,
            teacher,
            cache: None,
            from: None,
            until: 3,
        }
    }

    /// The bytes of the state of one process, and all distances.
    fn run(&self, group: Arc<dyn Group>) -> Result<(Vec<u8>, Vec<Vec<f64>>), Error> {
        let (device, teacher) = (Device::flex(), (self.teacher)());
        let recipe = self.recipe.for_teacher(&teacher.card)?;
        let mut source = TrajectorySource::new(&recipe, &teacher, &device)?;
        if teacher.card.network.context_width().is_some() {
            let [tokens, width] = latent::TEXT;
            let values = Stream::new(9, Domain::Test, 0).normals(5 * tokens * width);
            let texts = Tensor::from_data(TensorData::new(values, [5, tokens, width]), &device);
            source = source.with_contexts(Contexts::new(texts, None)?)?;
        }
        if let Some(folder) = self.cache {
            source = source.with_cache(TrajectoryCache::open(folder, "0123456789abcdef")?);
        }
        let source = source.with_group(Arc::clone(&group))?;
        let distiller = match self.from {
            Some(state) => Distiller::resume(&state_of(state), &teacher, "p".into(), &device)?,
            None => Distiller::new(recipe, &teacher, "p".into(), &device)?,
        };
        let mut distiller = distiller.with_group(group);
        let mut distances = Vec::new();
        while distiller.rounds() < self.until {
            distances.push(distiller.advance(&source)?.distances);
        }
        Ok((bytes(&distiller.state()?), distances))
    }

    /// Whether so many processes do as one does; returns the state.
    fn same(&self, sizes: &[usize]) -> Vec<u8> {
        let alone = self.run(Arc::new(Alone)).unwrap();
        for size in sizes {
            for (rank, found) in together(*size, |group| self.run(group).unwrap())
                .into_iter()
                .enumerate()
            {
                assert!(found == alone, "process {rank} of {size}");
            }
        }
        alone.0
    }
}

fn classes() -> Model {
    student::teacher(3)
}

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

/// All files of a cache.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let teacher = folder.join("0123456789abcdef");
    let all = fs::read_dir(teacher).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        (name, fs::read(path).unwrap())
    });
    all.collect()
}

#[test]
fn a_cache_is_the_same_for_any_number_of_processes() {
    let recipe = Recipe {
        batch: 5,
        micro_batch: Some(2),
        ..student::short()
    };
    let work = Work::new(&recipe, &classes);
    let expected = work.same(&[]);
    let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let [alone, several] = [folders[0].path(), folders[1].path()];
    for (size, folder) in [(1, alone), (3, several)] {
        let cached = Work {
            cache: Some(folder),
            ..work
        };
        for (state, _) in together(size, |group| cached.run(group).unwrap()) {
            assert!(state == expected);
        }
    }
    let written = files(alone);
    assert_eq!(written.len(), 3);
    assert!(written == files(several));
    // One batch is missing, one broken: both come back, and one batch is read by three processes from one's file.
    let mut names = written.keys();
    let teacher = alone.join("0123456789abcdef");
    fs::remove_file(teacher.join(names.next().unwrap())).unwrap();
    fs::write(teacher.join(names.next().unwrap()), "broken").unwrap();
    let cached = Work {
        cache: Some(alone),
        ..work
    };
    for (state, _) in together(3, |group| cached.run(group).unwrap()) {
        assert!(state == expected);
    }
    assert!(written == files(alone));
}

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

/// Ten grey pictures.
fn pictures(folder: &Path) -> Dataset {
    let side = 8usize;
    let mut bytes = vec![
        0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, side as u8, 0, 0, 0, side as u8,
    ];
    bytes.extend((0..10 * side * side).map(|i| (i * i * 31 % 251) as u8));
    fs::write(folder.join("train-images-idx3-ubyte"), bytes).unwrap();
    fs::write(
        folder.join("train-labels-idx1-ubyte"),
        [&[0, 0, 8, 1, 0, 0, 0, 10][..], &[0; 10]].concat(),
    )
    .unwrap();
    Dataset::open(folder, &Options::new(side, 1)).unwrap()
}

fn trained(
    data: &Dataset,
    group: Arc<dyn Group>,
    from: Option<&[u8]>,
    rounds: u64,
) -> (Vec<u8>, Vec<f64>) {
    let recipe = TeacherRecipe {
        seed: 6,
        images: 700,
        batch: 7,
        micro_batch: Some(2),
        learning_rate: 1e-3,
        warmup: 0,
        decay_from: None,
        average_half_life: 10.0,
        level_mean: -1.2,
        level_deviation: 1.2,
        sigma_data: 0.5,
        prediction: Default::default(),
        noise_table: None,
        flip: true,
        adam: Default::default(),
        network: NetworkConfig::SongUnet(SongUNetConfig {
            resolution: 8,
            channels: 1,
            classes: 0,
            model_channels: 16,
            channel_multipliers: vec![1, 2],
            blocks: 1,
            attention_resolutions: vec![8],
            augment_labels: 9,
            dropout: 0.2,
            ..SongUNetConfig::default()
        }),
        sampling: Recipe::default().sampling(),
        changes: Vec::new(),
    };
    let device = Device::flex();
    let trainer = match from {
        Some(state) => Trainer::resume(&state_of(state), &device).unwrap(),
        None => Trainer::new(recipe, &device).unwrap(),
    };
    let mut trainer = trainer.with_group(group);
    let losses = (0..rounds).map(|_| trainer.round(data).unwrap().loss);
    let losses = losses.collect();
    (bytes(&trainer.state().unwrap()), losses)
}

#[test]
fn a_teacher_has_the_same_bytes_whoever_computes() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let alone = trained(&data, Arc::new(Alone), None, 3);
    for size in [2, 4, 5] {
        for found in together(size, |group| trained(&data, group, None, 3)) {
            assert!(found == alone, "{size}");
        }
    }
    let first = together(4, |group| trained(&data, group, None, 1).0);
    let rest = together(2, |group| trained(&data, group, Some(&first[3]), 2));
    for (state, losses) in rest {
        assert!(state == alone.0 && losses == alone.1[1..]);
    }
}
