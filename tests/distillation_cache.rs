//! Trajectories kept on disk: the same student, for less.

#[path = "support/student.rs"]
mod student;

use burn::tensor::Device;
use fewstep::distill::{
    Claimed, Distiller, Recipe, TrajectoryCache, TrajectorySource, TrajectoryType, Usage,
};
use fewstep::solver::SolverConfig;
use std::fs;
use std::path::{Path, PathBuf};
use student::{distilled, run, several, short, teacher};

/// A whole run with a cache: the bytes of its student's file, and what the cache did.
fn with_cache(recipe: &Recipe, folder: &Path) -> (Vec<u8>, Usage) {
    let device = Device::flex();
    let teacher = teacher(3);
    let cache = TrajectoryCache::open(folder, "0123456789abcdef").unwrap();
    let source = TrajectorySource::new(
        &recipe.for_teacher(&teacher.card).unwrap(),
        &teacher,
        &device,
    )
    .unwrap();
    let source = source.with_cache(cache);
    let mut distiller = Distiller::new(
        recipe.for_teacher(&teacher.card).unwrap(),
        &teacher,
        "p".into(),
        &device,
    )
    .unwrap();
    run(&mut distiller, &source, None);
    let model = distiller.model().unwrap();
    (bytes(&model), source.cache().unwrap().usage())
}

fn bytes(model: &fewstep::model::Model) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    model.write(&path).unwrap();
    fs::read(path).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let read = |path: &Path| -> Vec<PathBuf> {
        let all = fs::read_dir(path).unwrap();
        all.map(|entry| entry.unwrap().path()).collect()
    };
    let teachers = read(folder).into_iter().filter(|path| path.is_dir());
    let mut all: Vec<PathBuf> = teachers.flat_map(|teacher| read(&teacher)).collect();
    all.sort();
    all
}

fn usage(read: u64, written: u64, broken: u64) -> Usage {
    Usage {
        read,
        written,
        broken,
        trouble: None,
    }
}

#[test]
fn a_cache_changes_nothing_but_the_time() {
    let half = Recipe {
        trajectory_type: TrajectoryType::F16,
        ..short()
    };
    let shared = Recipe {
        reuse: 2,
        ..short()
    };
    // Reuse makes twice the rounds of as many draws.
    for (recipe, draws) in [(short(), 6), (several(), 6), (half, 6), (shared, 6)] {
        let folder = tempfile::tempdir().unwrap();
        let plain = bytes(&distilled(&recipe, &teacher(3)));
        let (first, filled) = with_cache(&recipe, folder.path());
        assert_eq!(filled, usage(0, draws, 0));
        let (second, used) = with_cache(&recipe, folder.path());
        assert_eq!(used, usage(draws, 0, 0));
        assert!(plain == first && first == second);
        assert_eq!(files(folder.path()).len() as u64, draws);
    }
}

#[test]
fn prepared_trajectories_are_not_solved_again() {
    let shared = Recipe {
        reuse: 2,
        ..short()
    };
    for recipe in [short(), shared] {
        let folder = tempfile::tempdir().unwrap();
        let (device, teacher) = (Device::flex(), teacher(3));
        let cache = TrajectoryCache::open(folder.path(), "0123456789abcdef").unwrap();
        let source = TrajectorySource::new(
            &recipe.for_teacher(&teacher.card).unwrap(),
            &teacher,
            &device,
        )
        .unwrap();
        let source = source.with_cache(cache);
        let used = || source.cache().unwrap().usage();
        for draw in 0..3 {
            let first = draw * recipe.reuse;
            source.prepare(first).unwrap();
            source.prepare(first).unwrap();
            assert_eq!(used(), usage(0, draw + 1, 0));
            for round in first..first + recipe.reuse {
                source.round(round).unwrap();
            }
        }
        assert_eq!(used(), usage(0, 3, 0));
        // What is behind is forgotten.
        source.round(0).unwrap();
        assert_eq!(used(), usage(1, 3, 0));
    }
}

/// Each of these gives other trajectories, and so finds nothing.
#[test]
fn only_what_would_be_computed_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    with_cache(&short(), folder.path());
    let others = [
        Recipe { seed: 4, ..short() },
        Recipe {
            batch: 3,
            ..short()
        },
        Recipe {
            micro_batch: Some(2),
            ..short()
        },
        Recipe {
            substeps: 3,
            ..short()
        },
        Recipe {
            sigma_min: 0.01,
            ..short()
        },
        Recipe {
            teacher_solver: SolverConfig::Heun {},
            ..short()
        },
        Recipe {
            trajectory_type: TrajectoryType::F16,
            ..short()
        },
    ];
    for recipe in others {
        let (_, used) = with_cache(&recipe, folder.path());
        assert_eq!(used.read, 0, "{recipe:?}");
        assert!(used.written > 0);
    }
    // These do not change the trajectories.
    for recipe in [
        Recipe {
            learning_rate: 2e-3,
            ..short()
        },
        Recipe {
            trajectories: 12,
            ..short()
        },
    ] {
        let (_, used) = with_cache(&recipe, folder.path());
        assert_eq!(
            (used.read, used.written),
            (recipe.rounds(), 0),
            "{recipe:?}"
        );
    }
    let cache = TrajectoryCache::open(folder.path(), "another teacher").unwrap();
    let teacher = teacher(3);
    let source = TrajectorySource::new(
        &short().for_teacher(&teacher.card).unwrap(),
        &teacher,
        &Device::flex(),
    )
    .unwrap();
    assert_eq!(source.with_cache(cache).cached().unwrap().there, 0);
}

#[test]
fn broken_files_are_mended() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, _) = with_cache(&short(), folder.path());
    let all = files(folder.path());
    let before: Vec<Vec<u8>> = all.iter().map(|path| fs::read(path).unwrap()).collect();
    let mut flipped = before[0].clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&all[0], flipped).unwrap();
    fs::write(&all[1], &before[1][..before[1].len() / 2]).unwrap();
    // Whole, but of other trajectories.
    fs::write(&all[2], &before[3]).unwrap();
    fs::write(&all[4], b"").unwrap();
    let (again, used) = with_cache(&short(), folder.path());
    assert_eq!(used, usage(2, 4, 4));
    assert!(whole == again);
    for (path, bytes) in all.iter().zip(before) {
        assert!(fs::read(path).unwrap() == bytes);
    }
}

#[test]
fn two_runs_may_fill_one_cache() {
    let folder = tempfile::tempdir().unwrap();
    let results: Vec<_> = std::thread::scope(|scope| {
        let run = || scope.spawn(|| with_cache(&short(), folder.path()));
        let both = [run(), run()];
        both.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(results[0].0 == results[1].0);
    for (_, used) in results {
        assert_eq!((used.read + used.written, used.broken), (6, 0));
    }
    assert_eq!(files(folder.path()).len(), 6);
}

#[test]
fn the_size_is_known_beforehand() {
    let recipe = Recipe {
        reuse: 2,
        ..several()
    };
    let folder = tempfile::tempdir().unwrap();
    let teacher = teacher(3);
    let source = TrajectorySource::new(
        &recipe.for_teacher(&teacher.card).unwrap(),
        &teacher,
        &Device::flex(),
    )
    .unwrap();
    let cached = source.cached().unwrap();
    assert_eq!((cached.batches, cached.there), (6, 0));
    with_cache(&recipe, folder.path());
    let all = files(folder.path()).into_iter();
    let sizes: u64 = all.map(|path| fs::metadata(path).unwrap().len()).sum();
    let headers = sizes - cached.bytes;
    assert!(headers < 6 * 2500, "{sizes} for {}", cached.bytes);
    let cache = TrajectoryCache::open(folder.path(), "0123456789abcdef").unwrap();
    assert_eq!(source.with_cache(cache).cached().unwrap().there, 6);
}

/// The run goes on, and says why nothing more is kept.
#[test]
fn a_cache_that_cannot_be_written_is_no_reason_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let plain = bytes(&distilled(&short(), &teacher(3)));
    // A file where the teacher's folder should be.
    fs::write(folder.path().join("0123456789abcdef"), b"").unwrap();
    let (student, used) = with_cache(&short(), folder.path());
    assert!(plain == student);
    assert_eq!((used.read, used.written), (0, 0));
    assert!(used.trouble.unwrap().contains("0123456789abcdef"));
}

/// What one makes beforehand, piece by piece, is what another would have made.
#[test]
fn a_cache_is_filled_by_claims() {
    let folder = tempfile::tempdir().unwrap();
    let (device, teacher) = (Device::flex(), teacher(3));
    let plain = bytes(&distilled(&several(), &teacher));
    let recipe = several().for_teacher(&teacher.card).unwrap();
    let source = || TrajectorySource::new(&recipe, &teacher, &device).unwrap();
    let cached = || {
        let cache = TrajectoryCache::open(folder.path(), "0123456789abcdef").unwrap();
        source().with_cache(cache)
    };
    let (one, other) = (cached(), cached());
    for round in (0..recipe.rounds()).rev() {
        assert!(!one.is_kept(round).unwrap());
        let Claimed::Mine(claim) = one.claim(round, "one").unwrap() else {
            panic!("nobody has round {round}");
        };
        let refused = other.claim(round, "other").unwrap();
        assert!(matches!(refused, Claimed::Theirs(who) if who == "one"));
        assert_eq!(other.at_work(round).unwrap().as_deref(), Some("one"));
        one.fill(round).unwrap();
        drop(claim);
        assert!(other.is_kept(round).unwrap());
        assert_eq!(other.at_work(round).unwrap(), None);
    }
    let all = files(folder.path());
    assert_eq!(all.len(), 6);
    #[cfg(unix)]
    for path in &all {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_ne!(mode & 0o044, 0, "others of a shared folder cannot read it");
    }
    let (student, used) = with_cache(&several(), folder.path());
    assert_eq!(used, usage(6, 0, 0));
    assert!(plain == student);
    let refused = source().fill(0).unwrap_err();
    assert!(refused.to_string().contains("with_cache"), "{refused}");
}
